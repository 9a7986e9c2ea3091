"""The production server over HTTP, with its own database."""

import ast
import gzip
import json
import re
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from django.db import connection

from testing.http import JSON, TOKEN, at_once, connect, raw_request, request
from testing.processes import SECRET, development_server, empty_database, free_port, migrate, server
from testing.tokens import claims, sign

BUNDLE = b"/static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js"


@pytest.fixture(scope="module")
def database_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A migrated database of the kind that the tests run on."""
    url = empty_database(tmp_path_factory.mktemp("database"))
    migrate(url)
    return url


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("server") / "log"


@pytest.fixture(scope="module")
def address(database_url: str, log: Path) -> Iterator[str]:
    with server(log, DATABASE_URL=database_url) as address:
        yield address


@pytest.fixture(scope="module")
def development_address(address: str, database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`runserver` on the same database."""
    with development_server(tmp_path_factory.mktemp("development") / "log", DATABASE_URL=database_url) as address:
        yield address


@pytest.fixture(params=["address", "development_address"])
def either_address(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


@pytest.mark.requirement("FR-007")
@pytest.mark.sqlite
@pytest.mark.postgresql
def test_a_task_is_created_changed_and_deleted(address: str) -> None:
    # No other test on this server uses this user.
    as_carol = partial(request, address, Authorization=f"Bearer {sign(claims('carol'), secret=SECRET)}")
    status, headers, task = as_carol("POST", "/api/tasks", json.dumps({"title": "é 😀"}), **JSON)
    assert (status, task["title"], task["user_id"]) == (201, "é 😀", "carol")
    one = headers["location"]
    assert as_carol("GET", one)[2] == task
    assert as_carol("GET", "/api/tasks/?status=pending")[2] == [task]
    assert as_carol("PUT", one, '{"title": "y"}', **JSON)[2]["title"] == "y"
    assert as_carol("PATCH", one, '{"description": "z"}', **JSON)[2]["description"] == "z"
    assert as_carol("PATCH", f"{one}/complete")[2]["completed"] is True
    assert as_carol("PATCH", f"{one}/complete", "", **JSON)[2]["completed"] is False
    assert as_carol("GET", "/api/tasks?status=completed")[2] == []
    assert request(address, "GET", one)[0] == 404
    status, headers, body = as_carol("DELETE", one)
    assert (status, body) == (204, None)
    assert as_carol("DELETE", one)[0::2] == (404, {"detail": "Not found."})


@pytest.mark.sqlite
@pytest.mark.postgresql
def test_the_first_line_shows_the_configuration(address: str, log: Path, database_url: str) -> None:
    [line] = [line for line in log.read_text(encoding="utf-8").splitlines() if "todo_backend.startup" in line]
    host = database_url.removeprefix("sqlite:///")
    if connection.vendor == "postgresql":
        host = connection.settings_dict["OPTIONS"]["host"]
    assert f"Database: {connection.vendor} at {host}." in line
    assert "Tokens: HS256 under BETTER_AUTH_SECRET." in line
    assert "CORS origins: http://localhost:3000. Hosts: localhost, 127.0.0.1, [::1]." in line
    assert ("DATABASE_URL is SQLite" in line) == (connection.vendor == "sqlite")
    assert "Pending migrations: none." in line


@pytest.mark.requirement("FR-011")
@pytest.mark.sqlite
@pytest.mark.postgresql
@pytest.mark.parametrize("log_format", ["text", "json"])
def test_the_log_has_each_request_once_and_nothing_private(log_format: str, database_url: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with server(log, DATABASE_URL=database_url, LOG_LEVEL="DEBUG", LOG_FORMAT=log_format) as address:

        def use(user: int) -> None:
            token = sign(claims(f"user {user}"), secret=SECRET)
            sent = {"Authorization": f"Bearer {token}", "X-Request-ID": f"of-{user}", **JSON}
            for number in range(8):
                body = f'{{"title": "private title {number}", "description": "private words"}}'
                _, headers, _ = request(address, "POST", "/api/tasks?private=query", body, **sent)
                request(address, "PATCH", headers["location"], "{private: 1}", **sent)
                request(address, "GET", headers["location"], **{**sent, "Authorization": f"Bearer {token}private"})

        at_once(4, use)
    text = log.read_text(encoding="utf-8")
    for private in ["private", SECRET, *TOKEN.split(".")]:
        assert private not in text
    lines = [line for line in text.splitlines() if "todo_backend.log" in line and "of-" in line]
    assert len(lines) == 4 * 8 * 3
    for user in range(4):
        own = [read_line(line) for line in lines if f"of-{user}" in line]
        assert [line["status"] for line in own] == ["201", "400", "401"] * 8
        assert [bool(line.get("refused")) for line in own] == [False, False, True] * 8
        assert {line["user"] for line in own} == {f"user {user}", None}
        assert len({line["path"] for line in own}) == 9


def read_line(line: str) -> dict[str, Any]:
    """The fields of a line about a request, in either format."""
    if line.startswith("{"):
        fields = json.loads(line)
        assert fields.keys() >= {"timestamp", "level", "logger", "message", "method", "milliseconds", "request_id"}
        return {**fields, "status": str(fields["status"])}
    request_line = r"(?P<method>\w+) (?P<path>\S+) (?P<status>\d+) in [\d.]+ ms, user (?P<user>[^,]+)"
    match = re.search(f": {request_line}(?:, refused: (?P<refused>.+))?$", line)
    assert match
    return {**match.groupdict(), "user": ast.literal_eval(match["user"])}


def test_a_chunked_body_is_411_and_changes_nothing(address: str) -> None:
    task = request(address, "POST", "/api/tasks", '{"title": "x"}', **JSON)[2]
    path = f"/api/tasks/{task['id']}"
    chunked = {"Transfer-Encoding": "chunked", **JSON}
    for method, where in [("PATCH", f"{path}/complete"), ("PATCH", path), ("PUT", path), ("POST", "/api/tasks")]:
        assert request(address, method, where, iter([b'{"completed": false}']), **chunked)[0] == 411
    assert request(address, "GET", path)[2] == task


@pytest.mark.parametrize("size", [64 * 1024 + 1, 1024 * 1024])
def test_a_body_over_the_limit_is_413(address: str, size: int) -> None:
    assert request(address, "POST", "/api/tasks", b"x" * size, **JSON)[0::2] == (
        413,
        {"detail": "The body is too large."},
    )


def test_a_header_content_length_with_an_underscore_does_not_count(address: str) -> None:
    head = f"POST /api/tasks HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\nContent_Length: 13"
    answer = raw_request(address, head.encode() + b"\r\nContent-Type: application/json", b'{"title":"x"}')
    assert answer.startswith(b"HTTP/1.1 411")


def test_an_incomplete_body_changes_nothing(either_address: str) -> None:
    task = request(either_address, "POST", "/api/tasks", '{"title": "x"}', **JSON)[2]
    head = f"PATCH /api/tasks/{task['id']}/complete HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}"
    head += "\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{}"
    with connect(either_address) as client:
        client.sendall(head.encode())
        client.shutdown(socket.SHUT_WR)
        client.recv(65536)
    assert request(either_address, "GET", f"/api/tasks/{task['id']}")[2] == task


def test_the_deepest_body_is_400(address: str) -> None:
    for body in [b"[" * 65536, b'{"a":' * 13107, b'{"title":' + b"[" * 32000 + b"]" * 32000 + b"}"]:
        status, _, answer = request(address, "POST", "/api/tasks", body, **JSON)
        assert (status, answer) == (400, {"detail": "The body is nested too deeply."})


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json; charset*=bogus''x",
        "application/json; charset*=utf-16''%41",
        "a; b*0*=c; b*1=d",
        ";;=;",
        "\x80",
        "application/json; charset=utf-8; a=" + "a" * 1000,
    ],
)
def test_a_malformed_content_type_is_415(either_address: str, content_type: str) -> None:
    assert request(either_address, "POST", "/api/tasks", b"{}", **{"Content-Type": content_type})[0] == 415
    assert request(either_address, "GET", "/api/tasks", **{"Content-Type": content_type})[0] == 200
    # The type does not matter without a body.
    assert request(either_address, "POST", "/api/tasks", b"", **{"Content-Type": content_type})[0] == 422


@pytest.mark.parametrize("charset", ["rot13", "base64", "utf-16", "utf-7"])
def test_the_query_string_is_utf_8_whatever_the_charset_of_the_body(address: str, charset: str) -> None:
    content_type = {"Content-Type": f"application/json; charset={charset}"}
    status, _, answer = request(address, "GET", "/api/tasks?status=%C3%A9", **content_type)
    assert (status, answer["errors"]) == (422, {"status": ['"é" is not a valid choice.']})


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /api/tasks HTTP/1.1", b"400"),
        (b"GET /api/tasks HTTP/1.1\r\nHost: evil.example", b"400"),
        (b"GET /healthz HTTP/1.1\r\nHost: evil.example", b"200"),
        (b"GET /api/%FF%0Atasks?status=%FF HTTP/1.1\r\nHost: localhost", b"404"),
        (b"GET /static/%00/../../../../etc/passwd HTTP/1.1\r\nHost: localhost", b"404"),
        (b"GET /static/../manage.py HTTP/1.1\r\nHost: localhost", b"404"),
        (b"GET //api/tasks HTTP/1.1\r\nHost: localhost", b"404"),
        (b"GET /api/tasks HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer \xff\xfe.a.b", b"401"),
        (b"GET /api/tasks HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + b"a." * 30_000, b"401"),
        (b"GET /api/tasks HTTP/1.1\r\nHost: localhost\r\nCookie: \xff=\xff; a=\x80", b"401"),
        (b"GET /api/tasks HTTP/1.1\r\nHost: localhost\r\nOrigin: http://[", b"401"),
        (b"OPTIONS * HTTP/1.1\r\nHost: localhost", b"404"),
        (b"FOO /api/tasks HTTP/1.1\r\nHost: localhost", b"401"),
        (b"POST " + BUNDLE + b" HTTP/1.1\r\nHost: localhost", b"405"),
    ],
)
def test_a_request_that_no_browser_sends_is_answered_in_json(address: str, head: bytes, status: bytes) -> None:
    answer = raw_request(address, head)
    assert answer.split(b" ")[1] == status
    assert b"application/json" in answer


def test_the_page_and_its_files_are_served(either_address: str) -> None:
    page = raw_request(either_address, b"GET /api/docs HTTP/1.1\r\nHost: localhost")
    assert page.startswith(b"HTTP/1.1 200 OK")
    assert BUNDLE in page
    head, _, content = raw_request(either_address, b"GET " + BUNDLE + b" HTTP/1.1\r\nHost: localhost").partition(
        b"\r\n\r\n"
    )
    assert head.startswith(b"HTTP/1.1 200 OK")
    assert b"SwaggerUIBundle" in gzip.decompress(content)
    # Another file of the same package
    answer = raw_request(either_address, b"GET " + BUNDLE + b".map HTTP/1.1\r\nHost: localhost")
    assert answer.startswith(b"HTTP/1.1 404")


TOO_LONG = [
    b"/" + b"a" * 2048,
    b"/" + b"%FF" * 21_000,
    b"/healthz" + b"/" * 2041,
    b"/api/tasks/" + b"1" * 2038,
    b"/api/" + b"%C3%A9" * 1019 + b"/tasks",
    b"/api/" + b"%FF" * 2038 + b"/tasks",
]
TOO_LONG_QUERIES = [
    b"/api/tasks?" + b"a&" * 1024 + b"a",
    b"/api/tasks/1?" + b"%FF=&" * 12_000,
    b"/healthz?" + b"a" * 2049,
]


@pytest.mark.parametrize("target", [*TOO_LONG, *TOO_LONG_QUERIES])
def test_a_path_or_a_query_over_2048_bytes_is_answered_as_any_unknown_route(target: bytes, either_address: str) -> None:
    head = b"GET " + target + b" HTTP/1.1\r\nOrigin: http://localhost:3000\r\nHost: "
    answer = raw_request(either_address, head + b"localhost").lower()
    assert answer.startswith(b"http/1.1 404")
    assert answer.endswith(b'\r\n\r\n{"detail":"not found."}')
    assert b"\r\naccess-control-allow-origin: http://localhost:3000\r\n" in answer
    assert b"\r\ncache-control: no-store\r\n" in answer
    assert raw_request(either_address, head + b"evil.example").startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize(
    ("targets", "logged"), [(TOO_LONG, "path-over-2048-bytes"), (TOO_LONG_QUERIES, "query-over-2048-bytes")]
)
def test_the_log_names_the_limit_of_a_path_and_of_a_query(
    targets: list[bytes], logged: str, address: str, log: Path
) -> None:
    for target in targets:
        raw_request(address, b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\nX-Request-ID: " + logged.encode())
    lines = [line for line in log.read_text("utf-8").splitlines() if f" {logged}: " in line]
    assert len(lines) == len(targets)
    assert all(f": GET /api/{logged} 404 in " in line for line in lines)


def test_a_path_of_2048_bytes_is_routed(either_address: str) -> None:
    for path in [b"/api/" + b"%C3%A9" * 1018 + b"x/tasks", b"/api/" + b"%FF" * 2037 + b"/tasks"]:
        head = b"GET " + path + b" HTTP/1.1\r\nHost: localhost"
        assert raw_request(either_address, head).startswith(b"HTTP/1.1 401")
        signed = head + b"\r\nAuthorization: Bearer " + TOKEN.encode()
        assert raw_request(either_address, signed).startswith(b"HTTP/1.1 403")


@pytest.mark.parametrize(
    ("query", "status"),
    [
        *((b"a&" * 1024, 200), (b"&" * 2048, 200), (b"%FF=%00&" * 256, 200), (b"a" * 2048, 200)),
        (b"status=all&" + b"a&" * 1018, 200),
        (b"a&" * 1018 + b"status=none", 422),
    ],
)
def test_a_query_of_2048_bytes_is_read(query: bytes, status: int, either_address: str) -> None:
    head = b"GET /api/tasks?" + query + b" HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + TOKEN.encode()
    assert raw_request(either_address, head).startswith(b"HTTP/1.1 %d" % status)


def test_the_longest_user_id_in_a_path_is_served(either_address: str) -> None:
    user = "\U0001f600" * 255
    authorization = f"Bearer {sign(claims(user, id=...), secret=SECRET)}"
    assert request(either_address, "GET", f"/api/{quote(user)}/tasks", Authorization=authorization)[::2] == (200, [])


def test_the_first_requests_for_the_document_get_the_same_one(tmp_path: Path, database_url: str) -> None:
    with server(tmp_path / "log", DATABASE_URL=database_url) as address:
        answers = at_once(16, lambda _: request(address, "GET", "/api/schema")[0::2])
    assert answers == [(200, answers[0][1])] * 16


@pytest.mark.requirement("SC-004")
@pytest.mark.sqlite
@pytest.mark.postgresql
def test_concurrent_clients_are_served(address: str) -> None:
    """On SQLite, too, where one connection writes at a time."""
    task = request(address, "POST", "/api/tasks", '{"title": "x"}', **JSON)[2]
    path = f"/api/tasks/{task['id']}/complete"
    answers = at_once(11, lambda _: [request(address, "PATCH", path)[0] for _ in range(10)])
    assert answers == [[200] * 10] * 11
    assert request(address, "GET", f"/api/tasks/{task['id']}")[2]["completed"] is False


def unusable_url(folder: Path) -> str:
    if connection.vendor == "sqlite":
        (folder / "todo.sqlite3").write_text("This is not a database." * 100, encoding="utf-8")
        return f"sqlite:///{folder / 'todo.sqlite3'}"
    return f"postgresql://todo:private-password@127.0.0.1:{free_port()}/todo"


@pytest.mark.requirement("SC-004")
@pytest.mark.sqlite
@pytest.mark.postgresql
def test_without_a_database_healthz_is_200_and_requests_are_503(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with server(log, DATABASE_URL=unusable_url(tmp_path)) as address:
        assert request(address, "GET", "/healthz")[0] == 200
        assert request(address, "GET", "/readyz")[0] == 503
        for method, body in [("GET", None), ("POST", '{"title": "x"}')]:
            status, headers, answer = request(address, method, "/api/tasks", body, **JSON)
            assert (status, answer) == (503, {"detail": "The database cannot be reached."})
            assert int(headers["retry-after"]) > 0
        assert request(address, "GET", "/api/tasks", Authorization="Bearer x")[0] == 401
    assert "Pending migrations: unknown, because the database cannot be used: " in log.read_text(encoding="utf-8")
    assert "private-password" not in log.read_text(encoding="utf-8")


@pytest.mark.sqlite
@pytest.mark.postgresql
def test_before_migrate_requests_are_503_and_the_log_names_the_command(tmp_path: Path) -> None:
    log = tmp_path / "log"
    if connection.vendor == "sqlite":
        url = f"sqlite:///{tmp_path / 'todo.sqlite3'}"
    else:
        url = f"postgresql:///postgres?host={connection.settings_dict['OPTIONS']['host']}&user=postgres"
    with server(log, DATABASE_URL=url) as address:
        assert request(address, "GET", "/healthz")[0] == 200
        status, _, answer = request(address, "GET", "/readyz")
        assert (status, answer) == (503, {"detail": "The database lacks migrations: run `manage.py migrate`."})
        assert request(address, "GET", "/api/tasks")[0] == 503
    assert "Pending migrations: tasks.0001_initial" in log.read_text(encoding="utf-8")
    assert "refused: the database lacks a table or a column (run `manage.py migrate`): " in log.read_text("utf-8")


@pytest.mark.sqlite
def test_sqlite_keeps_a_write_ahead_log(database_url: str, address: str) -> None:
    with closing(sqlite3.connect(database_url.removeprefix("sqlite:///"))) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
