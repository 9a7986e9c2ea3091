"""Whether the servers do the same work: they have to give the same answers to the same requests."""

import http.client
import json
import re
from collections.abc import Iterator
from contextlib import closing
from typing import Any, NamedTuple

from testing.processes import SECRET
from testing.tokens import claims, sign

from .servers import Server

COMPARED = [
    *("Content-Type", "Cache-Control", "Location", "WWW-Authenticate", "X-Request-ID"),
    *("Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", "Access-Control-Expose-Headers"),
]
# Of ids and times the form is compared.
FORMS = {
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z": "TIME",
    r'"id":[1-9]\d*': '"id":ID',
    r"/api/tasks/[1-9]\d*$": "/api/tasks/ID",
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}": "UUID",
    # What a JSON parser says, and DRF's quotation marks in it, differ.
    r'"The body is not JSON[^"]*"': '"The body is not JSON."',
}


def token(user: str, **changes: object) -> str:
    return sign(claims(user, **changes), secret=SECRET)


class Answer(NamedTuple):
    status: int
    body: str
    headers: dict[str, str | None]


class Client:
    def __init__(self, server: Server) -> None:
        self.port = server.port
        self.token = token("parity")

    def __call__(self, method: str, path: str, body: Any = None, **headers: str | None) -> Answer:
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
            # The order of an object's members means nothing.
            body = json.dumps(json.loads(body), sort_keys=True, separators=(",", ":"))
        return Answer(response.status, body, {name: response.headers[name] for name in COMPARED})


def answers(ask: Client) -> Iterator[tuple[str, Answer]]:
    """What is asked, and the answer with ids and times made alike."""

    def asked(method: str, path: str, *body: Any, **headers: str | None) -> tuple[str, Answer]:
        answer = ask(method, path, *body, **headers)
        texts = [answer.body, *(value or "" for value in answer.headers.values())]
        for pattern, form in FORMS.items():
            texts = [re.sub(pattern, form, text) for text in texts]
        what = f"{method} {re.sub('[0-9]+', 'ID', path)} {str(body)[:60]} {headers}"
        return what, Answer(answer.status, texts[0], dict(zip(COMPARED, texts[1:], strict=True)))

    full = {"title": 'Buy "milk" \u2713\t', "description": " two\nlitres \U0001f95b", "completed": True}
    made = [json.loads(ask("POST", "/api/tasks", body).body)["id"] for body in ({"title": "first"}, full)]
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
    # Refused, in the order in which the contract has it
    yield asked("GET", "/api/other")
    yield asked("GET", "/api/tasks", Authorization=None)
    yield asked("GET", "/api/tasks", Authorization=f"Bearer {ask.token[:-4]}AAAA")
    yield asked("GET", "/api/tasks", Authorization=f"Bearer {token('parity', exp=1)}", Origin="http://localhost:3000")
    yield asked("GET", "/api/bob/tasks")
    yield asked("PUT", task, {"title": "x"}, Transfer_Encoding="chunked")
    yield asked("POST", "/api/tasks", {"title": "x" * 70_000})
    yield asked("POST", "/api/tasks", {"title": "x"}, Content_Type="text/plain")
    yield asked("POST", "/api/tasks", b'{"title"')
    for title in (" ", 5, None, "x" * 201, "\0"):
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


def differences(servers: list[Server]) -> list[str]:
    """Where the answers of the others are not those of the first."""
    ours, *others = [list(answers(Client(server))) for server in servers]
    return [
        f"{what}\n  {mine}\n  {theirs}"
        for other in others
        for (what, mine), (_, theirs) in zip(ours, other, strict=True)
        if mine != theirs
    ]
