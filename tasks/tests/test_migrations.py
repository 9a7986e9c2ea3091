from pathlib import Path

import pytest

from testing.processes import empty_database, manage

SCRIPT = """
from django.db import connection
with connection.cursor() as cursor:
    cursor.execute({statement!r})
    print(cursor.fetchall() if cursor.description else "")
"""
ADD = (
    "INSERT INTO tasks_task (user_id, title, completed, created_at, updated_at)"
    " VALUES ('ada', 'x', '0', '2026-02-07 09:30:00', '2026-02-07 09:30:00') RETURNING id"
)


@pytest.mark.django_db
def test_tasks_and_the_ids_that_were_given_outlive_a_migration(tmp_path: Path) -> None:
    url = empty_database(tmp_path)

    def run(statement: str) -> str:
        result = manage("shell", "--no-imports", "--command", SCRIPT.format(statement=statement), DATABASE_URL=url)
        assert result.returncode == 0, result.stderr
        return result.stdout.strip()

    assert manage("migrate", "tasks", "0001", DATABASE_URL=url).returncode == 0
    assert [run(ADD), run(ADD)] == ["[(1,)]", "[(2,)]"]
    run("DELETE FROM tasks_task WHERE id = 2")
    before = run("SELECT id, user_id, title, description, completed, created_at, updated_at FROM tasks_task")
    assert manage("migrate", DATABASE_URL=url).returncode == 0
    assert run("SELECT id, user_id, title, description, completed, created_at, updated_at FROM tasks_task") == before
    assert run(ADD) == "[(3,)]"
