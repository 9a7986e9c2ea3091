import signal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction

from tasks.models import Task
from testing.client import Rows, UserClient
from testing.database import default_database
from testing.processes import database_url, free_port, manage_on_terminal, start_manage
from testing.servers import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


def make(user_id: str, count: int) -> None:
    Task.objects.bulk_create(Task(user_id=user_id, title="x") for _ in range(count))


def delete(sub: str, *options: str) -> str:
    output = StringIO()
    call_command("delete_user_tasks", sub, *options, stdout=output)
    return output.getvalue()


def test_all_tasks_of_the_user_are_deleted_and_no_others(bob: UserClient, rows: Rows) -> None:
    make("ada", 2500)
    kept = [bob.task()["id"], *(Task.objects.create(user_id=user_id, title="x").pk for user_id in ("Ada", "ada ", "a"))]
    assert delete("ada", "--yes") == "The user 'ada' has 2500 task(s).\nAll were deleted.\n"
    assert [row["id"] for row in rows()] == kept


@pytest.mark.parametrize("options", [[], ["--yes"]], ids=["asking", "yes"])
def test_a_user_without_tasks_is_no_error(options: list[str], bob: UserClient, rows: Rows) -> None:
    bob.task()
    assert delete("ada", *options) == "The user 'ada' has 0 task(s).\n"
    assert len(rows()) == 1


@pytest.mark.parametrize("sub", ["", " ", "\t\n"], ids=["empty", "space", "tab"])
def test_a_blank_sub_is_refused(sub: str, rows: Rows) -> None:
    Task.objects.create(user_id=sub or " ", title="x")
    with pytest.raises(CommandError, match="blank"):
        delete(sub, "--yes")
    assert len(rows()) == 1


def test_without_a_terminal_the_command_requires_yes(
    rows: Rows, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    make("ada", 2)
    monkeypatch.setattr("sys.stdin", StringIO("y\n"))
    with pytest.raises(CommandError, match=r"\AThere is no terminal to ask on\. Use --yes to delete the tasks\.\Z"):
        call_command("delete_user_tasks", "ada")
    # Without a terminal no progress is shown.
    assert capfd.readouterr() == ("The user 'ada' has 2 task(s).\n", "")
    assert len(rows()) == 2
    call_command("delete_user_tasks", "ada", "--yes")
    assert capfd.readouterr() == ("The user 'ada' has 2 task(s).\nAll were deleted.\n", "")
    assert rows() == []


class Terminal(StringIO):
    """Standard input of a terminal, on which the keys were pressed."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("keys", ["YES\n", "yes\n", "Y\n"], ids=repr)
def test_yes_deletes(
    keys: str, rows: Rows, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make("ada", 2)
    monkeypatch.setattr("sys.stdin", Terminal(keys))
    call_command("delete_user_tasks", "ada")
    assert capsys.readouterr().out == "The user 'ada' has 2 task(s).\nDelete them? [y/N] All were deleted.\n"
    assert rows() == []


@pytest.mark.parametrize("keys", ["n\n", "\n", ""], ids=["n", "Enter", "Ctrl-D"])
def test_any_other_answer_deletes_nothing(
    keys: str, rows: Rows, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make("ada", 2)
    monkeypatch.setattr("sys.stdin", Terminal(keys))
    with pytest.raises(CommandError, match=r"\ANothing was deleted\.\Z"):
        call_command("delete_user_tasks", "ada")
    # Enter moves the cursor on a real terminal; after Ctrl-D the command does.
    assert capsys.readouterr().out == f"The user 'ada' has 2 task(s).\nDelete them? [y/N] {'' if keys else chr(10)}"
    assert len(rows()) == 2


@pytest.mark.posix
@pytest.mark.parametrize(
    ("keys", "status", "last", "remaining"),
    [
        (b"y\n", 0, "All were deleted.", 0),
        # Enter follows, because Python may miss an interrupt that comes just before it reads.
        (b"\x03\n", 1, "CommandError: Nothing was deleted.", 2),
    ],
    ids=["y", "Ctrl-C"],
)
def test_the_command_asks_on_a_terminal(keys: bytes, status: int, last: str, remaining: int, rows: Rows) -> None:
    make("ada", 2)
    found, shown = manage_on_terminal("delete_user_tasks", "ada", keys=keys, DATABASE_URL=database_url())
    assert found == status, shown
    assert shown.startswith("The user 'ada' has 2 task(s).\r\nDelete them? [y/N] ")
    assert shown.endswith(f"\n{last}\r\n")
    assert ("2/2" in shown) == (remaining == 0)
    assert "Traceback" not in shown
    assert len(rows()) == remaining


def test_after_an_interrupt_the_command_can_be_run_again(rows: Rows) -> None:
    make("ada", 3500)

    def execute(execute: Any, sql: str, *args: Any) -> Any:
        result = execute(sql, *args)
        if sql.startswith("DELETE") and Task.objects.count() == 1500:
            signal.raise_signal(signal.SIGINT)
        return result

    with (
        connection.execute_wrapper(execute),
        pytest.raises(CommandError, match=r"^Interrupted. Run it again for the rest.$"),
    ):
        delete("ada", "--yes")
    # The interrupted batch is rolled back.
    assert len(rows()) == 2500
    assert delete("ada", "--yes") == "The user 'ada' has 2500 task(s).\nAll were deleted.\n"
    assert rows() == []


@pytest.mark.posix
@pytest.mark.postgresql
def test_the_command_can_be_interrupted_while_it_waits_for_a_lock(rows: Rows) -> None:
    make("ada", 1500)
    with transaction.atomic():
        # The oldest task is in the last batch.
        oldest = Task.objects.select_for_update().order_by("id")[0]
        process = start_manage("delete_user_tasks", "ada", "--yes", DATABASE_URL=database_url())
        with connection.cursor() as cursor:
            wait_until(
                lambda: cursor.execute("SELECT FROM pg_locks WHERE NOT granted") and cursor.rowcount,
                "the command waits for the lock",
            )
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (
        1,
        b"CommandError: Interrupted. Run it again for the rest.\n",
    )
    assert oldest.pk in [row["id"] for row in rows()]
    assert len(rows()) == 500


@pytest.mark.parametrize(
    "url",
    ["postgresql://todo:private-password@127.0.0.1:{port}/todo", "sqlite:///{folder}/empty.sqlite3"],
    ids=["unreachable", "without-tables"],
)
def test_an_unusable_database_is_an_error_of_one_line_without_the_password(url: str, tmp_path: Path) -> None:
    with (
        default_database(url.format(port=free_port(), folder=tmp_path)),
        pytest.raises(CommandError, match=r"\AThe database: .+\Z") as error,
    ):
        delete("ada", "--yes")
    assert "private-password" not in str(error.value)


@pytest.mark.parametrize(
    "sub",
    [pytest.param("\udcff", id="not-utf-8"), pytest.param("a\0b", id="nul", marks=pytest.mark.postgresql)],
)
def test_a_sub_that_the_database_cannot_store_is_an_error_of_one_line(sub: str) -> None:
    with pytest.raises(CommandError, match=r"\AThe database: .*\Z"):
        delete(sub, "--yes")
