import os
import signal
import time
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction

from tasks.models import Task
from testing.processes import database_url, free_port, manage, manage_on_terminal, start_manage

pytestmark = pytest.mark.django_db(transaction=True)


def make(user_id: str, count: int) -> None:
    Task.objects.bulk_create(Task(user_id=user_id, title="x") for _ in range(count))


def delete(sub: str, *options: str) -> str:
    output = StringIO()
    call_command("delete_user_tasks", sub, *options, stdout=output)
    return output.getvalue()


def test_all_tasks_of_the_user_are_deleted_and_no_others(bob: Any, rows: Any) -> None:
    make("ada", 2500)
    kept = [bob.task()["id"], *(Task.objects.create(user_id=user_id, title="x").pk for user_id in ("Ada", "ada ", "a"))]
    assert delete("ada", "--yes") == "The user 'ada' has 2500 task(s).\nAll are gone.\n"
    assert [row["id"] for row in rows()] == kept


@pytest.mark.parametrize("options", [[], ["--yes"]])
def test_a_user_without_tasks_is_no_error(options: list[str], bob: Any, rows: Any) -> None:
    bob.task()
    assert delete("ada", *options) == "The user 'ada' has 0 task(s).\n"
    assert len(rows()) == 1


@pytest.mark.parametrize("sub", ["", " ", "\t\n"])
def test_a_blank_sub_is_refused(sub: str, rows: Any) -> None:
    Task.objects.create(user_id=sub or " ", title="x")
    with pytest.raises(CommandError, match="blank"):
        delete(sub, "--yes")
    assert len(rows()) == 1


def test_without_a_terminal_it_asks_for_yes(rows: Any) -> None:
    make("ada", 2)
    result = manage("delete_user_tasks", "ada", DATABASE_URL=database_url())
    assert (result.returncode, result.stdout) == (1, "The user 'ada' has 2 task(s).\n")
    assert result.stderr == "CommandError: There is no terminal to ask on: say --yes to delete them.\n"
    assert len(rows()) == 2
    result = manage("delete_user_tasks", "ada", "--yes", DATABASE_URL=database_url())
    # No progress, either.
    assert (result.returncode, result.stderr) == (0, "")
    assert rows() == []


@pytest.mark.parametrize(
    ("keys", "status", "last", "left"),
    [
        (b"y\n", 0, "All are gone.", 0),
        (b"YES\n", 0, "All are gone.", 0),
        (b"n\n", 1, "Nothing was deleted.", 2),
        (b"\n", 1, "Nothing was deleted.", 2),
        (b"\x04", 1, "Nothing was deleted.", 2),
        # With Enter, because Python misses an interrupt between the question and its reading.
        (b"\x03\n", 1, "Nothing was deleted.", 2),
    ],
)
def test_on_a_terminal_it_asks(keys: bytes, status: int, last: str, left: int, rows: Any) -> None:
    make("ada", 2)
    found, shown = manage_on_terminal("delete_user_tasks", "ada", keys=keys, DATABASE_URL=database_url())
    assert found == status, shown
    assert shown.startswith("The user 'ada' has 2 task(s).\r\nDelete them? [y/N] ")
    assert shown.endswith(f"\n{'CommandError: ' if status else ''}{last}\r\n")
    assert ("2/2" in shown) == (left == 0)
    assert "Traceback" not in shown
    assert len(rows()) == left


def test_interrupted_it_can_be_run_again(rows: Any) -> None:
    make("ada", 3500)

    def execute(execute: Any, sql: str, *args: Any) -> Any:
        result = execute(sql, *args)
        if sql.startswith("DELETE") and Task.objects.count() == 1500:
            os.kill(os.getpid(), signal.SIGINT)
        return result

    with (
        connection.execute_wrapper(execute),
        pytest.raises(CommandError, match=r"^Interrupted. Run it again for the rest.$"),
    ):
        delete("ada", "--yes")
    assert len(rows()) == 1500
    assert delete("ada", "--yes") == "The user 'ada' has 1500 task(s).\nAll are gone.\n"
    assert rows() == []


@pytest.mark.postgresql
def test_interrupted_while_it_waits_for_a_lock(rows: Any) -> None:
    make("ada", 1500)
    with transaction.atomic():
        # The oldest go last.
        oldest = Task.objects.select_for_update().order_by("id")[0]
        process = start_manage("delete_user_tasks", "ada", "--yes", DATABASE_URL=database_url())
        deadline = time.monotonic() + 30
        with connection.cursor() as cursor:
            while not cursor.execute("SELECT FROM pg_locks WHERE NOT granted") or not cursor.rowcount:
                assert time.monotonic() < deadline
                time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (
        1,
        b"CommandError: Interrupted. Run it again for the rest.\n",
    )
    assert oldest.pk in [row["id"] for row in rows()]
    assert len(rows()) == 500


def test_a_database_that_cannot_be_used_is_one_line_without_the_password(tmp_path: Path) -> None:
    for url in [
        f"postgresql://todo:private-password@127.0.0.1:{free_port()}/todo",
        f"sqlite:///{tmp_path / 'empty.sqlite3'}",
    ]:
        result = manage("delete_user_tasks", "ada", "--yes", DATABASE_URL=url)
        assert (result.returncode, result.stdout) == (1, "")
        [line] = result.stderr.splitlines()
        assert line.startswith("CommandError: The database: ")
        assert "private-password" not in line


@pytest.mark.parametrize("sub", ["\udcff", pytest.param("a\0b", marks=pytest.mark.postgresql)])
def test_a_sub_that_no_database_can_hold_is_one_line(sub: str) -> None:
    with pytest.raises(CommandError, match=r"\AThe database: .*\Z"):
        delete(sub, "--yes")
