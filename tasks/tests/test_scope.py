"""A queryset of `Task.objects.for_user()`, and each queryset made from it, has only that user's tasks."""

import pickle
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
from django.db.models import Q

from tasks.models import Task, TaskQuerySet
from testing.client import Rows

pytestmark = pytest.mark.django_db

STATEMENTS: dict[str, Callable[[TaskQuerySet, int], object]] = {
    "list": lambda tasks, _: tasks.list_rows(),
    "list completed": lambda tasks, _: tasks.list_rows(completed=True),
    "get": lambda tasks, pk: tasks.get_row(pk),
    "create": lambda tasks, _: tasks.create_row({"title": "new"}),
    "update": lambda tasks, pk: tasks.update_row(pk, {"title": "new"}),
    "update nothing": lambda tasks, pk: tasks.update_row(pk, {}),
    "toggle": lambda tasks, pk: tasks.toggle_row(pk),
    "delete": lambda tasks, pk: tasks.delete_row(pk),
}


@pytest.fixture
def adas() -> TaskQuerySet:
    """Ada's tasks a, b and c; bob has tasks, too."""
    for user, title in [("ada", "a"), ("bob", "a"), ("ada", "b"), ("bob", "b"), ("ada", "c")]:
        Task.objects.create(user_id=user, title=title, completed=title == "b")
    return Task.objects.for_user("ada")


def titles(tasks: Any) -> list[str]:
    assert {task.user_id for task in tasks} <= {"ada"}
    return sorted(task.title for task in tasks)


# Ways to make another queryset from it, each with the titles of the tasks that it has.
NARROWED: dict[str, tuple[Callable[[TaskQuerySet], Any], list[str]]] = {
    "all": (lambda tasks: tasks.all(), ["a", "b", "c"]),
    "filter": (lambda tasks: tasks.filter(title="a"), ["a"]),
    "filter by null": (lambda tasks: tasks.filter(description=None), ["a", "b", "c"]),
    "filter by Q": (lambda tasks: tasks.filter(Q(title="a") | Q(user_id="bob")), ["a"]),
    "filter by another user": (lambda tasks: tasks.filter(user_id="bob"), []),
    "exclude": (lambda tasks: tasks.exclude(title="a"), ["b", "c"]),
    "order": (lambda tasks: tasks.order_by("title"), ["a", "b", "c"]),
    "reverse": (lambda tasks: tasks.reverse(), ["a", "b", "c"]),
    "slice": (lambda tasks: tasks[:2], ["b", "c"]),
    "none": (lambda tasks: tasks.none(), []),
    "distinct": (lambda tasks: tasks.distinct(), ["a", "b", "c"]),
    "defer": (lambda tasks: tasks.defer("title"), ["a", "b", "c"]),
    "annotate": (lambda tasks: tasks.annotate(name=Q(title="a")), ["a", "b", "c"]),
    "or": (lambda tasks: tasks.filter(title="a") | tasks.filter(title="b"), ["a", "b"]),
    "and": (lambda tasks: tasks & Task.objects.exclude(title="a"), ["b", "c"]),
    "union": (lambda tasks: tasks.order_by().filter(title="a").union(tasks.filter(title="c").order_by()), ["a", "c"]),
    "using": (lambda tasks: tasks.using("default"), ["a", "b", "c"]),
    "for another user": (lambda tasks: tasks.for_user("bob"), []),
    "for the same user again": (lambda tasks: tasks.for_user("ada"), ["a", "b", "c"]),
    "narrowed before": (lambda _: Task.objects.filter(title="a").for_user("ada"), ["a"]),
    "all before": (lambda _: Task.objects.all().for_user("ada"), ["a", "b", "c"]),
    "after a count": (lambda tasks: (tasks.count(), tasks.all())[1], ["a", "b", "c"]),
}


@pytest.mark.parametrize(("narrow", "expected"), NARROWED.values(), ids=NARROWED.keys())
def test_a_narrowed_queryset_stays_with_its_user_and_runs_no_statement(
    narrow: Callable[[TaskQuerySet], Any], expected: list[str], adas: TaskQuerySet, rows: Rows
) -> None:
    before = rows()
    tasks = narrow(adas)
    assert titles(tasks) == expected
    assert tasks.count() == len(expected)
    for run in STATEMENTS.values():
        with pytest.raises(TypeError, match=r"Only Task\.objects\.for_user\(\) has these statements"):
            run(tasks, before[0]["id"])
    assert rows() == before


@pytest.mark.parametrize("copy", [deepcopy, lambda tasks: pickle.loads(pickle.dumps(tasks))], ids=["deep", "pickled"])
def test_a_copy_has_the_tasks_of_the_original(copy: Any, adas: TaskQuerySet) -> None:
    """A deep or pickled copy keeps `user_id`, and so its statements."""
    assert titles(copy(adas)) == ["a", "b", "c"]
    assert [row["title"] for row in copy(adas).list_rows()] == ["c", "b", "a"]


def test_a_subquery_has_the_tasks_of_its_user(adas: TaskQuerySet) -> None:
    assert titles(Task.objects.filter(pk__in=adas.values("pk"))) == ["a", "b", "c"]


@pytest.mark.parametrize("run", STATEMENTS.values(), ids=STATEMENTS.keys())
def test_no_statement_reaches_the_task_of_another_user(
    run: Callable[[TaskQuerySet, int], object], adas: TaskQuerySet, rows: Rows
) -> None:
    bobs = [row for row in rows() if row["user_id"] == "bob"]
    for task in bobs:
        found: Any = run(Task.objects.for_user("ada"), task["id"])
        shown = found if isinstance(found, list) else [found]
        assert {row["user_id"] for row in shown if row} <= {"ada"}
        assert [row for row in rows() if row["user_id"] == "bob"] == bobs


def test_a_create_is_for_the_user_even_if_the_values_name_another(adas: TaskQuerySet, rows: Rows) -> None:
    task = adas.create_row({"title": "new", "user_id": "bob"})
    assert task is not None
    assert (task["user_id"], rows()[-1]["user_id"]) == ("ada", "ada")


def test_a_field_that_does_not_exist_is_a_key_error(adas: TaskQuerySet, rows: Rows) -> None:
    before = rows()
    for name in ["nothing", 'title" = title --', "pk"]:
        with pytest.raises(KeyError):
            adas.update_row(before[0]["id"], {name: "x"})
        with pytest.raises(KeyError):
            adas.create_row({"title": "x", name: "x"})
    assert rows() == before


def test_a_scope_holds_even_if_django_copied_its_user_id(adas: TaskQuerySet, monkeypatch: pytest.MonkeyPatch) -> None:
    """A release of Django could copy attributes to the querysets that are made from one."""
    make = TaskQuerySet.filter

    def filter_and_keep(self: TaskQuerySet, *args: Any, **kwargs: Any) -> TaskQuerySet:
        tasks = make(self, *args, **kwargs)
        tasks.user_id = self.user_id
        return tasks

    monkeypatch.setattr(TaskQuerySet, "filter", filter_and_keep)
    for tasks in [adas.filter(title="a"), adas.for_user("bob")]:
        assert {row["user_id"] for row in tasks.list_rows()} == {"ada"}


def test_on_another_database_there_are_no_statements(adas: TaskQuerySet, settings: Any) -> None:
    class ReadFromReplica:
        def db_for_read(self, model: object, **hints: object) -> str:
            return "replica"

    elsewhere = [Task.objects.using("replica").for_user("ada"), Task.objects.db_manager("replica").for_user("ada")]
    settings.DATABASE_ROUTERS = [ReadFromReplica()]
    for tasks in [*elsewhere, Task.objects.for_user("ada")]:
        assert tasks.db == "replica"
        for run in STATEMENTS.values():
            with pytest.raises(TypeError, match="Only"):
                run(tasks, 1)


def test_for_no_user_there_are_no_tasks(adas: TaskQuerySet) -> None:
    nobodys = Task.objects.for_user(None)  # type: ignore[arg-type]
    assert titles(nobodys) == []
    with pytest.raises(TypeError, match="Only"):
        nobodys.list_rows()


def test_the_cached_filter_has_no_cached_results(adas: TaskQuerySet) -> None:
    """The filter is cached by user; its results are not."""
    assert len(adas) == 3
    Task.objects.create(user_id="ada", title="d")
    assert len(Task.objects.for_user("ada")) == 4
    assert Task.objects.for_user("bob").count() == 2
