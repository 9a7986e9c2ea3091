# ruff: noqa: S608  Names in statements are quoted.
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dj_database_url
from django.core.management.base import CommandError
from django.db import DEFAULT_DB_ALIAS, connection, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper
from django.db.utils import ConnectionHandler

from tasks.management.errors import one_line_errors, printable
from tasks.models import MODEL_FIELDS, Task

BATCH_SIZE = 1000
# Bytes of a row's values as text. A valid task has up to 6000. Larger values stay in the source's database, because a
# batch of them would not fit into memory.
MAX_ROW_BYTES = 10_000
# The number of bytes of a column's value, for each database.
BYTES = {"postgresql": 'OCTET_LENGTH(CAST("{}" AS text))', "sqlite": 'LENGTH(CAST("{}" AS BLOB))'}
# Instructions of SQLite's virtual machine, which take about 1 ms.
INTERRUPTIBLE_AFTER = 100_000
FIELDS = {name: MODEL_FIELDS[name] for name in Task.API_FIELDS}

Row = dict[str, Any]


def connect(url: str) -> BaseDatabaseWrapper:
    """Returns a connection for the URL. No error quotes a part of the URL, because that could be the password."""
    scheme, _, rest = url.partition("://")
    # SQLAlchemy's schemes can name a driver, as in postgresql+asyncpg.
    scheme = scheme.partition("+")[0]
    if scheme not in ("postgres", "postgresql", "sqlite"):
        raise CommandError("--from must start with postgresql:// or sqlite:///.")
    url = f"{scheme}://{rest}"
    try:
        # An "@" after PostgreSQL's host means that the password has an unescaped "/" or "?".
        if scheme != "sqlite" and "@" in "".join(urlsplit(url)[2:]):
            raise ValueError
        url.encode()
        config: dict[str, Any] = {"OPTIONS": {}, **dj_database_url.parse(url)}
    except ValueError:
        raise CommandError(
            "--from is not a valid URL; percent-encode reserved characters in the user name and the password."
        ) from None
    options = config["OPTIONS"]
    if scheme == "sqlite":
        # mode=ro creates no file; detect_types=0 returns values as they are stored.
        config["NAME"] = f"{Path(config['NAME']).absolute().as_uri()}?mode=ro"
        config["OPTIONS"] = {"detect_types": 0}
    else:
        # psycopg's own default is 130 seconds for each address.
        options.setdefault("connect_timeout", 5)
        if "ssl" in options:  # asyncpg's name for sslmode
            options["sslmode"] = options.pop("ssl")
    return ConnectionHandler({DEFAULT_DB_ALIAS: config})[DEFAULT_DB_ALIAS]


class Source:
    """Another backend's table of tasks. Only reads it. Raises `CommandError` if the table cannot be imported."""

    def __init__(self, source_connection: BaseDatabaseWrapper, table: str | None) -> None:
        self.vendor = source_connection.vendor
        with one_line_errors("--from"):
            self.cursor = source_connection.cursor()
            if self.vendor == "postgresql":
                # All statements see one snapshot, and times are in the style that Python reads.
                self.cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL datestyle TO ISO")
            else:
                # sqlite3's own decoder raises an error that quotes the text, if the text is not UTF-8.
                source_connection.connection.text_factory = lambda data: data.decode(errors="surrogateescape")
                # Python handles Ctrl-C during a statement only if SQLite calls a function of Python's.
                source_connection.connection.set_progress_handler(lambda: None, INTERRUPTIBLE_AFTER)
            self.table = quote_table(table or guess_table(source_connection.introspection.table_names(self.cursor)))
        self.missing = self.missing_columns()
        with connection.cursor() as cursor:
            if table_identity(cursor, '"tasks_task"') == table_identity(self.cursor, self.table):
                raise CommandError(f"{self.table} is this backend's own table.")
        ids = self.fetch(f"SELECT id FROM {self.table} WHERE id IS NOT NULL ORDER BY id DESC LIMIT 1")
        if not all(isinstance(pk, int) for (pk,) in ids):
            raise CommandError(f"{self.table} has ids that are not whole numbers.")
        [(self.count, self.lowest_id, self.highest_id)] = self.fetch(
            f"SELECT COUNT(*), COALESCE(MIN(id), 1), COALESCE(MAX(id), 0) FROM {self.table}"
        )

    def fetch(self, statement: str, *parameters: int) -> list[tuple[Any, ...]]:
        with one_line_errors("--from"):
            # With `None` the driver does not read a "%" in the table's name as a placeholder.
            self.cursor.execute(statement, parameters or None)
            rows: list[tuple[Any, ...]] = self.cursor.fetchall()
        return rows

    def missing_columns(self) -> list[str]:
        """The fields that the table lacks. Raises `CommandError` if one of them has no default and may not be null."""
        self.fetch(f"SELECT * FROM {self.table} LIMIT 0")
        missing = FIELDS.keys() - {column[0] for column in self.cursor.description}
        required = [name for name in missing if not (FIELDS[name].null or FIELDS[name].has_default())]
        if required:
            raise CommandError(f"{self.table} has no {', '.join(sorted(required))}.")
        return sorted(missing)

    def highest_id_up_to(self, limit: int) -> int:
        [(pk,)] = self.fetch(f"SELECT COALESCE(MAX(id), 0) FROM {self.table} WHERE id <= {limit}")
        return int(pk)

    def batches(self) -> Iterator[tuple[list[Row], list[int]]]:
        """Yields the rows in the order of their ids, and the ids of those that are larger than `MAX_ROW_BYTES`."""
        names = [name for name in FIELDS if name not in self.missing and name != "id"]
        columns = ", ".join(f'{self.column(name)} AS "{name}"' for name in names)
        size = " + ".join(f"COALESCE({BYTES[self.vendor].format(name)}, 0)" for name in names)
        values = ", ".join(f'CASE WHEN "row size" <= {MAX_ROW_BYTES} THEN "{name}" END' for name in names)
        table = self.table.replace("%", "%%")
        statement = (
            f'SELECT "row size", id, {values} FROM (SELECT id, {columns}, {size} AS "row size" FROM {table}'
            " WHERE id BETWEEN %s AND %s ORDER BY id LIMIT %s) AS batch ORDER BY id"
        )
        start = self.lowest_id
        while start <= self.highest_id and (rows := self.fetch(statement, start, self.highest_id, BATCH_SIZE)):
            batch = [dict(zip(["id", *names], row, strict=True)) for size, *row in rows if size <= MAX_ROW_BYTES]
            yield batch, [pk for size, pk, *_ in rows if size > MAX_ROW_BYTES]
            start = rows[-1][1] + 1

    def column(self, name: str) -> str:
        # psycopg raises an error for dates and times that Python does not have, such as infinity.
        as_text = self.vendor == "postgresql" and isinstance(FIELDS[name], models.DateField)
        return f'CAST("{name}" AS text)' if as_text else f'"{name}"'


def quote_table(table: str) -> str:
    """Quotes `table` or `schema.table`."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in table.split(".", 1))


def guess_table(tables: list[str]) -> str:
    """The table's name, `task` or `tasks`. Raises `CommandError` if both or neither exist."""
    found = {"task", "tasks"} & set(tables)
    if len(found) != 1:
        raise CommandError(f"Say which --table it is; there are: {printable(', '.join(sorted(tables)) or 'none')}.")
    return found.pop()


def table_identity(cursor: CursorWrapper, table: str) -> object:
    """A value that is equal for two connections only if they see the same table."""
    statement = {
        "postgresql": "SELECT pg_postmaster_start_time(), current_database(), CAST(to_regclass(%s) AS oid)",
        "sqlite": "SELECT file, LOWER(%s) FROM pragma_database_list WHERE name = 'main'",
    }
    cursor.execute(statement[cursor.db.vendor], [table])
    return cursor.fetchone()
