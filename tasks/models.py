from typing import Any, Self, cast

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import F, Func, Q, Value, sql
from django.db.models.constants import OnConflict
from django.db.models.functions import Length, Now
from django.db.models.lookups import Exact, GreaterThan, LessThanOrEqual, Range
from django.db.models.sql.compiler import SQLCompiler

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


class TaskQuerySet(models.QuerySet["Task"]):
    def for_user(self, user_id: str) -> Self:
        return self.filter(user_id=user_id)

    def create_once(self, **values: Any) -> "Task":
        """Makes a task, in one statement, or returns the user's own that has its `idempotency_key` as it now is."""
        fields = self.model._meta.concrete_fields
        user_id, key = (self.model._meta.get_field(name) for name in ("user_id", "idempotency_key"))
        [row] = self._insert(  # type: ignore[attr-defined]
            [self.model(**values)],
            fields=[field for field in fields if not field.primary_key],
            returning_fields=fields,
            on_conflict=OnConflict.UPDATE,
            # To what it is already, because DO NOTHING returns nothing.
            update_fields=[key],
            unique_fields=[user_id, key],
        )
        return self.model.from_db(self.db, [field.attname for field in fields], row)

    def update_returning(self, **values: Any) -> "Task | None":
        """Sets the values and `updated_at` in one statement; returns the task as it then is, or `None` without one.

        Values may be expressions, which the database evaluates. For a queryset of at most one task.
        """
        query = cast(sql.UpdateQuery, self.query.chain(sql.UpdateQuery))
        query.add_update_values({**values, "updated_at": Now()})
        statement, params = query.get_compiler(self.db).as_sql()
        returned = self.model._base_manager.using(self.db).raw(f"{statement} RETURNING *", params)
        return next(iter(returned), None)

    def delete_at_once(self) -> int:
        """Deletes in one statement and returns how many; `delete()` opens a transaction around it."""
        return self._raw_delete(self.db)


class Task(models.Model):
    """A user's task. Lengths are constraints and not `varchar(n)`, whose length SQLite ignores."""

    user_id = models.TextField()
    title = models.TextField()
    description = models.TextField(null=True)  # noqa: DJ001  null is what the API promises
    completed = models.BooleanField(default=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(db_default=Now(), editable=False)
    idempotency_key = models.TextField(null=True, editable=False)  # noqa: DJ001  only what is not null is unique

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
