"""Each statement of `tasks.queries` does what the ORM does, on both databases, for every field."""

import json
import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
import pytest
from django.db import connection
from django.db.models.functions import Now

from tasks import queries
from tasks.models import MODEL_FIELDS, Row, Task
from tasks.serializers import TaskSerializer
from testing.client import Rows

pytestmark = pytest.mark.django_db

MOMENTS = [
    datetime(2026, 2, 7, 9, 30, tzinfo=UTC),
    datetime(2026, 2, 7, 9, 30, 0, 1, tzinfo=UTC),
    datetime(1000, 1, 1, 0, 0, 0, 120_000, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
]
TEXTS = ["x", "%s %(user_id)s %%", "'; DROP TABLE tasks_task; --", "\\' \" {} $1 :title", "é\u2028😀\x01\x7f\n"]
# A value of a field that Task gets later, by the field's type.
LATER_VALUES: dict[str, Any] = {
    "BooleanField": True,
    "CharField": "x",
    "DateField": date(2026, 2, 7),
    "DateTimeField": MOMENTS[1],
    "DecimalField": Decimal("1.50"),
    "IntegerField": 7,
    "TextField": "x",
    "UUIDField": UUID(int=7),
}


@pytest.fixture
def tasks() -> list[Task]:
    """Ada's tasks, with different values in each field. Bob has a task, too."""
    Task.objects.create(user_id="bob", title="x")
    new = [
        Task(user_id="ada", title=text, description=text * 2, completed=number % 2 == 0)
        for number, text in enumerate(TEXTS)
    ]
    new += [Task(user_id="ada", title="x", created_at=moment, updated_at=moment) for moment in MOMENTS]
    for name in {*Task.API_FIELDS} - {"id", "user_id", "title", "description", "completed", "created_at", "updated_at"}:
        setattr(new[0], name, LATER_VALUES[MODEL_FIELDS[name].get_internal_type()])
    Task.objects.bulk_create(new)
    return list(Task.objects.filter(user_id="ada"))


def serialized(tasks: Any) -> Any:
    """The tasks as the serializer writes them, parsed with the order of their members."""
    return json.loads(json.dumps(TaskSerializer(tasks, many=True).data), object_pairs_hook=list)


def written(rows: list[Row]) -> Any:
    """The rows as the API writes them, parsed with the order of their members."""
    return json.loads(orjson.dumps(rows), object_pairs_hook=list)


def test_the_tasks_have_different_values_in_every_field(tasks: list[Task]) -> None:
    for name in {*Task.API_FIELDS} - {"user_id"}:
        assert any(getattr(task, name) != getattr(tasks[0], name) for task in tasks), name


@pytest.mark.parametrize("completed", [None, True, False])
def test_the_list_statement_matches_the_orm(completed: bool | None, tasks: list[Task]) -> None:
    expected = Task.objects.for_user("ada")
    if completed is not None:
        expected = expected.filter(completed=completed)
    assert 0 < len(expected) <= len(tasks)
    assert written(Task.objects.for_user("ada").list_rows(completed)) == serialized(expected)


def test_the_get_statement_matches_the_orm(tasks: list[Task]) -> None:
    for task in tasks:
        row = Task.objects.for_user("ada").get_row(task.pk)
        assert row is not None
        assert written([row]) == serialized(Task.objects.filter(pk=task.pk))


def stored(pk: int) -> dict[str, Any]:
    """The row as it is stored, without its id. Times are replaced by their format, because they differ."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM tasks_task WHERE id = %s", [pk])
        names = [column[0] for column in cursor.description]
        row = dict(zip(names, cursor.fetchone(), strict=True))
        if connection.vendor == "sqlite":
            cursor.execute("SELECT created_at || '', updated_at || '' FROM tasks_task WHERE id = %s", [pk])
            row["created_at"], row["updated_at"] = (re.sub(r"\d", "0", text) for text in cursor.fetchone())
        else:
            row["created_at"] = row["updated_at"] = type(row["created_at"])
    return {name: value for name, value in row.items() if name != "id"}


CREATES: dict[str, dict[str, Any]] = {
    "title": {"title": "x"},
    "description": {"title": "x", "description": "y"},
    "null and true": {"title": "x", "description": None, "completed": True},
    **{f"text {text!a}": {"title": text, "description": text} for text in TEXTS},
}


@pytest.mark.parametrize("values", CREATES.values(), ids=CREATES.keys())
def test_the_create_statement_stores_the_same_row_as_the_orm(values: dict[str, Any]) -> None:
    row = Task.objects.for_user("ada").create_row(values, "key")
    assert row is not None
    # The user can use a key once, so the task has to go before the ORM creates another.
    own = stored(row["id"])
    assert written([row]) == serialized(Task.objects.filter(pk=row["id"]))
    Task.objects.all().delete()
    expected = Task.objects.create(user_id="ada", idempotency_key="key", **values)
    assert own == stored(expected.pk)


CHANGES: dict[str, tuple[Callable[[int], Row | None], dict[str, Any]]] = {
    "title": (lambda pk: Task.objects.for_user("ada").update_row(pk, {"title": "new"}), {"title": "new"}),
    "description": (
        lambda pk: Task.objects.for_user("ada").update_row(pk, {"description": None}),
        {"description": None},
    ),
    "every field": (
        lambda pk: Task.objects.for_user("ada").update_row(pk, {"title": "%s", "description": "'", "completed": False}),
        {"title": "%s", "description": "'", "completed": False},
    ),
    "toggle": (lambda pk: Task.objects.for_user("ada").toggle_row(pk), {"completed": False}),
}


@pytest.mark.parametrize(("change", "values"), CHANGES.values(), ids=CHANGES.keys())
def test_the_update_and_toggle_statements_store_the_same_row_as_the_orm(
    change: Callable[[int], Row | None], values: dict[str, Any], rows: Rows
) -> None:
    own, twin = (Task.objects.create(user_id="ada", title="old", description="old", completed=True) for _ in range(2))
    others = [row for row in rows() if row["id"] != own.pk]
    row = change(own.pk)
    assert [row for row in rows() if row["id"] != own.pk] == others
    assert row is not None
    assert written([row]) == serialized(Task.objects.filter(pk=own.pk))
    Task.objects.filter(pk=twin.pk).update(**values, updated_at=Now())
    assert stored(own.pk) == stored(twin.pk)


def test_the_delete_statement_matches_the_orm(tasks: list[Task], rows: Rows) -> None:
    before, expected = rows(), serialized(Task.objects.filter(pk=tasks[0].pk))
    row = Task.objects.for_user("ada").delete_row(tasks[0].pk)
    assert row is not None
    assert written([row]) == expected
    assert rows() == [row for row in before if row["id"] != tasks[0].pk]


def test_a_task_of_another_user_is_none(tasks: list[Task], rows: Rows) -> None:
    before = rows()
    carols = Task.objects.for_user("carol")
    assert carols.list_rows() == []
    for row in [
        carols.get_row(tasks[0].pk),
        carols.update_row(tasks[0].pk, {"title": "x"}),
        carols.update_row(tasks[0].pk, {}),
        carols.toggle_row(tasks[0].pk),
        carols.delete_row(tasks[0].pk),
    ]:
        assert row is None
    assert rows() == before


TEMPLATES = {name: value for name, value in vars(queries).items() if isinstance(value, str) and name.isupper()}


def test_every_statement_names_the_user() -> None:
    assert len(TEMPLATES) == 7
    for name, template in TEMPLATES.items():
        insert = "INSERT INTO tasks_task (user_id, {written}) SELECT %(user_id)s, {placeholders} WHERE "
        assert template.startswith(insert) == (name == "CREATE")
        # Every table that is read is limited to the user. Only the two subqueries of a create are alternatives.
        assert re.search(r"( FROM tasks_task|UPDATE tasks_task SET .*) WHERE ", template)
        for part in re.split(r"FROM tasks_task|UPDATE tasks_task SET", template)[1:]:
            assert " WHERE tasks_task.user_id = %(user_id)s" in part
        assert template.count(" OR ") == (name == "CREATE")


def test_a_statement_is_rendered_once_for_each_set_of_columns() -> None:
    queries.render.cache_clear()
    for user in ["ada", "bob"]:
        Task.objects.for_user(user).create_row({"title": user})
        Task.objects.for_user(user).list_rows()
    assert queries.render.cache_info().misses == 2
