from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection

from testing.processes import empty_database

ADD = (
    "INSERT INTO tasks_task (user_id, title, completed, created_at, updated_at)"
    " VALUES ('ada', 'x', '0', '2026-02-07 09:30:00', '2026-02-07 09:30:00') RETURNING id"
)
TASKS = "SELECT id, user_id, title, description, completed, created_at, updated_at FROM tasks_task"


@pytest.fixture
def empty(tmp_path: Path, django_db_blocker: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Connects to an empty database instead of the tests' own."""
    url = empty_database(tmp_path)
    name = url.removeprefix("sqlite:///") if connection.vendor == "sqlite" else "served"
    with django_db_blocker.unblock():
        connection.close()
        monkeypatch.setitem(connection.settings_dict, "NAME", name)
        yield
        connection.close()


def run(statement: str) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []


def test_tasks_and_the_ids_that_were_given_outlive_a_migration(empty: None) -> None:
    call_command("migrate", "tasks", "0001", verbosity=0)
    assert [run(ADD), run(ADD)] == [[(1,)], [(2,)]]
    run("DELETE FROM tasks_task WHERE id = 2")
    before = run(TASKS)
    call_command("migrate", verbosity=0)
    assert run(TASKS) == before
    assert run(ADD) == [(3,)]
