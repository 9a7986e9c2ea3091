from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection

from testing.database import default_database
from testing.processes import empty_database

ADD = (
    "INSERT INTO tasks_task (user_id, title, completed, created_at, updated_at)"
    " VALUES ('ada', 'x', '0', '2026-02-07 09:30:00', '2026-02-07 09:30:00') RETURNING id"
)
TASKS = "SELECT id, user_id, title, description, completed, created_at, updated_at FROM tasks_task"


def run(statement: str) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []


@pytest.mark.django_db
def test_a_migration_keeps_tasks_and_gives_no_id_again(tmp_path: Path) -> None:
    with default_database(empty_database(tmp_path)):
        call_command("migrate", "tasks", "0001", verbosity=0)
        assert [run(ADD), run(ADD)] == [[(1,)], [(2,)]]
        run("DELETE FROM tasks_task WHERE id = 2")
        before = run(TASKS)
        call_command("migrate", verbosity=0)
        assert run(TASKS) == before
        assert run(ADD) == [(3,)]
