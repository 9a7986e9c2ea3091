import re
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connection, models

from tasks.management.commands.import_tasks import convert
from tasks.models import Task
from testing.client import Rows, UserClient
from testing.database import default_database
from testing.processes import (
    database_url,
    empty_postgresql,
    free_port,
    manage,
    manage_on_terminal,
    migrate,
    start_manage,
)
from testing.servers import wait_until

pytestmark = pytest.mark.django_db(transaction=True, reset_sequences=True)

# The table as SQLModel 0.0.50 creates it. With NaiveDatetime, and in earlier versions, times are WITHOUT TIME ZONE.
DDL = {
    "postgresql": """
CREATE TABLE task (
	id SERIAL NOT NULL,
	user_id VARCHAR NOT NULL,
	title VARCHAR(200) NOT NULL,
	description VARCHAR(1000),
	completed BOOLEAN NOT NULL,
	created_at TIMESTAMP WITH TIME ZONE NOT NULL,
	updated_at TIMESTAMP WITH TIME ZONE NOT NULL,
	PRIMARY KEY (id)
)
""",
    "sqlite": """
CREATE TABLE task (
	id INTEGER NOT NULL,
	user_id VARCHAR NOT NULL,
	title VARCHAR(200) NOT NULL,
	description VARCHAR(1000),
	completed BOOLEAN NOT NULL,
	created_at DATETIME NOT NULL,
	updated_at DATETIME NOT NULL,
	PRIMARY KEY (id)
)
""",
}
ROW = {
    "user_id": "ada",
    "title": "Buy milk",
    "description": None,
    "completed": False,
    "created_at": "2026-02-07 09:30:00.123456",
    "updated_at": "2026-02-08 10:00:00.000000",
}
TIMES = pytest.mark.parametrize(
    "times", ["TIMESTAMP WITH TIME ZONE", "TIMESTAMP WITHOUT TIME ZONE"], ids=["timestamptz", "timestamp"]
)
CREATED = datetime(2026, 2, 7, 9, 30, 0, 123456, UTC)


class SourceDatabase:
    """The database of the other backend."""

    def __init__(self, vendor: str, url: str, database: Any) -> None:
        self.vendor = vendor
        self.url = url
        self.execute = database.execute

    def create_table(self, name: str = "task", *, times: str = "TIMESTAMP WITH TIME ZONE", strict: bool = True) -> None:
        """Creates SQLModel's table, or one without its constraints."""
        ddl = DDL[self.vendor].replace("TABLE task", f"TABLE {name}").replace("TIMESTAMP WITH TIME ZONE", times)
        for limit in [] if strict else ["NOT NULL", "(200)", "(1000)"]:
            ddl = ddl.replace(limit, "")
        self.execute(ddl)

    def add(self, table: str = "task", **values: Any) -> None:
        row = {**ROW, **values}
        mark = {"sqlite": "?", "postgresql": "%s"}[self.vendor]
        statement = f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join([mark] * len(row))})"
        self.execute(statement, list(row.values()))

    def add_many(self, first: int, last: int, title: str = "Buy milk") -> None:
        numbers = {
            "sqlite": f"WITH RECURSIVE n(i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM n WHERE i < {last})",
            "postgresql": f"WITH n(i) AS (SELECT generate_series({first}, {last}))",
        }
        self.execute(
            "INSERT INTO task (id, user_id, title, completed, created_at, updated_at) "
            f"{numbers[self.vendor]} SELECT i, 'ada', '{title}', 1 = 1, '{CREATED:%F %T.%f}', '{CREATED:%F %T}' FROM n"
        )


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[SourceDatabase]:
    path = tmp_path / "it's @ #1%.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        yield SourceDatabase("sqlite", f"sqlite:///{tmp_path}/it's @ %231%25.db", database)


@pytest.fixture(scope="module")
def postgresql_database() -> Iterator[tuple[str, Any]]:
    url = empty_postgresql("source")
    with psycopg.connect(url, autocommit=True, options="-c timezone=UTC") as database:
        yield url, database


@pytest.fixture
def postgresql(postgresql_database: tuple[str, Any]) -> SourceDatabase:
    url, database = postgresql_database
    database.execute("DROP SCHEMA IF EXISTS public, todo CASCADE")
    database.execute("CREATE SCHEMA public")
    return SourceDatabase("postgresql", url, database)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def source(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


def import_from(url: str, *options: str) -> tuple[list[str], str]:
    """The lines that the command prints, and the error with which it ends."""
    output = StringIO()
    try:
        call_command("import_tasks", "--from", url, *options, stdout=output)
    except CommandError as exc:
        return output.getvalue().splitlines(), str(exc)
    return output.getvalue().splitlines(), ""


def summary(imported: int, here: int, skipped: int) -> list[str]:
    return [f"{imported} imported, {here} already here, {skipped} skipped."]


WRITTEN: list[dict[str, Any]] = [
    {},
    {"user_id": "KOGJWRsy", "completed": True},
    {"title": " 'é' \"漢字\" 😀 %s \\ ", "description": "two\nlines\t😀"},
    {"title": "x" * 200, "description": "😀" * 1000, "user_id": "ü" * 255},
    {"description": ""},
    {"created_at": "2026-02-07 09:30:00.000000", "updated_at": "1000-01-01 00:00:00.000001"},
    {"created_at": "9999-12-31 23:59:59.999999", "updated_at": "1970-01-01 00:00:00.000000"},
]


@TIMES
def test_every_field_is_kept_and_every_task_is_served(times: str, source: SourceDatabase, rows: Rows) -> None:
    source.create_table(times=times)
    ids = [1, 2, 5, 1000, 1001, 70_000, 2**31 - 1]
    for pk, values in zip(ids, WRITTEN, strict=True):
        source.add(id=pk, **values)
    assert import_from(source.url) == (summary(7, 0, 0), "")
    expected: list[dict[str, Any]] = [{"id": pk, **ROW, **values} for pk, values in zip(ids, WRITTEN, strict=True)]
    for row in expected:
        for name in ("created_at", "updated_at"):
            row[name] = datetime.fromisoformat(row[name]).replace(tzinfo=UTC)
    for row, found in zip(expected, rows(), strict=True):
        assert found == {**found, **row, "idempotency_key": None}
    for row in expected:
        task = UserClient(row["user_id"])("GET", f"/api/tasks/{row['id']}").json()
        assert task == {
            **task,
            **row,
            "created_at": row["created_at"].isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "updated_at": row["updated_at"].isoformat(timespec="microseconds").replace("+00:00", "Z"),
        }


def test_a_second_run_adds_new_rows_and_leaves_existing_tasks_unchanged(
    source: SourceDatabase, ada: UserClient, rows: Rows
) -> None:
    source.create_table()
    source.add(id=3)
    source.add(id=4)
    assert import_from(source.url) == (summary(2, 0, 0), "")
    assert ada("PATCH", "/api/tasks/3", {"title": "Changed here"}).status_code == 200
    before = rows()
    assert import_from(source.url) == (summary(0, 2, 0), "")
    assert rows() == before
    source.add(id=1)
    source.add(id=9)
    assert import_from(source.url) == (summary(2, 2, 0), "")
    assert [row["id"] for row in rows()] == [1, 3, 4, 9]
    assert [row for row in rows() if row["id"] in (3, 4)] == before


def test_a_task_created_after_an_import_gets_a_new_id(source: SourceDatabase, ada: UserClient, rows: Rows) -> None:
    source.create_table()
    source.add(id=1)
    source.add(id=40)
    import_from(source.url)
    assert ada.task()["id"] == 41
    ada("DELETE", "/api/tasks/41")
    ada("DELETE", "/api/tasks/40")
    assert ada.task()["id"] == 42
    assert import_from(source.url) == (summary(1, 1, 0), "")
    assert ada.task()["id"] == 43
    assert [row["id"] for row in rows()] == [1, 40, 42, 43]


def test_ids_of_new_tasks_never_go_back(source: SourceDatabase, ada: UserClient) -> None:
    for _ in range(3):
        last = ada.task()
        ada("DELETE", f"/api/tasks/{last['id']}")
    source.create_table()
    source.add(id=2)
    assert import_from(source.url) == (summary(1, 0, 0), "")
    assert ada.task()["id"] == last["id"] + 1


def test_a_task_created_during_an_import_gets_a_new_id(source: SourceDatabase, ada: UserClient, rows: Rows) -> None:
    source.create_table()
    source.add_many(1, 1500)
    ids = []

    def create_task() -> None:
        ids.append(ada.task()["id"])
        connection.close()

    def execute(execute: Any, sql: str, *args: Any) -> Any:
        # After the sequence has moved, before the first batch.
        if sql.startswith('SELECT "tasks_task"') and not ids:
            thread = threading.Thread(target=create_task)
            thread.start()
            thread.join()
        return execute(sql, *args)

    with connection.execute_wrapper(execute):
        assert import_from(source.url) == (summary(1500, 0, 0), "")
    assert ids == [1501]
    assert [row["id"] for row in rows()] == [*range(1, 1502)]


PRIVATE = "private"
ID, TIME = "id is not a whole number from 1 to 4503599627370496", "is not a time"
SUB = "user_id is blank or has control characters"
LARGE = "the row has more than 10000 bytes"
TEXT, BOOLEAN = "is not text", "completed is not true or false"
Case = tuple[dict[str, Any], str]
REFUSED: dict[str, Case] = {
    "id-zero": ({"id": 0}, ID),
    "id-negative": ({"id": -(2**31)}, ID),
    "user_id-null": ({"user_id": None}, "user_id"),
    "user_id-empty": ({"user_id": ""}, SUB),
    "user_id-blank": ({"user_id": " \u2003"}, SUB),
    "user_id-line": ({"user_id": "ada\n"}, SUB),
    "user_id-control": ({"user_id": "\x85ada"}, SUB),
    "user_id-long": ({"user_id": "a" * 256}, "task_user_id_length"),
    "title-null": ({"title": None}, "title"),
    "title-empty": ({"title": ""}, "task_title_"),
    "title-blank": ({"title": " \u3000"}, "task_title_not_blank"),
    "title-long": ({"title": PRIVATE * 30}, "task_title_length"),
    "description-long": ({"description": PRIVATE * 150}, "task_description_length"),
    "title-large": ({"title": "\u00e9" * 5000}, LARGE),
    "description-large": ({"description": PRIVATE * 10_000}, LARGE),
    "completed-null": ({"completed": None}, BOOLEAN),
    "created_at-null": ({"created_at": None}, f"created_at {TIME}"),
    "updated_at-null": ({"updated_at": None}, f"updated_at {TIME}"),
}
REFUSED_FROM_POSTGRESQL: dict[str, Case] = {
    f"{name}-{kind}": ({name: value}, f"{name} {TIME}")
    for name in ("created_at", "updated_at")
    for kind, value in {
        "infinity": "infinity",
        "minus-infinity": "-infinity",
        "bc": "0044-03-15 12:00:00 BC",
        "year-10000": "10000-01-01 00:00:00",
    }.items()
}
REFUSED_FROM_SQLITE: dict[str, Case] = {
    "user_id-bytes": ({"user_id": b"ada"}, f"user_id {TEXT}"),
    "title-bytes": ({"title": PRIVATE.encode()}, f"title {TEXT}"),
    "description-bytes": ({"description": PRIVATE.encode()}, f"description {TEXT}"),
    "title-nul": ({"title": f"{PRIVATE}\0"}, "NUL" if connection.vendor == "postgresql" else "task_no_nul"),
    "completed-2": ({"completed": 2}, BOOLEAN),
    "completed-text": ({"completed": "yes"}, BOOLEAN),
    "completed-bytes": ({"completed": b"\x01"}, BOOLEAN),
    "time-empty": ({"created_at": ""}, f"created_at {TIME}"),
    "time-word": ({"created_at": "yesterday"}, f"created_at {TIME}"),
    "time-no-such-day": ({"created_at": "2026-02-30 00:00:00"}, f"created_at {TIME}"),
    "time-seconds": ({"created_at": 1770000000}, f"created_at {TIME}"),
    "time-digits": ({"created_at": 20260207}, f"created_at {TIME}"),
    "time-float": ({"created_at": 1.5}, f"created_at {TIME}"),
    "time-bytes": ({"created_at": b"2026-02-07 09:30:00"}, f"created_at {TIME}"),
    "title-large-bytes": ({"title": PRIVATE.encode() * 10_000}, LARGE),
    "title-large-after-nul": ({"title": "x\0" + PRIVATE * 10_000}, LARGE),
    "completed-large": ({"completed": PRIVATE * 10_000}, LARGE),
    "time-large": ({"created_at": PRIVATE * 10_000}, LARGE),
    "time-before-year-1": ({"created_at": "0001-01-01 00:00:00+01:00"}, f"created_at {TIME}"),
}


def assert_skipped(source: SourceDatabase, values: dict[str, Any], reason: str, rows: Rows) -> None:
    source.add(id=7)
    source.add(**{"id": 8, "title": PRIVATE, **values})
    source.add(id=9)
    for done in ("would be imported", "imported"):
        assert rows() == []
        [line, last], error = import_from(source.url, *(["--dry-run"] if done != "imported" else []))
        assert line.startswith(f"{values.get('id', 8)}: ")
        assert reason in line
        assert PRIVATE not in line
        assert (last, error) == (
            f"2 {done}, 0 already here, 1 skipped.",
            "Some rows were skipped; the reasons are listed above.",
        )
    assert [row["id"] for row in rows()] == [7, 9]


@pytest.mark.django_db
@pytest.mark.parametrize(("values", "reason"), REFUSED.values(), ids=REFUSED)
def test_an_invalid_row_is_reported_and_skipped(
    values: dict[str, Any], reason: str, source: SourceDatabase, rows: Rows
) -> None:
    source.create_table(strict=False)
    assert_skipped(source, values, reason, rows)


@pytest.mark.django_db
@pytest.mark.postgresql
@TIMES
@pytest.mark.parametrize(("values", "reason"), REFUSED_FROM_POSTGRESQL.values(), ids=REFUSED_FROM_POSTGRESQL)
def test_a_time_that_only_postgresql_has_is_reported_and_skipped(
    values: dict[str, Any], reason: str, times: str, postgresql: SourceDatabase, rows: Rows
) -> None:
    postgresql.create_table(times=times, strict=False)
    assert_skipped(postgresql, values, reason, rows)


@pytest.mark.django_db
@pytest.mark.parametrize(("values", "reason"), REFUSED_FROM_SQLITE.values(), ids=REFUSED_FROM_SQLITE)
def test_a_value_that_only_sqlite_stores_is_reported_and_skipped(
    values: dict[str, Any], reason: str, sqlite: SourceDatabase, rows: Rows
) -> None:
    sqlite.create_table(strict=False)
    assert_skipped(sqlite, values, reason, rows)


# Types of fields that a task may have one day
CONVERTED: dict[str, tuple[Any, Any, Any]] = {
    "date": (models.DateField(name="due_date"), "2026-02-07", date(2026, 2, 7)),
    "date-null": (models.DateField(name="due_date", null=True), None, None),
    "date-not-null": (models.DateField(name="due_date"), None, ValueError),
    "date-word": (models.DateField(name="due_date"), "tomorrow", ValueError),
    "date-digits": (models.DateField(name="due_date"), 20260207, ValueError),
    "integer": (models.IntegerField(name="priority"), 3, 3),
    "integer-bytes": (models.IntegerField(name="priority"), b"3", ValueError),
    "integer-fraction": (models.IntegerField(name="priority"), 1.5, ValueError),
    "text-integer": (models.CharField(name="label"), 3, ValueError),
}


@pytest.mark.django_db
@pytest.mark.parametrize(("field", "value", "expected"), CONVERTED.values(), ids=CONVERTED)
def test_a_value_is_converted_by_the_type_of_its_field(field: Any, value: Any, expected: Any) -> None:
    if expected is ValueError:
        with pytest.raises(ValueError, match=rf"\A{field.name} is not valid\Z"):
            convert(field, value)
    else:
        assert convert(field, value) == expected


def test_a_text_that_is_not_utf_8_is_reported_and_skipped(sqlite: SourceDatabase, rows: Rows) -> None:
    sqlite.create_table()
    sqlite.add(id=7)
    sqlite.add(id=8)
    sqlite.execute("UPDATE task SET title = CAST(x'70ff' AS TEXT) WHERE id = 7")
    lines, _ = import_from(sqlite.url)
    assert lines == ["7: title is not text", *summary(1, 0, 1)]
    assert [row["id"] for row in rows()] == [8]


def test_a_reason_in_another_language_is_printed_whatever_the_code_page(sqlite: SourceDatabase, tmp_path: Path) -> None:
    """A database's messages may be in any language."""
    sqlite.create_table()
    sqlite.add_many(1, 2)
    url = f"sqlite:///{tmp_path / 'todo.sqlite3'}"
    migrate(url)
    with closing(sqlite3.connect(tmp_path / "todo.sqlite3")) as database:
        database.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON tasks_task WHEN NEW.id = 1 BEGIN SELECT RAISE(ABORT, '\u03c3'); END"
        )
    result = manage("import_tasks", "--from", sqlite.url, DATABASE_URL=url, PYTHONIOENCODING="cp1252")
    assert result.stdout.splitlines() == ["1: \u03c3", *summary(1, 0, 1)]
    assert result.stderr == "CommandError: Some rows were skipped; the reasons are listed above.\n"


@pytest.mark.parametrize(
    "values", [{"user_id": "bob"}, {"created_at": "2026-02-07 09:30:00.123457"}], ids=["user", "time"]
)
def test_an_id_of_another_task_is_reported_and_skipped(
    values: dict[str, str], source: SourceDatabase, rows: Rows
) -> None:
    Task.objects.create(pk=8, user_id="ada", title="Here", created_at=CREATED)
    before = rows()
    source.create_table()
    source.add(id=7)
    source.add(id=8, **values)
    for imported, here in [(1, 0), (0, 1)]:
        lines, error = import_from(source.url)
        assert lines == ["8: its id is taken by another task", *summary(imported, here, 1)]
        assert error
    assert rows()[1:] == before


def test_invalid_rows_are_found_among_thousands(source: SourceDatabase, rows: Rows) -> None:
    source.create_table(strict=False)
    source.add_many(1, 2500)
    source.execute("UPDATE task SET title = '' WHERE id IN (1, 500, 501, 999, 1000, 1001, 2500)")
    source.execute("UPDATE task SET completed = NULL WHERE id IN (2, 1500)")
    skipped = [1, 2, 500, 501, 999, 1000, 1001, 1500, 2500]
    *lines, last = import_from(source.url)[0]
    assert [int(line.partition(":")[0]) for line in lines] == skipped
    assert [last] == summary(2491, 0, 9)
    assert [row["id"] for row in rows()] == sorted({*range(1, 2501)} - {*skipped})
    assert import_from(source.url)[0][-1:] == summary(0, 2491, 9)


def test_a_dry_run_reports_the_result_and_changes_nothing(source: SourceDatabase, ada: UserClient, rows: Rows) -> None:
    ada.task()
    last = ada.task()["id"]
    before = rows()
    source.create_table()
    source.add_many(last, last + 1500)
    assert import_from(source.url, "--dry-run") == (
        [f"{last}: its id is taken by another task", "1500 would be imported, 0 already here, 1 skipped."],
        "Some rows were skipped; the reasons are listed above.",
    )
    assert rows() == before
    assert ada.task()["id"] == last + 1


@pytest.mark.posix
def test_the_name_of_a_file_may_have_a_question_mark(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "a?b.db", isolation_level=None)) as database:
        source = SourceDatabase("sqlite", f"sqlite:///{tmp_path}/a%3Fb.db", database)
        source.create_table()
        assert import_from(source.url) == (summary(0, 0, 0), "")


def test_an_empty_table_is_imported(source: SourceDatabase, ada: UserClient) -> None:
    source.create_table()
    assert import_from(source.url) == (summary(0, 0, 0), "")
    assert ada.task()["id"] == 1


@pytest.mark.posix
@pytest.mark.parametrize("how", ["SIGKILL", "SIGINT"])
def test_an_interrupted_import_can_be_completed(how: str, sqlite: SourceDatabase, ada: UserClient, rows: Rows) -> None:
    sqlite.create_table(strict=False)
    sqlite.add_many(1, 2000)
    # The reasons for these rows fill the pipe, which nobody reads, so the process stops there until the signal.
    sqlite.add_many(2001, 5000, title="")
    sqlite.add_many(5001, 7000)
    with start_manage("import_tasks", "--from", sqlite.url, DATABASE_URL=database_url()) as process:
        wait_until(lambda: Task.objects.count() >= 2000, "two batches are imported")
        process.send_signal(signal.Signals[how])
        _, errors = process.communicate(timeout=30)
    assert len(rows()) == 2000
    if how == "SIGINT":
        assert process.returncode == 1
        assert errors.splitlines()[-1:] == [b"CommandError: Interrupted. Run it again for the rest."]
    sqlite.execute("DELETE FROM task WHERE title = ''")
    assert import_from(sqlite.url) == (summary(2000, 2000, 0), "")
    ids = [*range(1, 2001), *range(5001, 7001)]
    assert [(row["id"], row["user_id"], row["title"], row["created_at"]) for row in rows()] == [
        (pk, "ada", "Buy milk", CREATED) for pk in ids
    ]
    assert ada.task()["id"] == 7001


def test_a_batch_is_imported_completely_or_not_at_all(source: SourceDatabase, rows: Rows) -> None:
    source.create_table()
    source.add_many(1, 2500)

    def execute(execute: Any, sql: str, *args: Any) -> Any:
        result = execute(sql, *args)
        if sql.startswith("INSERT") and Task.objects.count() > 1000:
            signal.raise_signal(signal.SIGINT)
        return result

    with connection.execute_wrapper(execute):
        assert import_from(source.url) == (
            [],
            "Interrupted. Run it again for the rest.",
        )
    assert len(rows()) == 1000
    assert import_from(source.url) == (summary(1500, 1000, 0), "")


@pytest.mark.posix
def test_progress_is_shown_on_a_terminal_only(sqlite: SourceDatabase, capfd: pytest.CaptureFixture[str]) -> None:
    sqlite.create_table(strict=False)
    sqlite.add_many(1, 1500)
    sqlite.add(id=1501, title="")
    status, shown = manage_on_terminal("import_tasks", "--from", sqlite.url, DATABASE_URL=database_url())
    assert status == 1
    assert "1501/1501" in shown
    lines = [line.strip() for line in shown.replace("\r", "\n").splitlines() if line.strip()]
    assert lines[-2:] == [*summary(1500, 0, 1), "CommandError: Some rows were skipped; the reasons are listed above."]
    [refused] = [line for line in lines if line.startswith("1501: ")]
    assert "task_title" in refused
    with pytest.raises(CommandError, match=r"\ASome rows were skipped; the reasons are listed above\.\Z"):
        call_command("import_tasks", "--from", sqlite.url)
    output, errors = capfd.readouterr()
    assert output.splitlines()[-1:] == summary(0, 1500, 1)
    assert "1501" not in errors


def test_with_debug_on_no_statement_stays_in_memory(source: SourceDatabase, settings: Any) -> None:
    settings.DEBUG = True
    source.create_table()
    source.add_many(1, 3000)
    assert import_from(source.url) == (summary(3000, 0, 0), "")
    assert connection.queries == []


@pytest.mark.postgresql
def test_from_postgresql_to_sqlite(postgresql: SourceDatabase, tmp_path: Path) -> None:
    postgresql.create_table()
    postgresql.add_many(1, 1500)
    with default_database(f"sqlite:///{tmp_path / 'todo.sqlite3'}"):
        call_command("migrate", verbosity=0)
        assert import_from(postgresql.url) == (summary(1500, 0, 0), "")
    with closing(sqlite3.connect(tmp_path / "todo.sqlite3")) as database:
        assert database.execute("SELECT COUNT(*), MIN(id), MAX(id), MIN(created_at) FROM tasks_task").fetchall() == [
            (1500, 1, 1500, "2026-02-07 09:30:00.123456")
        ]


def test_the_source_is_only_read(sqlite: SourceDatabase, tmp_path: Path) -> None:
    sqlite.create_table()
    sqlite.add(id=1)
    [path] = tmp_path.iterdir()
    before = path.read_bytes()
    assert import_from(sqlite.url) == (summary(1, 0, 0), "")
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == before


@pytest.mark.postgresql
def test_the_whole_source_is_read_in_one_snapshot(postgresql: SourceDatabase) -> None:
    postgresql.create_table()
    postgresql.add_many(1, 1500)

    def execute(execute: Any, sql: str, *args: Any) -> Any:
        if sql.startswith("INSERT"):
            postgresql.execute("DELETE FROM task")
        return execute(sql, *args)

    with connection.execute_wrapper(execute):
        assert import_from(postgresql.url) == (summary(1500, 0, 0), "")


@pytest.mark.postgresql
def test_times_are_read_with_any_datestyle(postgresql: SourceDatabase, rows: Rows) -> None:
    postgresql.create_table()
    postgresql.add(id=1)
    postgresql.execute("ALTER DATABASE source SET datestyle TO 'German'")
    try:
        assert import_from(postgresql.url) == (summary(1, 0, 0), "")
    finally:
        postgresql.execute("ALTER DATABASE source RESET datestyle")
    assert [row["created_at"] for row in rows()] == [CREATED]


@pytest.mark.parametrize("suffix", ["", "+aiosqlite", "+pysqlite"], ids=["none", "aiosqlite", "pysqlite"])
def test_a_driver_of_sqlite_may_be_named(suffix: str, sqlite: SourceDatabase) -> None:
    sqlite.create_table()
    sqlite.add(id=1)
    assert import_from(sqlite.url.replace("sqlite", f"sqlite{suffix}", 1)) == (summary(1, 0, 0), "")


@pytest.mark.postgresql
@pytest.mark.parametrize("scheme", ["postgres", "postgresql+asyncpg", "postgresql+psycopg2", "postgresql+psycopg"])
def test_a_driver_of_postgresql_may_be_named(scheme: str, postgresql: SourceDatabase) -> None:
    postgresql.create_table()
    postgresql.add(id=1)
    url = postgresql.url.replace("postgresql", scheme, 1)
    assert import_from(f"{url}&ssl=require") == (summary(1, 0, 0), "")


def test_the_table_is_guessed_or_given(source: SourceDatabase) -> None:
    assert import_from(source.url) == ([], "Say which --table it is; there are: none.")
    source.create_table("tasks")
    source.add("tasks", id=1)
    assert import_from(source.url) == (summary(1, 0, 0), "")
    source.create_table("task")
    source.create_table('"it\'s ""Tasks"""')
    assert import_from(source.url) == ([], 'Say which --table it is; there are: it\'s "Tasks", task, tasks.')
    assert import_from(source.url, "--table", "tasks") == (summary(0, 1, 0), "")
    assert import_from(source.url, "--table", 'it\'s "Tasks"') == (summary(0, 0, 0), "")
    _, error = import_from(source.url, "--table", "no_such")
    assert error.startswith("--from: ")
    assert "no_such" in error
    assert "\n" not in error


def test_a_schema_may_be_named(source: SourceDatabase) -> None:
    schema = {"sqlite": "main", "postgresql": "todo"}[source.vendor]
    if source.vendor == "postgresql":
        source.execute("CREATE SCHEMA todo")
    source.create_table(f"{schema}.task")
    source.add(f"{schema}.task", id=1)
    assert import_from(source.url, "--table", f"{schema}.task") == (summary(1, 0, 0), "")


def test_a_table_may_have_any_name(source: SourceDatabase) -> None:
    source.create_table()
    source.add(id=1)
    source.execute('ALTER TABLE task RENAME TO "100%s ""%(x)s"""')
    assert import_from(source.url, "--table", '100%s "%(x)s"') == (summary(1, 0, 0), "")


def test_a_table_name_that_is_not_utf_8_is_an_error_of_one_line(source: SourceDatabase) -> None:
    output, error = import_from(source.url, "--table", "\udcff")
    assert output == []
    assert error.startswith("--from: ")
    assert "\n" not in error


def test_ids_above_the_limit_are_not_imported(source: SourceDatabase, ada: UserClient, rows: Rows) -> None:
    source.execute(DDL[source.vendor].replace("id SERIAL", "id BIGINT"))
    above = [2**52 + 1, 2**53, 2**60, 2**63 - 1]
    for pk in [2**52, *above]:
        source.add(id=pk)
    lines, _ = import_from(source.url)
    assert lines == [*[f"{pk}: id is not a whole number from 1 to 4503599627370496" for pk in above], *summary(1, 0, 4)]
    assert ada.task()["id"] == 2**52 + 1
    assert [row["id"] for row in rows()] == [2**52, 2**52 + 1]


def test_without_a_column_each_task_gets_the_default(
    source: SourceDatabase, rows: Rows, capsys: pytest.CaptureFixture[str]
) -> None:
    source.create_table()
    source.add(id=1, completed=True, description="Not there any more")
    source.execute("ALTER TABLE task DROP COLUMN completed")
    source.execute("ALTER TABLE task DROP COLUMN description")
    assert import_from(source.url) == (summary(1, 0, 0), "")
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith('"task" has no ')
    assert line.endswith(": each task gets the default.")
    assert {"completed", "description"} <= set(re.findall(r"\w+", line))
    [row] = rows()
    assert (row["title"], row["created_at"]) == ("Buy milk", CREATED)
    assert (row["completed"], row["description"]) == (False, None)


def test_missing_columns_without_a_default_are_named(source: SourceDatabase, rows: Rows) -> None:
    source.execute("CREATE TABLE task (id INTEGER, user_id TEXT, title TEXT)")
    assert import_from(source.url) == ([], '"task" has no created_at, updated_at.')
    source.execute("DROP TABLE task")
    source.execute("CREATE TABLE task (completed BOOLEAN)")
    assert import_from(source.url) == ([], '"task" has no created_at, id, title, updated_at, user_id.')
    assert rows() == []


@pytest.mark.parametrize("kind", ["VARCHAR", pytest.param("UUID", marks=pytest.mark.postgresql)])
def test_ids_that_are_not_numbers_are_refused(kind: str, source: SourceDatabase) -> None:
    source.execute(DDL[source.vendor].replace("id SERIAL", f"id {kind}").replace("id INTEGER", f"id {kind}"))
    source.add(id="6f9619ff-8b86-d011-b42d-00c04fc964ff")
    assert import_from(source.url) == ([], '"task" has ids that are not whole numbers.')


def test_rows_without_an_id_are_reported(source: SourceDatabase, rows: Rows) -> None:
    source.execute(DDL[source.vendor].replace("id SERIAL NOT NULL", "id INTEGER").replace("PRIMARY KEY (id)", "x INT"))
    source.execute("CREATE TABLE tasks AS SELECT * FROM task")
    source.execute("DROP TABLE task")
    source.add("tasks", id=None)
    source.add("tasks", id=1)
    assert import_from(source.url) == (
        summary(1, 0, 0),
        "Only 1 of 2 rows were read: ids are missing or not unique, or the table changed during the import.",
    )


def test_this_backends_own_table_is_refused(ada: UserClient, rows: Rows) -> None:
    ada.task()
    before = rows()
    assert import_from(database_url(), "--table", "tasks_task") == ([], '"tasks_task" is this backend\'s own table.')
    assert rows() == before


def test_the_table_may_be_in_the_same_database(rows: Rows) -> None:
    with connection.cursor() as cursor:
        cursor.execute(DDL[connection.vendor])
        cursor.execute(
            "INSERT INTO task SELECT 5, 'ada', 'x', NULL, 1 = 1, '2026-02-07 09:30:00', '2026-02-07 09:30:00'"
        )
    try:
        assert import_from(database_url()) == (summary(1, 0, 0), "")
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE task")
    assert [row["id"] for row in rows()] == [5]


# `{port}` becomes a port on which nothing listens, `{folder}` a folder.
UNREADABLE = {
    "empty": "",
    "word": "x",
    "mysql": "mysql://u:private-password@localhost/d",
    "no-slashes": "postgresql:u:private-password@localhost/d",
    "password-before-slash": "postgresql://u:private-password/@localhost/d",
    "password-after-slash": "postgresql://u:1/private-password@localhost/d",
    "password-after-question-mark": "postgresql://u:1?private-password@localhost/d",
    "password-after-hash": "postgresql://u:1#private-password@localhost/d",
    "password-after-bracket": "postgresql://u:[private-password@localhost/d",
    "port-word": "postgresql://u:private-password@localhost:port/d",
    "port-closed": "postgresql://u:private-password@127.0.0.1:{port}/d",
    "password-nul": "postgresql://u:private-password%00@127.0.0.1:{port}/d",
    "password-not-utf-8": "postgresql://u:private-password\udcff@127.0.0.1:{port}/d",
    "password-before-at": "postgresql://u:p%40%2F@private-password@127.0.0.1:{port}/d",
    "host-long": "postgresql://u:private-password@" + "h" * 70 + ":{port}/d",
    "host-idna": "postgresql://u:private-password@é..x:{port}/d",
    "name-empty": "postgresql://u:private-password@127.0.0.1:{port}/",
    "name-long": "postgresql://u:private-password@127.0.0.1:{port}/" + "d" * 64,
    "no-such-option": "postgresql://u:private-password@127.0.0.1:{port}/d?schema=public",
    "no-such-sslmode": "postgresql://u:private-password@127.0.0.1:{port}/d?sslmode=x",
    "password-as-option": "postgresql://127.0.0.1:{port}/d?user=u&password=private-password",
    "sqlite-nothing": "sqlite://",
    "sqlite-memory": "sqlite://:memory:",
    "sqlite-empty": "sqlite:///",
    "sqlite-folder": "sqlite:///{folder}",
    "sqlite-missing": "sqlite:///{folder}/missing.db",
    "sqlite-rwc": "sqlite:///{folder}/missing.db?mode=rwc",
    "sqlite-nul": "sqlite:///{folder}/missing%00.db",
    "sqlite-text": "sqlite:///{folder}/text.db",
}


@pytest.mark.django_db
@pytest.mark.parametrize("url", UNREADABLE.values(), ids=UNREADABLE)
def test_an_unreadable_source_is_an_error_of_one_line_without_the_password(url: str, tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("This is not a database." * 100, encoding="utf-8")
    output, error = import_from(url.format(port=free_port(), folder=tmp_path))
    assert output == []
    assert error.startswith("--from")
    assert "\n" not in error
    assert not any(part in error for part in ("private-password", "udcff"))
    assert [path.name for path in tmp_path.iterdir()] == ["text.db"]


def test_an_unusable_database_is_an_error_of_one_line_without_the_password(sqlite: SourceDatabase) -> None:
    sqlite.create_table()
    url = f"postgresql://todo:private-password@127.0.0.1:{free_port()}/todo"
    result = manage("import_tasks", "--from", sqlite.url, DATABASE_URL=url)
    assert (result.returncode, result.stdout) == (1, "")
    [line] = result.stderr.splitlines()
    assert line.startswith("CommandError: The database: ")
    assert "private-password" not in line


def test_a_user_may_have_more_tasks_than_can_be_created(
    source: SourceDatabase, ada: UserClient, settings: Any, rows: Rows
) -> None:
    settings.TASKS_PER_USER = 2
    source.create_table()
    source.add_many(1, 5)
    assert import_from(source.url) == (summary(5, 0, 0), "")
    assert ada("POST", "/api/tasks", {"title": "x"}).status_code == 409
    assert len(rows()) == 5


def test_the_longest_valid_task_is_imported(source: SourceDatabase, rows: Rows) -> None:
    source.create_table()
    source.add(id=1, user_id="😀" * 255, title="😀" * 200, description="😀" * 1000)
    assert import_from(source.url) == (summary(1, 0, 0), "")
    assert [row["description"] for row in rows()] == ["😀" * 1000]


@pytest.mark.postgresql
@pytest.mark.parametrize("kind", ["bytea", "json", "text[]"])
def test_a_large_value_of_another_type_is_reported_and_skipped(
    kind: str, postgresql: SourceDatabase, rows: Rows
) -> None:
    value = {"bytea": b"x" * 10_000, "json": f'"{"x" * 10_000}"', "text[]": ["x" * 10_000]}[kind]
    postgresql.execute(DDL["postgresql"].replace("VARCHAR(200)", kind))
    postgresql.add(id=1, title=value)
    assert import_from(postgresql.url)[0] == [f"1: {LARGE}", *summary(0, 0, 1)]
    assert rows() == []


@pytest.mark.posix
def test_large_rows_stay_in_the_source(source: SourceDatabase) -> None:
    """300 of them do not fit into the memory that the process may use."""
    import resource  # Windows has no such module.

    source.create_table(strict=False)
    source.add_many(1, 300, title="x" * 2_000_000)
    source.add(id=301)
    with start_manage("import_tasks", "--from", source.url, DATABASE_URL=database_url()) as process:
        resource.prlimit(process.pid, resource.RLIMIT_DATA, (400_000_000, 400_000_000))
        output, errors = process.communicate(timeout=60)
    lines = output.decode().splitlines()
    assert lines[-1:] == summary(1, 0, 300), errors
    assert lines[:-1] == [f"{pk}: {LARGE}" for pk in range(1, 301)]


ENDLESS = """
CREATE VIEW task AS
WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n)
SELECT id, 'ada' AS user_id, 'x' AS title, NULL AS description, 1 = 1 AS completed, '2026-02-07 09:30:00' AS created_at,
'2026-02-07 09:30:00' AS updated_at FROM n
"""


def test_an_import_from_a_view_that_never_ends_can_be_interrupted(source: SourceDatabase, rows: Rows) -> None:
    source.execute(ENDLESS)
    started = time.monotonic()
    interrupt = threading.Timer(1, signal.raise_signal, [signal.SIGINT])
    interrupt.start()
    assert import_from(source.url, "--table", "task") == ([], "Interrupted. Run it again for the rest.")
    interrupt.join()
    assert time.monotonic() - started < 5
    assert rows() == []


CONTROL = "\x1b[31mred\rhidden\x9b\u202e"
ESCAPED = r"\x1b[31mred\rhidden\x9b\u202e"


@pytest.mark.postgresql
def test_an_error_of_the_source_is_escaped_and_cut(postgresql: SourceDatabase) -> None:
    postgresql.execute(DDL["postgresql"])
    postgresql.execute(f"""
        CREATE FUNCTION shout() RETURNS bigint LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION '%', '{CONTROL}' || repeat('x', 100000) || E'\\nsecond'; END $$
    """)
    postgresql.execute("CREATE VIEW loud AS SELECT shout() AS id, user_id, title, created_at, updated_at FROM task")
    postgresql.add(id=1)
    output, error = import_from(postgresql.url, "--table", "loud")
    assert output == []
    assert error.startswith(f"--from: {ESCAPED}xxx")
    assert error.endswith("xxx…")
    assert error.isprintable()
    assert len(error) < 600


def test_the_names_of_the_sources_tables_are_escaped_and_cut(source: SourceDatabase) -> None:
    source.execute(f'CREATE TABLE "{CONTROL}\n" (i INTEGER)')
    assert import_from(source.url) == ([], rf"Say which --table it is; there are: {ESCAPED}\n.")
    for number in range(20):
        source.execute(f'CREATE TABLE "{number}{"x" * 50}" (i INTEGER)')
    _, error = import_from(source.url)
    assert error.endswith("….")
    assert error.isprintable()
    assert len(error) < 600
