import unicodedata
from argparse import ArgumentParser
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import DataError, IntegrityError, connection, models, reset_queries, transaction
from tqdm import tqdm

from tasks.management.errors import first_line, one_line_errors
from tasks.management.source import FIELDS, MAX_ROW_BYTES, Row, Source, connect
from tasks.models import Task

# New tasks get ids above the imported ones, so half of the ids up to `MAX_ID` stay free for them.
MAX_IMPORTED_ID = 2**52
# For error messages: what a valid value is, by the type of the field
DESCRIPTIONS = {
    "BigAutoField": f"a whole number from 1 to {MAX_IMPORTED_ID}",
    "BooleanField": "true or false",
    "DateTimeField": "a time",
    "TextField": "text",
}

# The id of a row that cannot be imported, and the reason, which never quotes a value
Rejection = tuple[int, str]


class Command(BaseCommand):
    help = (
        "Imports the tasks of another backend, such as one on FastAPI and SQLModel, with their ids and times. Tasks "
        "that exist here are not changed, so the command can be run again after an interruption, or for new rows. A "
        "task that was deleted here is imported again if the other backend still has it."
    )
    # Warnings about settings would bury the list of skipped rows.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--from",
            dest="url",
            metavar="URL",
            required=True,
            help="the other backend's database: postgresql://… or sqlite:///…",
        )
        parser.add_argument("--table", metavar="NAME", help="the table, or schema.table; default: task or tasks")
        parser.add_argument("--dry-run", action="store_true", help="insert each batch of rows and roll it back")

    def handle(self, *args: Any, url: str, table: str | None, dry_run: bool, **options: Any) -> None:
        with one_line_errors("The database"), closing(connect(url)) as source_connection:
            self.import_from(Source(source_connection, table), dry_run=dry_run)

    def import_from(self, source: Source, *, dry_run: bool) -> None:
        read = imported = skipped = 0
        if source.missing:
            columns = ", ".join(source.missing)
            self.stderr.write(f"{source.table} has no {columns}: each task gets the default.", self.style.WARNING)
        if not dry_run:
            advance_sequence(source.highest_id_up_to(MAX_IMPORTED_ID))
        with tqdm(total=source.count, unit="task", disable=None) as progress:
            for rows, too_large in source.batches():
                new, rejections = import_batch(rows, dry_run=dry_run)
                rejections += [(pk, f"the row has more than {MAX_ROW_BYTES} bytes") for pk in too_large]
                batch_size = len(rows) + len(too_large)
                read, imported, skipped = read + batch_size, imported + new, skipped + len(rejections)
                self.report(rejections)
                progress.update(batch_size)
                # With DEBUG, Django keeps every statement in memory.
                reset_queries()
        done = "would be imported" if dry_run else "imported"
        self.stdout.write(f"{imported} {done}, {read - imported - skipped} already here, {skipped} skipped.")
        self.stdout.flush()
        if read != source.count:
            raise CommandError(
                f"Only {read} of {source.count} rows were read: ids are missing or not unique, or the table changed "
                "during the import."
            )
        if skipped:
            raise CommandError("Some rows were skipped; the reasons are listed above.")

    def report(self, rejections: list[Rejection]) -> None:
        with tqdm.external_write_mode():
            for pk, reason in sorted(rejections):
                self.stdout.write(f"{pk}: {reason}")
            # tqdm draws the progress bar again on standard error, so these lines must be out before.
            self.stdout.flush()


def advance_sequence(highest_id: int) -> None:
    """Moves the sequence of ids to `highest_id` at least, so that tasks created during the import get other ids."""
    with transaction.atomic(), connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("UPDATE sqlite_sequence SET seq = MAX(seq, %s) WHERE name = 'tasks_task'", [highest_id])
            # SQLite adds this row with the table's first task.
            if not cursor.rowcount:
                cursor.execute("INSERT INTO sqlite_sequence VALUES ('tasks_task', %s)", [highest_id])
            return
        # No insert may run between the SELECT and setval(), or the sequence could move back behind its id.
        cursor.execute("SET LOCAL lock_timeout TO '3s'; LOCK TABLE tasks_task IN SHARE ROW EXCLUSIVE MODE")
        cursor.execute("SELECT pg_get_serial_sequence('tasks_task', 'id')")
        [sequence] = cursor.fetchone()
        cursor.execute(
            f"SELECT setval(%s, %s) FROM {sequence} WHERE last_value <= %s",  # noqa: S608
            [sequence, highest_id, highest_id],
        )


def import_batch(rows: list[Row], *, dry_run: bool) -> tuple[int, list[Rejection]]:
    """Imports the rows that this backend does not have. Returns their number, and the rows that were rejected."""
    tasks, rejections = read_tasks(rows)
    existing = Task.objects.in_bulk([task.pk for task in tasks])
    for task in tasks:
        if task.pk in existing and not is_same_task(task, existing[task.pk]):
            rejections.append((task.pk, "its id is taken by another task"))
    new = [task for task in tasks if task.pk not in existing]
    refused = insert(new, dry_run=dry_run)
    return len(new) - len(refused), rejections + refused


def read_tasks(rows: list[Row]) -> tuple[list[Task], list[Rejection]]:
    tasks, rejections = [], []
    for row in rows:
        try:
            task = Task(**{name: convert(FIELDS[name], value) for name, value in row.items()})
            if not is_possible_sub(task.user_id):
                raise ValueError("user_id is blank or has control characters")
            tasks.append(task)
        except ValueError as exc:
            rejections.append((row["id"], str(exc)))
    return tasks, rejections


def is_possible_sub(user_id: str) -> bool:
    """Whether a token may have this `sub`. The length is left to the constraint."""
    return bool(user_id.strip()) and not any(unicodedata.category(character) == "Cc" for character in user_id)


def convert(field: "models.Field[Any, Any]", value: Any) -> Any:
    """Returns the value as the field's type. Raises `ValueError` with a reason that does not quote the value."""
    try:
        converted = field.to_python(value)
        # to_python() turns every value into text, and 1.5 into 1.
        valid = isinstance(value, str) or converted == value
        if converted is None:
            valid = field.null
        elif field.primary_key:
            valid = valid and 1 <= converted <= MAX_IMPORTED_ID
        elif isinstance(converted, str):
            # Fails for text that was not UTF-8.
            converted.encode()
        elif isinstance(converted, datetime):
            converted = (converted if converted.tzinfo else converted.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValidationError, TypeError, ValueError, OverflowError):
        valid = False
    if not valid:
        raise ValueError(f"{field.name} is not {DESCRIPTIONS.get(field.get_internal_type(), 'valid')}")
    return converted


def is_same_task(task: Task, existing: Task) -> bool:
    """Compares the two fields that never change. The others may have been changed here."""
    return (task.user_id, task.created_at) == (existing.user_id, existing.created_at)


def insert(tasks: list[Task], *, dry_run: bool) -> list[Rejection]:
    """Inserts the tasks that the database accepts, and returns those that it refuses."""
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
