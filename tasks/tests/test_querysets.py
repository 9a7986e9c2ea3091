"""Tasks in Django's own ways, among which `for_user()` and `matching()` put their filters off."""

import json
import pickle
from copy import deepcopy
from typing import Any

import pytest

from tasks.models import Task, TaskQuerySet
from testing.client import Rows

pytestmark = pytest.mark.django_db


@pytest.fixture
def adas() -> TaskQuerySet:
    """Her open tasks b, a and c, the newest first; there are others."""
    for user, title, completed in [
        ("ada", "c", False),
        ("ada", "done", True),
        ("ada", "a", False),
        ("bob", "bob's", False),
        ("ada", "b", False),
    ]:
        Task.objects.create(user_id=user, title=title, completed=completed)
    return Task.objects.for_user("ada").matching(completed=False)


def titles(tasks: list[str]) -> str:
    return "".join(json.loads(task)["title"] for task in tasks)


USES: dict[str, Any] = {
    "itself": lambda tasks: tasks,
    "all": lambda tasks: tasks.all(),
    "a copy": deepcopy,
    "filtered": lambda tasks: tasks.filter(title__lt="z"),
    "excluded": lambda tasks: tasks.exclude(title="z"),
    "matched again": lambda tasks: tasks.filter(title__lt="z").matching(completed=False),
    "after another filter": lambda _: Task.objects.filter(title__lt="z").for_user("ada").matching(completed=False),
    "matched twice": lambda _: Task.objects.matching(completed=False).for_user("ada"),
    "either": lambda tasks: tasks.filter(title="a") | tasks.filter(title__in="bc"),
    "both": lambda tasks: tasks & Task.objects.exclude(title="z"),
    "on a database": lambda tasks: tasks.using("default"),
    "in a subquery": lambda tasks: Task.objects.filter(pk__in=tasks.values("pk")),
    "after a count": lambda tasks: (tasks.count(), tasks)[1],
}


@pytest.mark.parametrize("use", USES.values(), ids=USES.keys())
def test_a_queryset_has_its_tasks_however_it_is_used(use: Any, adas: TaskQuerySet) -> None:
    assert titles(use(adas).as_json()) == "bac"
    assert [task.title for task in use(adas)] == ["b", "a", "c"]
    assert use(adas).count() == 3
    assert use(adas).filter(title="z").as_json() == []


def test_another_order_and_a_slice_are_another_statement(adas: TaskQuerySet) -> None:
    assert titles(adas.order_by("title").as_json()) == "abc"
    assert titles(adas.order_by("-title")[:2].as_json()) == "cb"
    assert titles(adas.as_json()) == "bac"


def test_none_are_no_tasks(adas: TaskQuerySet, rows: Rows) -> None:
    before = rows()
    for none in (adas.none(), adas.filter(pk__in=[])):
        assert (none.as_json(), none.toggle_returning(), none.delete_at_once()) == ([], [], 0)
    assert rows() == before


def test_a_slice_is_neither_changed_nor_deleted(adas: TaskQuerySet, rows: Rows) -> None:
    before = rows()
    with pytest.raises(TypeError, match="slice"):
        adas[:1].update_returning(title="x")
    with pytest.raises(TypeError, match="slice"):
        adas[:1].delete_at_once()
    assert rows() == before


def test_what_is_pickled_is_what_was_asked_for(adas: TaskQuerySet) -> None:
    assert [task.title for task in pickle.loads(pickle.dumps(adas))] == ["b", "a", "c"]


def test_a_change_is_of_what_is_asked_for_and_of_nothing_else(adas: TaskQuerySet, rows: Rows) -> None:
    assert titles(adas.filter(title__in="ac").update_returning(description="x")) in ("ac", "ca")
    assert titles(adas.matching(title="b").toggle_returning()) == "b"
    assert adas.matching(title="c").delete_at_once() == 1
    assert adas.filter(title__gt="z").delete_at_once() == 0
    assert [(row["title"], row["description"], row["completed"]) for row in rows()] == [
        ("done", None, True),
        ("a", "x", False),
        ("bob's", None, False),
        ("b", None, True),
    ]


def test_a_value_is_never_a_part_of_the_statement(rows: Rows) -> None:
    for value in ["%(completed)s", "%s", "%", "%%", ":title", "'; DROP TABLE tasks_task; --", "\\'", '"', "$1", "{}"]:
        task = json.loads(Task.objects.create_once(user_id=value, title=value, description=value))
        [updated] = Task.objects.for_user(value).matching(title=value).update_returning(description=value * 2)
        assert json.loads(updated) == {
            **task,
            "description": value * 2,
            "updated_at": json.loads(updated)["updated_at"],
        }
        assert [json.loads(one)["id"] for one in Task.objects.for_user(value).as_json()] == [task["id"]]
        assert Task.objects.for_user(value).matching(pk=task["id"]).delete_at_once() == 1
    assert rows() == []
