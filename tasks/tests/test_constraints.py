"""The constraints of the database, without the API."""

from typing import Any

import pytest
from django.db import DatabaseError, DataError, IntegrityError, connection, transaction

from tasks.models import WHITE_SPACE, Task
from testing.client import Rows, UserClient

pytestmark = pytest.mark.django_db

GOOD = {"user_id": "ada", "title": "x"}
REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("task_user_id_length", {"user_id": ""}),
    ("task_user_id_length", {"user_id": "a" * 256}),
    ("task_title_length", {"title": "x" * 201}),
    ("task_title_length", {"title": "😀" * 201}),
    ("task_title_not_blank", {"title": " "}),
    ("task_title_not_blank", {"title": WHITE_SPACE}),
    ("task_description_length", {"description": "x" * 1001}),
    *[("task_no_nul", {field: "a\0b"}) for field in ("user_id", "title", "description")],
    ("task_no_nul", {"title": "a\0" + "x" * 300}),
]


@pytest.mark.requirement("FR-002")
@pytest.mark.parametrize(("constraint", "values"), REFUSED)
def test_a_named_constraint_refuses_a_value(
    constraint: str, values: dict[str, Any], ada: UserClient, rows: Rows
) -> None:
    task = ada.task()
    before = rows()
    # PostgreSQL or its driver refuses NUL before it checks a constraint.
    postgresql_nul = constraint == "task_no_nul" and connection.vendor == "postgresql"
    error, message = (DataError, "NUL") if postgresql_nul else (IntegrityError, constraint)
    with pytest.raises(error, match=message), transaction.atomic():
        Task.objects.create(**{**GOOD, **values})
    with pytest.raises(error, match=message), transaction.atomic():
        Task.objects.filter(pk=task["id"]).update(**values)
    assert rows() == before


@pytest.mark.parametrize("column", ["user_id", "title", "completed", "created_at", "updated_at"])
def test_a_column_is_not_null(column: str, ada: UserClient) -> None:
    ada.task()
    with pytest.raises(IntegrityError, match=column), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"UPDATE tasks_task SET {column} = NULL")


def test_an_empty_title_is_refused(ada: UserClient) -> None:
    with pytest.raises(IntegrityError, match="task_title"), transaction.atomic():
        Task.objects.create(user_id="ada", title="")


def test_completed_is_true_or_false(ada: UserClient) -> None:
    ada.task()
    with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("UPDATE tasks_task SET completed = 2")


@pytest.mark.parametrize(
    "values",
    [
        {"user_id": "a" * 255, "title": "x" * 200, "description": "x" * 1000},
        {"user_id": "😀" * 255, "title": "😀" * 200, "description": "😀" * 1000},
        {"description": ""},
        {"description": None},
        {"title": "\u200b"},
    ],
)
def test_the_database_accepts_the_values_that_the_api_accepts(values: dict[str, Any], rows: Rows) -> None:
    Task.objects.create(**{**GOOD, **values})
    [row] = rows()
    assert row == {**row, **GOOD, **values}


def test_ids_have_64_bits(rows: Rows) -> None:
    task = Task.objects.create(pk=2**63 - 1, **GOOD)
    assert [row["id"] for row in rows()] == [2**63 - 1]
    task.delete()


def test_the_constraints_and_the_index_have_their_names() -> None:
    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(cursor, "tasks_task")
    assert {name for name, constraint in found.items() if constraint["check"]} == {
        "task_user_id_length",
        "task_title_length",
        "task_title_not_blank",
        "task_description_length",
        "task_completed_boolean",
        "task_no_nul",
    }
    assert found["task_idempotency_key_unique"]["unique"]
    assert found["task_user_newest"]["columns"] == ["user_id", "created_at", "id"]
    assert found["task_user_newest"]["orders"] == ["ASC", "DESC", "DESC"]


def test_a_users_list_is_read_from_the_index_without_sorting() -> None:
    if connection.vendor == "postgresql":
        # PostgreSQL prefers to read an empty table whole.
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
    plan = Task.objects.for_user("ada").explain()
    assert "task_user_newest" in plan
    assert "Sort" not in plan
    assert "TEMP B-TREE" not in plan


def test_a_task_as_text_is_its_id_only() -> None:
    assert str(Task(pk=7, user_id="ada", title="private")) == "Task 7"
