"""The cost of a larger table, and the memory of a long list."""

import random
from collections.abc import Callable
from pathlib import Path

from testing.postgresql import Postgresql
from testing.servers import megabytes

from .load import Operation, Request, add_tasks
from .parity import Client, token
from .servers import Django, make_database

# Users of each database, and tasks of each user
USERS = {"small": 1000, "large": 100_000}
TASKS = 20
# The number of users who send requests. It is the same for both databases, so that only their sizes differ.
ASKING = 1000
LONG_LIST = 10_000


def fill(postgresql: Postgresql, database: str) -> None:
    """Creates a database with tasks. Each user's tasks are spread over the table, as if the users took turns."""
    make_database(postgresql, database)
    users = USERS[database]
    postgresql.execute(
        database,
        f"""INSERT INTO tasks_task (user_id, title, description, completed, created_at, updated_at)
            SELECT 'user-' || number % {users}, 'Buy milk ' || number, NULL, number % 3 = 0,
                now() + number * interval '10 ms', now()
            FROM generate_series(1, {users * TASKS}) AS number""",
    )
    postgresql.execute(database, "VACUUM ANALYZE tasks_task")


def operations() -> list[Operation]:
    asking = {database: random.sample(range(users), ASKING) for database, users in USERS.items()}
    tokens = {f"user-{number}": token(f"user-{number}") for numbers in asking.values() for number in numbers}

    def of_users(path: str) -> Callable[[Postgresql, str], list[Request]]:
        return lambda _, database: [Request("GET", path, tokens[f"user-{number}"]) for number in asking[database]]

    def of_tasks(method: str, path: str = "") -> Callable[[Postgresql, str], list[Request]]:
        def requests(postgresql: Postgresql, database: str) -> list[Request]:
            names = ", ".join(f"'user-{number}'" for number in asking[database])
            statement = f"SELECT id, user_id FROM tasks_task WHERE user_id IN ({names}) ORDER BY random()"
            rows = postgresql.execute(database, statement)
            return [Request(method, f"/api/tasks/{pk}{path}", tokens[user]) for pk, user in rows]

        return requests

    return [
        Operation("get", 200, of_tasks("GET")),
        Operation("list of 20", 200, of_users("/api/tasks")),
        Operation("list, filtered", 200, of_users("/api/tasks?status=pending")),
        Operation("toggle", 200, of_tasks("PATCH", "/complete")),
    ]


def growth(folder: Path, core: int, postgresql: Postgresql) -> float:
    """The growth of a worker's peak memory over ten requests for a long list, in MB."""
    add_tasks(postgresql, "django", "parity", LONG_LIST)
    with Django(folder, core, postgresql.url("django")) as server:
        ask = Client(server)
        for _ in range(100):
            assert ask("GET", "/api/tasks/1").status == 404
        worker = server.worker()
        before = megabytes(worker)
        for _ in range(10):
            assert len(ask("GET", "/api/tasks").body) >= LONG_LIST
        return megabytes(worker, "VmHWM") - before
