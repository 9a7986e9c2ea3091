from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dj_database_url
from django.core.management.base import BaseCommand, CommandError
from django.db import DEFAULT_DB_ALIAS, DataError, IntegrityError, connection, reset_queries, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper
from django.db.utils import ConnectionHandler
from tqdm import tqdm

from tasks.management.errors import first_line, one_line_errors
from tasks.models import Task

BATCH_SIZE = 1000
# So that new tasks, whose ids are higher, have as many again.
HIGHEST_ID = 2**62

Row = tuple[Any, ...]
# Ids of rows that are left, each with the reason; never with what a user wrote.
Refused = list[tuple[int, str]]


class Command(BaseCommand):
    help = (
        "Brings in the tasks of another backend, such as one on FastAPI and SQLModel, with their ids and times. What "
        "is here stays as it is: run it again after an interruption, or for what has become new there. A task that was "
        "deleted here comes back, though, as long as it is there."
    )
    # Warnings about settings would bury the rows that are left.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--from", dest="url", metavar="URL", required=True, help="its database: postgresql://… or sqlite:///…"
        )
        parser.add_argument("--table", metavar="NAME", help="its table, or schema.table; by default task or tasks")
        parser.add_argument("--dry-run", action="store_true", help="try each batch of rows and take it back")

    def handle(self, *args: Any, url: str, table: str | None, dry_run: bool, **options: Any) -> None:
        with one_line_errors("The database"), closing(connection_to(url)) as source_connection:
            self.import_from(Source(source_connection, table), dry_run=dry_run)

    def import_from(self, source: "Source", *, dry_run: bool) -> None:
        read = imported = left = 0
        if not dry_run:
            advance_sequence(source.highest_that_fits)
        with tqdm(total=source.count, unit="task", disable=None) as progress:
            for rows in source.batches():
                new, refused = import_batch(rows, dry_run=dry_run)
                read, imported, left = read + len(rows), imported + new, left + len(refused)
                self.report(refused)
                progress.update(len(rows))
                # With DEBUG on, Django keeps every statement.
                reset_queries()
        done = "would be imported" if dry_run else "imported"
        self.stdout.write(f"{imported} {done}, {read - imported - left} already here, {left} left.")
        self.stdout.flush()
        if read != source.count:
            raise CommandError(
                f"{read} of {source.count} rows were read: ids are missing or shared, or the table changed meanwhile."
            )
        if left:
            raise CommandError("Some rows were left, each for the reason above.")

    def report(self, refused: Refused) -> None:
        with tqdm.external_write_mode():
            for pk, reason in sorted(refused):
                self.stdout.write(f"{pk}: {reason}")
            # Before anything that goes to standard error.
            self.stdout.flush()


def connection_to(url: str) -> BaseDatabaseWrapper:
    """A connection of its own, which Django's `connections` do not know. No error repeats a part of the URL."""
    scheme, _, rest = url.partition("://")
    # SQLAlchemy's schemes name a driver, too.
    scheme = scheme.partition("+")[0]
    if scheme not in ("postgres", "postgresql", "sqlite"):
        raise CommandError("--from must start with postgresql:// or sqlite:///.")
    url = f"{scheme}://{rest}"
    try:
        # After PostgreSQL's host an @ is the end of a password that has a / or a ? in it.
        if scheme != "sqlite" and "@" in "".join(urlsplit(url)[2:]):
            raise ValueError
        config: dict[str, Any] = {"HOST": "", "OPTIONS": {}, **dj_database_url.parse(url)}
        # psycopg does both, and raises neither as an error of its own.
        config["HOST"].encode("idna")
        url.encode()
    except ValueError:
        raise CommandError(
            "--from is not a valid URL; percent-encode reserved characters in the user name and the password."
        ) from None
    options = config["OPTIONS"]
    if scheme == "sqlite":
        # Read-only, which makes no file; and every value as it is stored.
        config["NAME"] = f"{Path(config['NAME']).absolute().as_uri()}?mode=ro"
        config["OPTIONS"] = {"detect_types": 0}
    else:
        # psycopg's own default is 130 seconds for each address.
        options.setdefault("connect_timeout", 5)
        if "ssl" in options:  # as asyncpg calls it
            options["sslmode"] = options.pop("ssl")
    return ConnectionHandler({DEFAULT_DB_ALIAS: config})[DEFAULT_DB_ALIAS]


class Source:
    """The table of the other backend, which is only read. Raises `CommandError` for what is no such table."""

    def __init__(self, source_connection: BaseDatabaseWrapper, table: str | None) -> None:
        with one_line_errors("--from"):
            self.cursor = source_connection.cursor()
            prepare(self.cursor)
            self.table = quoted(table or only_table(source_connection.introspection.table_names(self.cursor)))
        self.check()
        self.check_ids(self.fetch(f"SELECT id FROM {self.table} WHERE id IS NOT NULL LIMIT 1"))  # noqa: S608
        fits = f"CASE WHEN id <= {HIGHEST_ID} THEN id END"
        [(self.count, self.lowest, self.highest, self.highest_that_fits)] = bounds = self.fetch(
            f"SELECT COUNT(*), COALESCE(MIN(id), 1), COALESCE(MAX(id), 0), COALESCE(MAX({fits}), 0) FROM {self.table}"  # noqa: S608
        )
        self.check_ids(bounds)

    def fetch(self, statement: str, *parameters: int) -> list[Row]:
        with one_line_errors("--from"):
            # Without parameters a % is one.
            self.cursor.execute(statement, parameters or None)
            rows: list[Row] = self.cursor.fetchall()
        return rows

    def check(self) -> None:
        # SQLite would take the name of a missing column for a text.
        self.fetch(f"SELECT * FROM {self.table} LIMIT 0")  # noqa: S608
        missing = COLUMNS.keys() - {column[0] for column in self.cursor.description}
        if missing:
            raise CommandError(f"{self.table} has no {', '.join(sorted(missing))}.")
        with connection.cursor() as cursor:
            own = identity(cursor, '"tasks_task"')
        if own == identity(self.cursor, self.table):
            raise CommandError(f"{self.table} is this backend's own table.")

    def check_ids(self, rows: list[Row]) -> None:
        if not all(isinstance(value, int) for row in rows for value in row):
            raise CommandError(f"{self.table} has ids that are no whole numbers.")

    def batches(self) -> Iterator[list[Row]]:
        """The rows by id, each with the values of `COLUMNS`."""
        # psycopg raises for a time that Python does not have, such as infinity.
        form = "CAST({} AS text)" if self.cursor.db.vendor == "postgresql" else "{}"
        columns = ", ".join(form.format(name) if name.endswith("_at") else name for name in COLUMNS)
        table = self.table.replace("%", "%%")
        statement = f"SELECT {columns} FROM {table} WHERE id BETWEEN %s AND %s ORDER BY id LIMIT %s"  # noqa: S608
        start = self.lowest
        while start <= self.highest and (rows := self.fetch(statement, start, self.highest, BATCH_SIZE)):
            yield rows
            start = rows[-1][0] + 1


def prepare(cursor: CursorWrapper) -> None:
    """Has it read only, in one moment, and without errors of the driver over single values."""
    if cursor.db.vendor == "postgresql":
        # The style is the one that Python reads.
        cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL datestyle TO ISO")
    else:
        # sqlite3 would raise for a row that is not UTF-8, and quote it.
        cursor.db.connection.text_factory = lambda data: data.decode(errors="surrogateescape")


def quoted(table: str) -> str:
    return ".".join('"' + part.replace('"', '""') + '"' for part in table.split(".", 1))


def only_table(tables: list[str]) -> str:
    """The one of `task` and `tasks` that there is."""
    found = {"task", "tasks"} & set(tables)
    if len(found) != 1:
        raise CommandError(f"Say which --table it is; there are: {', '.join(sorted(tables)) or 'none'}.")
    return found.pop()


def identity(cursor: CursorWrapper, table: str) -> object:
    """The same for two connections only if the table is."""
    statement = {
        "postgresql": "SELECT pg_postmaster_start_time(), current_database(), CAST(to_regclass(%s) AS oid)",
        "sqlite": "SELECT file, LOWER(%s) FROM pragma_database_list WHERE name = 'main'",
    }
    cursor.execute(statement[cursor.db.vendor], [table])
    return cursor.fetchone()


def advance_sequence(highest: int) -> None:
    """Lets tasks that are made while others are imported have higher ids."""
    with transaction.atomic(), connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            # Without a first task there is no row to update.
            cursor.execute(
                "INSERT INTO sqlite_sequence SELECT 'tasks_task', 0"
                " WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'tasks_task')"
            )
            cursor.execute("UPDATE sqlite_sequence SET seq = MAX(seq, %s) WHERE name = 'tasks_task'", [highest])
            return
        # Else the sequence could pass the id between the comparison and the change, and be set back. Whoever writes
        # waits behind this.
        cursor.execute("SET LOCAL lock_timeout TO '3s'; LOCK TABLE tasks_task IN SHARE ROW EXCLUSIVE MODE")
        cursor.execute("SELECT pg_get_serial_sequence('tasks_task', 'id')")
        [sequence] = cursor.fetchone()
        cursor.execute(
            f"SELECT setval(%s, %s) FROM {sequence} WHERE last_value <= %s",  # noqa: S608
            [sequence, highest, highest],
        )


def import_batch(rows: list[Row], *, dry_run: bool) -> tuple[int, Refused]:
    """Returns how many rows were imported, and which cannot be; the rest is here already."""
    tasks, misfits = read_tasks(rows)
    here = Task.objects.in_bulk([task.pk for task in tasks])
    new = [task for task in tasks if task.pk not in here]
    taken = [
        (task.pk, "its id is taken by another task")
        for task in tasks
        if task.pk in here and not is_same(task, here[task.pk])
    ]
    unfit = insert(new, dry_run=dry_run)
    return len(new) - len(unfit), [*misfits, *taken, *unfit]


def read_tasks(rows: list[Row]) -> tuple[list[Task], Refused]:
    tasks, refused = [], []
    for row in rows:
        try:
            tasks.append(task_of(row))
        except ValueError as exc:
            refused.append((row[0], str(exc)))
    return tasks, refused


def is_same(task: Task, here: Task) -> bool:
    """By what never changes; the rest may have been changed here since."""
    return (task.user_id, task.created_at) == (here.user_id, here.created_at)


def insert(tasks: list[Task], *, dry_run: bool) -> Refused:
    """Inserts what the database takes; returns what it refuses."""
    try:
        with transaction.atomic():
            Task.objects.bulk_create(tasks)
            transaction.set_rollback(dry_run)
    except (IntegrityError, DataError) as exc:
        if len(tasks) == 1:
            return [(tasks[0].pk, first_line(exc))]
        middle = len(tasks) // 2
        return insert(tasks[:middle], dry_run=dry_run) + insert(tasks[middle:], dry_run=dry_run)
    return []


def identifier(value: Any) -> int:
    if not isinstance(value, int) or not 1 <= value <= HIGHEST_ID:
        raise ValueError
    return value


def text(value: Any) -> Any:
    if value is not None:
        str.encode(value)
    return value


def boolean(value: Any) -> bool:
    return {0: False, 1: True}[value]


def time(value: Any) -> datetime:
    moment = datetime.fromisoformat(value)
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


# What is checked here is what Django would convert, raise a bare ValueError for, or not let pass as naive. All else is
# for the table's constraints.
COLUMNS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "id": (identifier, f"a whole number from 1 to {HIGHEST_ID}"),
    "user_id": (text, "text"),
    "title": (text, "text"),
    "description": (text, "text"),
    "completed": (boolean, "true or false"),
    "created_at": (time, "a time"),
    "updated_at": (time, "a time"),
}


def task_of(row: Row) -> Task:
    """Raises `ValueError` with the column that does not fit."""
    values = {}
    for value, (name, (convert, kind)) in zip(row, COLUMNS.items(), strict=True):
        try:
            values[name] = convert(value)
        except (KeyError, TypeError, ValueError, OverflowError):
            raise ValueError(f"{name} is not {kind}") from None
    return Task(**values)
