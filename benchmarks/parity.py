"""Compares the servers' answers, because throughput can only be compared between servers that do the same work."""

import http.client
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any, NamedTuple

from testing.processes import SECRET
from testing.tokens import claims, sign

from .servers import Server

HEADERS = [
    "Content-Type",
    "Cache-Control",
    "Location",
    "WWW-Authenticate",
    "X-Request-ID",
    "Access-Control-Allow-Origin",
    "Access-Control-Allow-Credentials",
    "Access-Control-Expose-Headers",
]
# The members of JSON that every peer must send. A peer may lack a newer field of a task.
REQUIRED = {"detail", "errors", "id", "user_id", "title", "description", "completed", "created_at", "updated_at"}
# Values that differ by chance, and their placeholders
PLACEHOLDERS = {
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z": "TIME",
    r'"id":[1-9]\d*': '"id":"ID"',
    r"/api/tasks/[1-9]\d*$": "/api/tasks/ID",
    r"[0-9a-f]{32}": "REQUEST_ID",
    # Only this project quotes its JSON parser.
    r'"The body is not JSON[^"]*"': '"The body is not JSON."',
}


def token(user: str, **changes: object) -> str:
    return sign(claims(user, **changes), secret=SECRET)


class Answer(NamedTuple):
    """A status, the headers of `HEADERS`, and the body: parsed if it is JSON, and text otherwise."""

    status: int
    headers: dict[str, str | None]
    body: Any

    def normalized(self) -> "Answer":
        """The answer with placeholders."""
        text = normalize(json.dumps(self.body, separators=(",", ":"), ensure_ascii=False))
        headers = {name: value and normalize(value) for name, value in self.headers.items()}
        return Answer(self.status, headers, json.loads(text))


def normalize(text: str) -> str:
    for pattern, placeholder in PLACEHOLDERS.items():
        text = re.sub(pattern, placeholder, text)
    return text


class Client:
    """Sends requests to a server with a token of the user `parity`."""

    def __init__(self, server: Server) -> None:
        self.port = server.port
        self.token = token("parity")

    def __call__(self, method: str, path: str, body: Any = None, **headers: str | None) -> Answer:
        """Sends a request. A header of `None` is left out. A body is sent as JSON unless it is `bytes`."""
        sent: dict[str, str | None] = {"Authorization": f"Bearer {self.token}", **headers}
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        if data:
            sent.setdefault("Content-Type", "application/json")
        named = {name.replace("_", "-"): value for name, value in sent.items() if value is not None}
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request(method, path, data, named, encode_chunked="Transfer-Encoding" in named)
            response = connection.getresponse()
            body = response.read().decode()
        if body and response.headers["Content-Type"] == "application/json":
            body = json.loads(body)
        return Answer(response.status, {name: response.headers[name] for name in HEADERS}, body)


def answers(ask: Client) -> Iterator[tuple[str, Answer]]:
    """Yields a description and the normalized answer of each request. Works once, on an empty list of tasks."""

    def asked(method: str, path: str, *body: Any, **headers: str | None) -> tuple[str, Answer]:
        description = f"{method} {re.sub('[0-9]+', 'ID', path)} {str(body)[:60]} {headers}"
        return description, ask(method, path, *body, **headers).normalized()

    full = {"title": 'Buy "milk" \u2713\t', "description": " two\nlitres \U0001f95b", "completed": True}
    made = [ask("POST", "/api/tasks", body).body["id"] for body in ({"title": "first"}, full)]
    task = f"/api/tasks/{made[0]}"
    yield asked("POST", "/api/tasks", full)
    yield asked("POST", "/api/tasks/", {"title": " x "}, X_Request_ID="chosen")
    yield asked("POST", "/api/tasks", {"title": "once"}, Idempotency_Key="key")
    yield asked("POST", "/api/tasks", {"title": "again"}, Idempotency_Key="key")
    yield asked("GET", task)
    yield asked("GET", f"/api/parity/tasks/{made[1]}/")
    yield asked("PUT", task, {"title": " changed ", "id": 5, "user_id": "x"})
    yield asked("PATCH", task, {"description": "x", "completed": False})
    yield asked("PATCH", task, {"description": None})
    yield asked("PUT", task, {})
    yield asked("PATCH", f"{task}/complete")
    yield asked("PATCH", f"{task}/complete")
    yield asked("PATCH", f"{task}/complete", {"completed": True})
    for query in ("", "?status=all", "?status=pending", "?status=completed&x=1"):
        yield asked("GET", f"/api/tasks{query}", Origin="http://localhost:3000")
    # Errors, in the specification's order
    yield asked("GET", "/api/other")
    yield asked("GET", "/api/tasks", Authorization=None)
    yield asked("GET", "/api/tasks", Authorization=f"Bearer {ask.token[:-4]}AAAA")
    yield asked("GET", "/api/tasks", Authorization=f"Bearer {token('parity', exp=1)}", Origin="http://localhost:3000")
    yield asked("GET", "/api/bob/tasks")
    yield asked("PUT", task, {"title": "x"}, Transfer_Encoding="chunked")
    yield asked("POST", "/api/tasks", {"title": "x" * 70_000})
    yield asked("POST", "/api/tasks", {"title": "x"}, Content_Type="text/plain")
    yield asked("POST", "/api/tasks", b'{"title"')
    for title in (" ", 5, None, "x" * 201, "x" * 200 + " ", "\0"):
        yield asked("POST", "/api/tasks", {"title": title})
        yield asked("PUT", task, {"title": title, "description": 5, "completed": "yes"})
    misfits: list[Any] = [{}, [], {"title": "x", "description": "x" * 1001}]
    for body in misfits:
        yield asked("POST", "/api/tasks", body)
    yield asked("PATCH", f"{task}/complete", {"completed": "yes"})
    yield asked("GET", "/api/tasks?status=done")
    for path in ("0", "01", "x", "9223372036854775808", "9223372036854775807"):
        yield asked("GET", f"/api/tasks/{path}")
        yield asked("PATCH", f"/api/tasks/{path}/complete")
        yield asked("DELETE", f"/api/tasks/{path}")
    yield asked("GET", task, Authorization=f"Bearer {token('bob')}")
    yield asked("DELETE", task, Authorization=f"Bearer {token('bob')}")
    yield asked("DELETE", task)
    yield asked("DELETE", task)


def members(value: Any) -> set[str]:
    """The names of all members of all objects in a JSON value."""
    if isinstance(value, dict):
        return {*value, *members([*value.values()])}
    return set().union(*map(members, value)) if isinstance(value, list) else set()


def without(value: Any, names: set[str]) -> Any:
    """A JSON value without the members of those names."""
    if isinstance(value, dict):
        return {name: without(member, names) for name, member in value.items() if name not in names}
    return [without(item, names) for item in value] if isinstance(value, list) else value


def differences(
    expected: Sequence[tuple[str, Answer]], found: Sequence[tuple[str, Answer]]
) -> tuple[list[str], set[str]]:
    """Returns the requests with different answers, and the members of JSON that the peer never sends.

    Those members are not compared unless they are `REQUIRED`, so that a new field needs no change of the peers.
    """
    sent = members([answer.body for _, answer in found])
    unknown = members([answer.body for _, answer in expected]) - sent - REQUIRED
    different = [
        f"{request}\n  {answer}\n  {other}"
        for (request, answer), (_, other) in zip(expected, found, strict=True)
        if answer._replace(body=without(answer.body, unknown)) != other
    ]
    return different, unknown
