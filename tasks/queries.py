"""The SQL of the operations on tasks: one statement for each operation, and each statement names the user.

Compiling such a statement takes Django as long as the rest of a request takes, so the statements are written here.
Only `Task.objects.for_user()` runs them, and `tests/test_queries.py` compares each with the ORM.
"""

from functools import cache

# `render()` replaces each `{name}`. Each `%(name)s` is a parameter of the statement.
LIST = (
    "SELECT {columns} FROM tasks_task WHERE tasks_task.user_id = %(user_id)s"
    " ORDER BY tasks_task.created_at DESC, tasks_task.id DESC"
)
LIST_BY_COMPLETED = (
    "SELECT {columns} FROM tasks_task"
    " WHERE tasks_task.user_id = %(user_id)s AND tasks_task.completed = %(completed)s"
    " ORDER BY tasks_task.created_at DESC, tasks_task.id DESC"
)
GET = "SELECT {columns} FROM tasks_task WHERE tasks_task.user_id = %(user_id)s AND tasks_task.id = %(pk)s"
# Writes nothing for a user with `tasks_per_user` tasks, but still returns the task of a repeated key. The first
# condition reads an index, no further than the limit. The update on a conflict changes nothing: `DO NOTHING` would not
# return the existing task.
CREATE = (
    "INSERT INTO tasks_task (user_id, {written}) SELECT %(user_id)s, {placeholders}"
    " WHERE NOT EXISTS"
    " (SELECT 1 FROM tasks_task WHERE tasks_task.user_id = %(user_id)s LIMIT 1 OFFSET %(tasks_per_user)s - 1)"
    " OR EXISTS (SELECT 1 FROM tasks_task WHERE tasks_task.user_id = %(user_id)s"
    " AND tasks_task.idempotency_key = %(idempotency_key)s)"
    " ON CONFLICT (user_id, idempotency_key) DO UPDATE SET idempotency_key = excluded.idempotency_key"
    " RETURNING {columns}"
)
UPDATE = (
    "UPDATE tasks_task SET {assignments}, updated_at = {now}"
    " WHERE tasks_task.user_id = %(user_id)s AND tasks_task.id = %(pk)s RETURNING {columns}"
)
TOGGLE = (
    "UPDATE tasks_task SET completed = NOT tasks_task.completed, updated_at = {now}"
    " WHERE tasks_task.user_id = %(user_id)s AND tasks_task.id = %(pk)s RETURNING {columns}"
)
DELETE = "DELETE FROM tasks_task WHERE tasks_task.user_id = %(user_id)s AND tasks_task.id = %(pk)s RETURNING {columns}"

# The current time, written as `Now()` writes it on each database. `%%` stands for one `%`.
NOW = {
    "postgresql": "statement_timestamp()",
    "sqlite": "strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now')",
}
# A stored time as RFC 3339 text in UTC with six digits of fraction. SQLite stores a time as text such as
# "2026-02-07 09:30:00", with a fraction of up to six digits or without one.
TIME_AS_TEXT = {
    "postgresql": """to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')""",
    "sqlite": "replace({0}, ' ', 'T') || substr('.000000Z', length({0}) - 18)",
}


@cache
def render(
    template: str, vendor: str, columns: tuple[str, ...], times: tuple[str, ...], written: tuple[str, ...]
) -> str:
    """The statement for this database. It returns `columns`, the `times` among them as text, and writes `written`."""
    returned = {name: f'tasks_task."{name}"' for name in columns}
    returned |= {name: TIME_AS_TEXT[vendor].format(returned[name]) for name in times}
    return template.format(
        columns=", ".join(returned.values()),
        written=", ".join(f'"{name}"' for name in written),
        placeholders=", ".join(f"%({name})s" for name in written),
        assignments=", ".join(f'"{name}" = %({name})s' for name in written),
        now=NOW[vendor],
    )
