"""The production server with hostile clients: malformed requests, slow requests, and answers that are not read."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from testing.http import JSON, TOKEN, connect, raw_request, request
from testing.processes import empty_database, migrate, server

HOST = b"\r\nHost: localhost"
AUTHORIZATION = b"\r\nAuthorization: Bearer " + TOKEN.encode()
SIGNED = HOST + AUTHORIZATION
GET = b"GET /api/tasks HTTP/1.1" + SIGNED
POST = b"POST /api/tasks HTTP/1.1" + SIGNED + b"\r\nContent-Type: application/json"
BUNDLE = b"/static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js"
BODY = b'{"title": "x"}'
LENGTH = b"\r\nContent-Length: 14"
CHUNKED = b"\r\nTransfer-Encoding: chunked"
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("server") / "log"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, log: Path) -> Iterator[str]:
    """The server of this module. Asserts at the end that its log has no traceback and no part of the token."""
    url = empty_database(tmp_path_factory.mktemp("database"))
    migrate(url)
    with server(log, DATABASE_URL=url, LOG_LEVEL="DEBUG") as address:
        yield address
    text = log.read_text(encoding="utf-8")
    for unwanted in ["Traceback", " 500 in ", *TOKEN.split(".")]:
        assert unwanted not in text


@pytest.fixture
def task(address: str) -> Any:
    return request(address, "POST", "/api/tasks", BODY, **JSON)[2]


def split(answer: bytes) -> tuple[int, Any]:
    """Status and JSON of an answer. Asserts that a body is JSON."""
    head, _, content = answer.partition(b"\r\n\r\n")
    assert not content or b"\r\ncontent-type: application/json" in head
    return int(head.split()[1]), json.loads(content) if content else None


def answer(address: str, head: bytes, body: bytes = b"") -> tuple[int, Any]:
    return split(raw_request(address, head, body))


TARGETS = [
    (b"GET http://localhost/api/tasks HTTP/1.1" + SIGNED, 200),
    (b"GET http://evil.example/api/tasks HTTP/1.1\r\nAuthorization: Bearer x", 400),
    (b"GET http://localhost/api/tasks HTTP/1.1\r\nHost: evil.example", 400),
    (b"GET * HTTP/1.1" + SIGNED, 404),
    (b"CONNECT localhost:80 HTTP/1.1" + SIGNED, 405),
    (b"CONNECT /api/tasks HTTP/1.1" + SIGNED, 405),
    (b"TRACE /api/tasks HTTP/1.1" + SIGNED, 405),
    (b"G" * 10_000 + b" /api/tasks HTTP/1.1" + SIGNED, 405),
    (b"GET /api/tasks HTTP/1.0\r\nAuthorization: Bearer x", 400),
    (b"GET /healthz HTTP/1.0", 200),
    (b"\r\n" * 1000 + b"GET /healthz HTTP/1.1" + HOST, 200),
    (b"GET /" + b"a" * 65_000 + b" HTTP/1.1" + SIGNED, 404),
    (b"GET /" + b"%FF" * 20_000 + b" HTTP/1.1" + SIGNED, 404),
    (b"GET /api/tasks?status=%FF%00 HTTP/1.1" + SIGNED, 422),
    (b"GET /api/tasks?" + b"a&" * 30_000 + b" HTTP/1.1" + SIGNED, 404),
]
HEADERS = [
    (GET + HOST, 400),
    (GET + b"\r\nHost: evil.example", 400),
    (b"GET /api/tasks HTTP/1.1\r\nHost: \xe9", 400),
    (GET + AUTHORIZATION, 401),
    (GET + b"\r\nX-Large: " + b"a" * 100_000, 200),
    (GET + b"".join(b"\r\nX-%d: %s" % (number, b"a" * 1000) for number in range(90)), 200),
    (GET + b"\r\nOrigin: \xe9\r\nX-Request-ID: \xe9\r\nAccept: \xe9\r\nIf-Modified-Since: \xe9", 200),
    (GET + b"\r\nwsgi.input: x\r\nREMOTE_USER: bob\r\nPATH_INFO: /api/schema", 200),
    (GET + b"\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA", 200),
]


@pytest.mark.parametrize(("head", "status"), [*TARGETS, *HEADERS])
def test_an_unusual_target_or_header_is_answered(address: str, head: bytes, status: int) -> None:
    assert answer(address, head)[0] == status


@pytest.mark.requirement("FR-008")
@pytest.mark.parametrize("method", [b"GET", b"PUT", b"DELETE"])
@pytest.mark.parametrize(
    "path",
    [
        *(b"{id}%0A", b"{id}%00", b"%00{id}", b"{id}%20", b"+{id}", b"-{id}", b"0{id}", b"{id}.0", b"{id}//"),
        *(b"%D9%A1", b"%EF%BC%91", b"%DF%81", b"\xc3\xa9", b"%FF", b"%", b"%zz", b"%2", b"%31%FF", b"%E2%80%AE1"),
        *(b"9" * 10_000, b"9223372036854775808", b".", b"..", b"../tasks/{id}", b"%2e%2e%2ftasks%2f{id}", b"/{id}"),
        *(b"{id};x=1", b"{id}%0d%0aX-Injected:%20yes", b"{id}\\", b"{id}%5C"),
    ],
)
def test_a_path_that_names_no_task_is_404(address: str, method: bytes, path: bytes, task: dict[str, Any]) -> None:
    target = b"/api/tasks/" + path.replace(b"{id}", b"%d" % task["id"])
    head = method + b" " + target + b" HTTP/1.1" + SIGNED + b"\r\nContent-Type: application/json" + LENGTH
    # No server resolves dots, so such a path names another user.
    assert answer(address, head, BODY)[0] == (403 if b"/tasks/" in target[11:] or b"%2f" in target else 404)
    assert request(address, "GET", f"/api/tasks/{task['id']}")[2] == task


BODIES = [
    (POST + CHUNKED + LENGTH, b"2\r\n{}\r\n0\r\n\r\n", 411),
    (POST + b"\r\nTransfer-Encoding: gzip, chunked", b"2\r\n{}\r\n0\r\n\r\n", 411),
    (POST + CHUNKED, b"zz\r\n{}", 411),
    (POST + b"\r\nTransfer_Encoding: chunked" + LENGTH, BODY, 411),
    (POST + b"\r\nContent-Length: 014", BODY, 201),
    (POST + LENGTH + LENGTH, BODY, 201),
    (POST + LENGTH + b"\r\nContent-Type: text/plain", BODY, 201),
    (POST.replace(b"Content-Type", b"Content_Type") + LENGTH, BODY, 415),
    (POST + b"; charset=latin-1" + LENGTH, BODY, 415),
    (POST + b"; charset=\xe9" + LENGTH, BODY, 415),
    (POST + b"; a=" + b"a" * 1000 + LENGTH, BODY, 415),
    (POST + b"\r\nExpect: 200-ok" + LENGTH, BODY, 201),
    (POST + b"\r\nIdempotency-Key: \xe9" + LENGTH, BODY, 422),
    (POST + b"\r\nContent-Length: 32", '{"title": "x"}'.encode("utf-16-le") + b"    ", 400),
]


@pytest.mark.requirement("FR-008")
@pytest.mark.parametrize(("head", "body", "status"), BODIES)
def test_an_unusual_body_is_answered(address: str, head: bytes, body: bytes, status: int) -> None:
    assert answer(address, head, body)[0] == status


@pytest.mark.parametrize("field", ["title", "description", "completed"])
@pytest.mark.parametrize(
    "value", ["9" * 10_000, "-" + "9" * 10_000, "1e" + "9" * 10_000, "1E-999999999", '"\\ud800"', '"\\u0000"']
)
def test_a_value_that_cannot_be_stored_is_422(address: str, field: str, value: str) -> None:
    status, _, content = request(address, "POST", "/api/tasks", f'{{"title": "x", "{field}": {value}}}', **JSON)
    assert (status, list(content["errors"])) == (422, [field])


@pytest.mark.parametrize("size", [64 * 1024, MIB, 10 * MIB])
@pytest.mark.parametrize(
    ("line", "headers", "refused"),
    [
        (b"POST /api/tasks", b"\r\nContent-Type: application/json", 401),
        (b"POST /nowhere", AUTHORIZATION + b"\r\nContent-Type: application/json", 404),
        (b"DELETE /api/tasks", AUTHORIZATION + b"\r\nContent-Type: application/json", 405),
        (b"POST /api/tasks", AUTHORIZATION + b"\r\nContent-Type: text/plain", 415),
    ],
)
@pytest.mark.parametrize("apart", [False, True], ids=["with the head", "after the answer"])
def test_a_large_body_is_refused_without_being_awaited(
    address: str, line: bytes, headers: bytes, refused: int, size: int, apart: bool
) -> None:
    """The server may close the connection before the body is sent. The client gets the answer nevertheless."""
    head = line + b" HTTP/1.1" + HOST + headers + b"\r\nContent-Length: %d\r\n\r\n" % size
    with closing(connect(address)) as client:
        with suppress(BrokenPipeError, ConnectionResetError):
            client.sendall(head if apart else head + b"x" * size)
        status, _ = split(client.recv(65536))
        if apart:
            with suppress(BrokenPipeError, ConnectionResetError):
                client.sendall(b"x" * size)
    assert status == (413 if refused == 415 and size > 64 * 1024 else refused)


def test_expect_100_continue_is_answered(address: str) -> None:
    with closing(connect(address)) as client:
        client.sendall(POST + LENGTH + b"\r\nExpect: 100-continue\r\n\r\n")
        assert client.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(BODY)
        assert split(client.recv(65536))[0] == 201
    head = b"POST /api/tasks HTTP/1.1" + HOST + b"\r\nExpect: 100-continue" + LENGTH
    assert answer(address, head)[0] == 401


def test_pipelined_requests_are_answered_in_order(address: str) -> None:
    hidden = b"GET /healthz HTTP/1.1" + HOST + b"\r\n\r\n"
    requests = [
        POST + LENGTH + b"\r\n\r\n" + BODY,
        GET.replace(b"tasks", b"tasks/0") + b"\r\n\r\n",
        b"DELETE /healthz HTTP/1.1" + HOST + b"\r\nContent-Length: %d\r\n\r\n" % len(hidden) + hidden,
        b"GET /healthz HTTP/1.1" + HOST,
    ]
    answers = raw_request(address, b"".join(requests)).split(b"HTTP/1.1 ")[1:]
    assert [part.split()[0] for part in answers] == [b"201", b"404", b"405", b"200"]


def test_no_header_changes_the_user(address: str) -> None:
    names = [b"HTTP_AUTHORIZATION", b"Authorization_", b"X-Authorization", b"Proxy-Authorization"]
    for name in names:
        head = b"GET /api/tasks HTTP/1.1" + HOST + AUTHORIZATION.replace(b"Authorization", name)
        assert answer(address, head)[0] == 401
    head = POST + b"\r\nRemote-User: bob\r\nREMOTE_USER: bob\r\nX-Forwarded-User: bob\r\nuser: bob" + LENGTH
    assert answer(address, head, BODY)[1]["user_id"] == "ada"


NOT_HTTP = [
    *((POST + b"\r\nContent-Length: " + length, 400) for length in (b"+14", b"-1", b"14,14", b"0x0e", b"", b"\xb2")),
    *((POST + b"\r\nContent-Length: " + length, 400) for length in (b"1e1", b"9" * 30)),
    (POST + LENGTH + b"\r\nContent-Length: 13", 400),
    (POST + b"\r\nContent-Length: 18446744073709551615", 431),
    (POST + b"\r\nTransfer-Encoding: identity", 400),
    *((GET + b"\r\n" + line, 400) for line in (b"X-A: a\0b", b"X A: b", b"X-A : b", b"X-A: a\r\n b", b"XA", b": a")),
    *((GET + b"\r\n" + line, 400) for line in (b"X-A: a\rb", b"X-\xe9: a", b"Authorization: Bearer a\x0b")),
    *((b"GET " + path + b" HTTP/1.1" + SIGNED, 400) for path in (b"/a b", b"/\0", b"/\xff", b"\\api", b"/<", b"/a\nb")),
    *((b"GET /healthz" + version + HOST, 400) for version in (b"", b" HTTP/2.0", b" HTTP/1.2", b" HTTP/x")),
    (b"\xff /healthz HTTP/1.1" + HOST, 400),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc" + b"\0" * 100, 400),
    (b"GET /" + b"a" * 65_535 + b" HTTP/1.1" + SIGNED, 414),
    (GET + b"".join(b"\r\nX-%d: a" % number for number in range(1000)), 431),
    (GET + b"\r\nX-Large: " + b"a" * 2 * MIB, 431),
]


@pytest.mark.parametrize(("head", "status"), NOT_HTTP)
def test_malformed_http_does_not_reach_the_application(address: str, log: Path, head: bytes, status: int) -> None:
    """Granian refuses it with an empty body."""
    before = log.stat().st_size
    with closing(connect(address)) as client:
        with suppress(BrokenPipeError, ConnectionResetError):
            client.sendall(head + b"\r\n\r\n")
        assert split(client.recv(65536)) == (status, None)
    assert log.stat().st_size == before


def assert_served(address: str) -> None:
    """Asserts that other clients get their answers within the timeout of `request`."""
    for _ in range(10):
        assert request(address, "GET", "/api/tasks/0")[0] == 404


def test_a_long_content_type_is_refused_quickly(address: str) -> None:
    """Parsing one of them would take 4 seconds, so parsing six would take longer than the limit."""
    start = time.monotonic()
    for name in [b"Content-Type: a/b", b"Content-Type: application/json", b"Content_Type: a/b"] * 4:
        head = b"POST /api/tasks HTTP/1.1" + SIGNED + LENGTH + b"\r\n" + name + b';a="' + b";" * 60_000
        assert answer(address, head, BODY)[0] == 415
    assert time.monotonic() - start < 20


def test_slow_heads_do_not_block_other_clients(address: str) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(closing(connect(address))) for _ in range(200)]
        for part in [GET[:20], GET[20:21], GET[21:22]]:
            for client in clients:
                client.sendall(part)
            assert_served(address)
        for client in clients:
            client.sendall(GET[22:] + b"\r\n\r\n")
        assert {client.recv(15) for client in clients} == {b"HTTP/1.1 200 OK"}


def test_slow_bodies_without_a_token_do_not_block_other_clients(address: str) -> None:
    with ExitStack() as stack:
        for _ in range(40):
            client = stack.enter_context(closing(connect(address)))
            client.sendall(b"POST /api/tasks HTTP/1.1" + HOST + LENGTH + b"\r\n\r\n{")
        assert_served(address)


@pytest.mark.parametrize("read", [True, False], ids=["slowly", "not at all"])
def test_clients_that_do_not_read_do_not_block_other_clients(address: str, read: bool) -> None:
    with ExitStack() as stack:
        for _ in range(20):
            client = stack.enter_context(closing(socket.socket()))
            client.settimeout(15)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect((urlsplit(address).hostname, urlsplit(address).port))
            # More than the kernel buffers.
            client.sendall((b"GET " + BUNDLE + b" HTTP/1.1" + HOST + b"\r\n\r\n") * 20)
            if read:
                client.recv(1)
        assert_served(address)


def test_clients_that_disconnect_do_not_block_other_clients(address: str) -> None:
    for _ in range(50):
        client = connect(address)
        client.sendall(POST + b"\r\nContent-Length: 100\r\n\r\n{")
        client.close()
    assert_served(address)


def test_a_preflight_needs_no_route(address: str) -> None:
    """With this answer the page can read the 404 of the request itself."""
    cors = b"\r\nOrigin: http://localhost:3000"
    head = b"OPTIONS /nowhere HTTP/1.1" + HOST + cors + b"\r\nAccess-Control-Request-Method: GET"
    assert raw_request(address, head).startswith(b"HTTP/1.1 200")
    refused = raw_request(address, b"GET /nowhere HTTP/1.1" + HOST + cors)
    assert refused.startswith(b"HTTP/1.1 404")
    assert b"access-control-allow-origin: http://localhost:3000" in refused
