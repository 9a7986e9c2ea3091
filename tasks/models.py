from collections.abc import Callable
from functools import cache
from typing import Any, Self, cast

from django.core.exceptions import EmptyResultSet
from django.db import connections, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Expression, F, Func, Q, Value, sql
from django.db.models.constants import OnConflict
from django.db.models.functions import Length, Now
from django.db.models.lookups import Exact, GreaterThan, LessThanOrEqual, Range
from django.db.models.sql.compiler import SQLCompiler

# What clients see of a task, in this order
FIELDS = ["id", "user_id", "title", "description", "completed", "created_at", "updated_at"]

USER_ID_MAX_LENGTH = 255
TITLE_MAX_LENGTH = 200
DESCRIPTION_MAX_LENGTH = 1000
# Visible ASCII
IDEMPOTENCY_KEY = r"[!-~]{1,255}"

# What str.strip() strips, so that the databases call blank what the serializer calls blank.
WHITE_SPACE = (
    "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006"
    "\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)


class NulPosition(Func):
    """Where a text has its first NUL, at which SQLite's LENGTH stops counting; PostgreSQL keeps no NUL in a text."""

    arity = 1
    output_field = models.IntegerField()

    def as_sqlite(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context: Any) -> Any:
        return self.as_sql(compiler, connection, template="INSTR(%(expressions)s, CHAR(0))", **context)

    def as_postgresql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context: Any) -> Any:
        return self.as_sql(compiler, connection, template="0", **context)


class TaskJSON(Expression):
    """A task as an object of JSON, in the bytes that `TaskSerializer` and its renderer write."""

    output_field = models.TextField()

    # How the value of a field is written, by the field's type
    postgresql = {
        models.BigAutoField: "{}",
        models.BooleanField: "{}",
        models.TextField: "coalesce(to_json({})::text, 'null')",
        models.DateTimeField: """'"' || to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || '"'""",
    }
    # It has neither booleans nor times: Django stores 0 or 1, and "2026-02-07 09:30:00" with a fraction or without.
    sqlite = {
        models.BigAutoField: "{}",
        models.BooleanField: "iif({}, 'true', 'false')",
        models.TextField: "json_quote({})",
        models.DateTimeField: "json_quote(replace({0}, ' ', 'T') || substr('.000000Z', length({0}) - 18))",
    }

    def as_sql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> Any:
        templates = getattr(self, connection.vendor)
        text = ""
        for name in FIELDS:
            # With the table, because SQLite takes a column that is not there for a text in quotes.
            column = f'"{Task._meta.db_table}"."{name}"'
            value = templates[type(Task._meta.get_field(name))].format(column)
            text += f"""'{"," if text else "{"}"{name}":' || {value} || """
        return f"{text}'}}'", []


class Parameter(Value):
    """The name of a value that a statement gets each time it is executed."""

    def as_sql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> Any:
        return f"%({self.value})s", []


class TaskQuerySet(models.QuerySet["Task"]):
    """Has the statements for `for_user()` and `matching()` compiled once, and those for any other queryset as usual.

    Django takes longer to compile such a statement than PostgreSQL to execute it.
    """

    def __init__(self, model: Any = None, query: Any = None, using: str | None = None, hints: Any = None) -> None:
        super().__init__(model, query, using, hints)
        # Django's own: a filter that it applies when the query is asked for, which everything else here does.
        self._deferred_filter: Any = (False, (), {}) if query is None else None

    def for_user(self, user_id: str) -> Self:
        return self.matching(user_id=user_id)

    def matching(self, **equal: Any) -> Self:
        """`filter()` by the values of fields, none of them null."""
        # By one field twice is by both values.
        if self._deferred_filter is None or equal.keys() & self._deferred_filter[2].keys():
            return self.filter(**equal)
        tasks = self.__class__(self.model, using=self.db)
        tasks._deferred_filter = (False, (), {**self._deferred_filter[2], **equal})
        return tasks

    def as_json(self) -> list[str]:
        """The tasks as JSON (`TaskJSON`)."""
        return self.execute(select)

    def create_once(self, **values: Any) -> str:
        """Makes a task in one statement, or finds the user's own with its `idempotency_key`; as JSON, as it now is."""
        [task] = self.execute(insert, {"completed": False, **values})
        return task

    def update_returning(self, **values: Any) -> list[str]:
        """Sets the values and `updated_at` in one statement; the tasks as JSON, as they then are."""
        return self.execute(update, values)

    def toggle_returning(self) -> list[str]:
        """Flips `completed` and sets `updated_at` in one statement; the tasks as JSON, as they then are."""
        return self.execute(toggle)

    def delete_at_once(self) -> int:
        """Deletes in one statement and returns how many; `delete()` opens a transaction around it."""
        return len(self.execute(delete))

    def execute(self, compile_: "Compile", values: dict[str, Any] | None = None) -> list[str]:
        """The first column of what the statement returns that `compile_` makes of this queryset and the values."""
        values = values or {}
        if self._deferred_filter is None:
            try:
                statement, parameters = compile_(self, values)
            except EmptyResultSet:
                return []
        else:
            equal = self._deferred_filter[2]
            statement = kept_statement(compile_, self.db, tuple(equal), tuple(values))
            parameters = {**{f"equal_{name}": equal[name] for name in equal}, **values}
        with connections[self.db].cursor() as cursor:
            cursor.execute(statement, parameters)
            return [value for (value,) in cursor.fetchall()]


Compile = Callable[[TaskQuerySet, dict[str, Any]], tuple[str, Any]]


@cache
def kept_statement(compile_: Compile, using: str, equal: tuple[str, ...], values: tuple[str, ...]) -> str:
    tasks = Task.objects.using(using)
    for name in equal:
        tasks = tasks.filter(**{name: Parameter(f"equal_{name}")})
    statement, _ = compile_(tasks, {name: Parameter(name) for name in values})
    return statement


def select(tasks: TaskQuerySet, values: dict[str, Any]) -> tuple[str, Any]:
    compiled: tuple[str, Any] = tasks.values_list(TaskJSON()).query.get_compiler(tasks.db).as_sql()
    return compiled


def insert(tasks: TaskQuerySet, values: dict[str, Any]) -> tuple[str, Any]:
    fields = {field.name: field for field in Task._meta.concrete_fields}
    query = sql.InsertQuery(
        Task,
        on_conflict=OnConflict.UPDATE,
        # To what it is already, because DO NOTHING returns nothing.
        update_fields=[fields["idempotency_key"]],
        unique_fields=[fields["user_id"], fields["idempotency_key"]],
    )
    query.insert_values([fields[name] for name in values], [Task(**values)])
    compiler = query.get_compiler(tasks.db)
    [(statement, parameters)] = compiler.as_sql()
    return f"{statement} RETURNING {compiler.compile(TaskJSON())[0]}", parameters


def whole(tasks: TaskQuerySet) -> sql.Query:
    """Their query; raises `TypeError` for a slice, whose limits an UPDATE or a DELETE would ignore."""
    if tasks.query.is_sliced:
        raise TypeError("Cannot change or delete a slice.")
    return tasks.query


def update(tasks: TaskQuerySet, values: dict[str, Any]) -> tuple[str, Any]:
    query = cast(sql.UpdateQuery, whole(tasks).chain(sql.UpdateQuery))
    query.add_update_values({**values, "updated_at": Now()})
    compiler = query.get_compiler(tasks.db)
    statement, parameters = compiler.as_sql()
    return f"{statement} RETURNING {compiler.compile(TaskJSON())[0]}", parameters


def toggle(tasks: TaskQuerySet, values: dict[str, Any]) -> tuple[str, Any]:
    return update(tasks, {"completed": ~F("completed")})


def delete(tasks: TaskQuerySet, values: dict[str, Any]) -> tuple[str, Any]:
    statement, parameters = whole(tasks).chain(sql.DeleteQuery).get_compiler(tasks.db).as_sql()
    return f"{statement} RETURNING 1", parameters


class Task(models.Model):
    """A user's task. Lengths are constraints and not `varchar(n)`, whose length SQLite ignores."""

    user_id = models.TextField()
    title = models.TextField()
    description = models.TextField(null=True)  # noqa: DJ001  null is what the API promises
    completed = models.BooleanField(default=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(db_default=Now(), editable=False)
    idempotency_key = models.TextField(null=True, editable=False)  # noqa: DJ001  only what is not null is unique

    API_FIELDS = FIELDS

    objects = TaskQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [
            # One user's list, newest first.
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
            # SQLite has no type for it.
            models.CheckConstraint(name="task_completed_boolean", condition=Q(completed__in=[True, False])),
            models.CheckConstraint(
                name="task_no_nul",
                condition=Q(*[Exact(NulPosition(field), 0) for field in ("user_id", "title", "description")]),
            ),
            models.CheckConstraint(
                name="task_description_length",
                condition=LessThanOrEqual(Length("description"), DESCRIPTION_MAX_LENGTH),
            ),
            # By expressions it is an index on SQLite, too; a constraint would make the table, and its ids, anew.
            models.UniqueConstraint("user_id", "idempotency_key", name="task_idempotency_key_unique"),
        ]

    def __str__(self) -> str:
        return f"Task {self.pk}"
