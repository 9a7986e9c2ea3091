"""The operations to measure, and wrk, which sends their requests."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from testing.postgresql import Postgresql

from .parity import token
from .servers import Server

LUA = Path(__file__).with_name("wrk.lua")
# Tasks for each second of deletes: more than any server deletes
DELETES = 10_000
# Users who take turns to create tasks
CREATING = 100


class Request(NamedTuple):
    method: str
    path: str
    token: str
    body: str = ""


class Round(NamedTuple):
    """The results of a round: requests per second, latencies in ms, and the server's CPU time per request in µs."""

    throughput: float
    p50: float
    p99: float
    cpu: float


class Operation(NamedTuple):
    """A kind of request and its expected status. Each has its own users, so that the lists keep their length."""

    name: str
    status: int
    requests: Callable[[Postgresql, str], Sequence[Request]]


def task_ids(postgresql: Postgresql, database: str, user: str) -> list[int]:
    rows = postgresql.execute(database, f"SELECT id FROM tasks_task WHERE user_id = '{user}' ORDER BY random()")
    return [pk for (pk,) in rows]


def add_tasks(postgresql: Postgresql, database: str, user: str, count: int) -> None:
    postgresql.execute(
        database,
        f"""INSERT INTO tasks_task (user_id, title, description, completed, created_at, updated_at)
            SELECT '{user}', 'Buy milk ' || number, 'Two litres of the fresh one, from the corner', number % 2 = 0,
                now() - number * interval '1.000001 s', now() - number * interval '1.000001 s'
            FROM generate_series(1, {count}) AS number""",
    )


def each_task(user: str, method: str, path: str = "", body: str = "") -> Callable[[Postgresql, str], list[Request]]:
    def requests(postgresql: Postgresql, database: str) -> list[Request]:
        sent = token(user)
        return [Request(method, f"/api/tasks/{pk}{path}", sent, body) for pk in task_ids(postgresql, database, user)]

    return requests


def same_request(user: str, method: str, *, forged: bool = False) -> Callable[..., list[Request]]:
    def requests(postgresql: Postgresql, database: str) -> list[Request]:
        sent = token(user)
        return [Request(method, "/api/tasks", f"{sent[:-4]}AAAA" if forged else sent)]

    return requests


def creates(postgresql: Postgresql, database: str) -> list[Request]:
    """Creates of users with 20 tasks each: the more tasks a user has, the longer the limit of tasks takes to check."""
    users = [f"create {number}" for number in range(CREATING)]
    postgresql.execute(database, "DELETE FROM tasks_task WHERE user_id LIKE 'create %'")
    for user in users:
        add_tasks(postgresql, database, user, 20)
    postgresql.execute(database, "VACUUM ANALYZE tasks_task")
    body = json.dumps({"title": "Buy milk", "description": "2 l"})
    return [Request("POST", "/api/tasks", token(user), body) for user in users]


def deletes(seconds: int) -> Callable[[Postgresql, str], list[Request]]:
    def requests(postgresql: Postgresql, database: str) -> list[Request]:
        postgresql.execute(database, "DELETE FROM tasks_task WHERE user_id = 'delete'")
        add_tasks(postgresql, database, "delete", DELETES * seconds)
        postgresql.execute(database, "VACUUM ANALYZE tasks_task")
        return each_task("delete", "DELETE")(postgresql, database)

    return requests


# Users and the number of their tasks; `creates` and `deletes` add others.
USERS = {"get": 1000, "few": 20, "many": 1000, "update": 1000, "toggle": 1000}


def operations(seconds: int) -> list[Operation]:
    return [
        Operation("get", 200, each_task("get", "GET")),
        Operation("list of 20", 200, same_request("few", "GET")),
        Operation("list of 1000", 200, same_request("many", "GET")),
        Operation("create", 201, creates),
        Operation("update", 200, each_task("update", "PUT", "", json.dumps({"title": "Buy oat milk"}))),
        Operation("toggle", 200, each_task("toggle", "PATCH", "/complete")),
        Operation("delete", 204, deletes(seconds)),
        Operation("refuse a token", 401, same_request("get", "GET", forged=True)),
    ]


def measure(server: Server, operation: Operation, requests: Sequence[Request], seconds: int, clients: int) -> Round:
    """Runs a round of wrk. Exits with an error if an answer has another status, or if a connection fails."""
    listed = server.log.with_suffix(".requests")
    listed.write_text("".join("\t".join(request) + "\n" for request in requests))
    variables = {"BENCHMARK_REQUESTS": str(listed), "BENCHMARK_STATUS": str(operation.status)}
    command = (
        f"wrk --threads 1 --connections {clients} --duration {seconds}s --timeout 10s --latency --script {LUA}".split()
    )
    before = server.cpu()
    wrk = subprocess.run(
        [*command, f"http://127.0.0.1:{server.port}"], env={**os.environ, **variables}, capture_output=True, text=True
    )
    cpu = server.cpu() - before
    measured = f"{operation.name}, {server.name}"
    if wrk.returncode:
        sys.exit(f"{measured}: {wrk.stderr}")
    result = json.loads(wrk.stdout.splitlines()[-1])
    if result["socket"]:
        sys.exit(f"{measured}: {result['socket']} connections failed or timed out")
    if result["unexpected"]:
        sys.exit(f"{measured}: {result['unexpected']} answers other than {operation.status}")
    count = result["requests"]
    return Round(count / result["seconds"], result["p50"], result["p99"], cpu / count * 1e6)
