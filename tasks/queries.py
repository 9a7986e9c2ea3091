"""The SQL of the operations on tasks: one statement for each operation, and each statement names the user.

Django takes as long to compile such a statement as the rest of a request takes, so the statements are written down
here. `Task.objects.for_user()` is the way to them, and `tests/test_queries.py` compares each of them with the ORM.
"""

from functools import cache

# `complete()` fills in every `{name}`. Every `%(name)s` is a parameter, which the driver fills in.
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
# The update on a conflict changes nothing: `DO NOTHING` would not return the existing task.
CREATE = (
    "INSERT INTO tasks_task ({names}) VALUES ({placeholders})"
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

# The current time as Django's backend for the database stores it. A driver reads %% as one %.
NOW = {
    "postgresql": "statement_timestamp()",
    "sqlite": "strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now')",
}
# A time as RFC 3339 text in UTC with six digits of fraction, which neither driver writes. In SQLite a time is the text
# "2026-02-07 09:30:00", with or without a fraction of up to six digits.
TIME = {
    "postgresql": """to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')""",
    "sqlite": "replace({0}, ' ', 'T') || substr('.000000Z', length({0}) - 18)",
}


@cache
def complete(
    template: str, vendor: str, columns: tuple[str, ...], times: tuple[str, ...], names: tuple[str, ...]
) -> str:
    """A statement that returns `columns`, of which `times` are times, and that writes the columns `names`, if any."""
    returned = {name: f'tasks_task."{name}"' for name in columns}
    returned |= {name: TIME[vendor].format(returned[name]) for name in times}
    return template.format(
        columns=", ".join(returned.values()),
        names=", ".join(f'"{name}"' for name in names),
        placeholders=", ".join(f"%({name})s" for name in names),
        assignments=", ".join(f'"{name}" = %({name})s' for name in names),
        now=NOW[vendor],
    )
