from collections.abc import Mapping
from functools import lru_cache
from typing import Any, ClassVar, Self

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import F, Func, Q, Value
from django.db.models.functions import Length, Now
from django.db.models.lookups import Exact, GreaterThan, LessThanOrEqual, Range
from django.db.models.sql.compiler import SQLCompiler

from . import queries

# The largest whole number that JavaScript does not round (`Number.MAX_SAFE_INTEGER`). No constraint enforces it.
MAX_ID = 2**53 - 1
USER_ID_MAX_LENGTH = 255
TITLE_MAX_LENGTH = 200
DESCRIPTION_MAX_LENGTH = 1000
# Visible ASCII characters.
IDEMPOTENCY_KEY_PATTERN = r"[!-~]{1,255}"

# The characters that `str.strip()` removes. With them the database and the serializer agree on which titles are blank.
WHITE_SPACE = (
    "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006"
    "\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)

# A task as the API shows it: the value of each field in `Task.API_FIELDS`.
Row = dict[str, Any]


class NulPosition(Func):
    """The position of the first NUL in a text, or 0. SQLite's LENGTH stops at a NUL; PostgreSQL stores none."""

    arity = 1
    output_field = models.IntegerField()

    def as_sqlite(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context: Any) -> Any:
        return self.as_sql(compiler, connection, template="INSTR(%(expressions)s, CHAR(0))", **context)

    def as_postgresql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context: Any) -> Any:
        return self.as_sql(compiler, connection, template="0", **context)


class TaskQuerySet(models.QuerySet["Task"]):
    """Tasks, which `for_user()` limits to one user.

    A method whose name ends in `_row` or `_rows` runs one statement of `queries` for `user_id`. Only
    `Task.objects.for_user()` sets `user_id`, and Django does not copy it to a queryset that is made from another one by
    `filter()` or the like. On such a queryset these methods raise `TypeError`.
    """

    user_id: str | None = None

    def for_user(self, user_id: str) -> Self:
        """Those of these tasks that belong to the user."""
        return self.filter(user_id=user_id)

    def list_rows(self, completed: bool | None = None) -> list[Row]:
        """The user's tasks, newest first. `completed` limits them to completed tasks or to pending ones."""
        if completed is None:
            return self._run(queries.LIST)
        return self._run(queries.LIST_BY_COMPLETED, completed=completed)

    def get_row(self, pk: int) -> Row | None:
        return row_or_none(self._run(queries.GET, pk=pk))

    def create_row(self, values: Mapping[str, Any], idempotency_key: str | None = None) -> Row | None:
        """Creates a task with these values. Returns the existing task if the user has sent this key before.

        Returns `None` if the user has `TASKS_PER_USER` tasks. Concurrent creates may exceed this limit.
        """
        values = {**insert_defaults(), **values, "idempotency_key": idempotency_key}
        # The statement itself writes the queryset's user.
        values.pop("user_id", None)
        return row_or_none(self._run(queries.CREATE, values, tasks_per_user=settings.TASKS_PER_USER))

    def update_row(self, pk: int, values: Mapping[str, Any]) -> Row | None:
        """Writes these values and returns the task, or `None`. Without values not even `updated_at` changes."""
        return row_or_none(self._run(queries.UPDATE, values, pk=pk)) if values else self.get_row(pk)

    def toggle_row(self, pk: int) -> Row | None:
        """Flips `completed` in the database. Returns the task after the change, or `None`."""
        return row_or_none(self._run(queries.TOGGLE, pk=pk))

    def delete_row(self, pk: int) -> Row | None:
        """Deletes the task. Returns it as it was, or `None`."""
        return row_or_none(self._run(queries.DELETE, pk=pk))

    def _run(self, template: str, values: Mapping[str, Any] | None = None, **parameters: Any) -> list[Row]:
        """Runs a statement of `queries` and returns its rows. `values` are those to write, by field name."""
        if self.user_id is None:
            raise TypeError("Only Task.objects.for_user() has these statements. Use the methods of the ORM here.")
        values = values or {}
        connection = connections[self.db]
        for name, value in values.items():
            parameters[name] = MODEL_FIELDS[name].get_db_prep_save(value, connection)
        parameters["user_id"] = self.user_id
        statement = queries.render(template, connection.vendor, Task.API_FIELDS, TIME_FIELDS, tuple(values))
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return [dict(zip(Task.API_FIELDS, row, strict=True)) for row in cursor.fetchall()]


def row_or_none(rows: list[Row]) -> Row | None:
    return rows[0] if rows else None


def insert_defaults() -> dict[str, Any]:
    """The model's default for each field that an INSERT has to write, apart from the user."""
    return {
        field.name: field.get_default()
        for field in MODEL_FIELDS.values()
        if not field.primary_key and not field.has_db_default() and field.name != "user_id"
    }


# Cached, because building the filter for each request costs a fifth of the throughput.
@lru_cache(maxsize=1024)
def user_filter(user_id: str) -> TaskQuerySet:
    return TaskQuerySet(Task).for_user(user_id)


class TaskManager(models.Manager.from_queryset(TaskQuerySet)):  # type: ignore[misc]
    def for_user(self, user_id: str) -> TaskQuerySet:
        """The user's tasks. On the default database the queryset can run the statements of `queries`, too."""
        tasks: TaskQuerySet
        if self.db == DEFAULT_DB_ALIAS:
            tasks = user_filter(user_id).all()
            tasks.user_id = user_id
        else:
            tasks = super().for_user(user_id)
        return tasks


class Task(models.Model):
    """A user's task. Its lengths are constraints, because SQLite ignores the length of `varchar(n)`."""

    # The fields that clients see, in this order.
    API_FIELDS: ClassVar = ("id", "user_id", "title", "description", "completed", "created_at", "updated_at")

    user_id = models.TextField()
    title = models.TextField()
    description = models.TextField(null=True)  # noqa: DJ001  The API promises null.
    completed = models.BooleanField(default=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(db_default=Now(), editable=False)
    idempotency_key = models.TextField(null=True, editable=False)  # noqa: DJ001  Only keys that are not null have to be unique.

    objects = TaskManager()

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [
            # Serves `queries.LIST`: the tasks of one user, newest first.
            models.Index("user_id", F("created_at").desc(), F("id").desc(), name="task_user_newest"),
        ]
        constraints = [
            models.CheckConstraint(
                name="task_user_id_length", condition=Range(Length("user_id"), (1, USER_ID_MAX_LENGTH))
            ),
            models.CheckConstraint(name="task_title_length", condition=Range(Length("title"), (1, TITLE_MAX_LENGTH))),
            models.CheckConstraint(
                name="task_title_not_blank",
                condition=GreaterThan(
                    Func("title", Value(WHITE_SPACE), function="LTRIM", output_field=models.TextField()), Value("")
                ),
            ),
            # SQLite stores any number in a boolean column.
            models.CheckConstraint(name="task_completed_boolean", condition=Q(completed__in=[True, False])),
            models.CheckConstraint(
                name="task_no_nul",
                condition=Q(*[Exact(NulPosition(field), 0) for field in ("user_id", "title", "description")]),
            ),
            models.CheckConstraint(
                name="task_description_length",
                condition=LessThanOrEqual(Length("description"), DESCRIPTION_MAX_LENGTH),
            ),
            # Expressions in place of `fields`: on SQLite, Django then adds an index. For `fields` it would build a new
            # table, and SQLite would give the ids of deleted tasks again.
            models.UniqueConstraint("user_id", "idempotency_key", name="task_idempotency_key_unique"),
        ]

    def __str__(self) -> str:
        return f"Task {self.pk}"


MODEL_FIELDS = {field.name: field for field in Task._meta.concrete_fields}
TIME_FIELDS = tuple(name for name in Task.API_FIELDS if isinstance(MODEL_FIELDS[name], models.DateTimeField))
