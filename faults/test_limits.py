"""Clients that try to use up the server: its threads, its connections, its memory and its processor.

`pytest -rP` shows the figures.
"""

import selectors
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from statistics import median

import pytest

from testing.http import JSON, assert_closed, connect, request, start_body
from testing.processes import SECRET
from testing.servers import get, megabytes, stat, wait_until
from testing.tokens import claims, sign

from .servers import Backend, Postgresql

THREADS = 16
# Seconds for a request that does not do what is limited
PROMPT = 0.2
# Seconds that a connection has for the head of a request
HEADER_TIMEOUT = 10
NO_TASK = f"/api/tasks/{2**53 - 1}"
HOST = b" HTTP/1.1\r\nHost: localhost"
FILES = b"/static/drf_spectacular_sidecar/swagger-ui-dist/"
PREFLIGHT = (
    b"OPTIONS /api/tasks" + HOST + b"\r\nOrigin: http://localhost:3000"
    b"\r\nAccess-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: "
)
# Bytes of a part of a head that is as long as the server accepts
LONG = 62_000


@pytest.fixture(scope="module")
def server(files: None, folder: Path, postgresql: Postgresql) -> Iterator[Backend]:
    with Backend(folder, postgresql.todo_url(), threads=THREADS) as server:
        yield server


@pytest.fixture
def address(server: Backend) -> str:
    return f"http://127.0.0.1:{server.port}"


def authorization(user: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {sign(claims(user), secret=SECRET)}"}


def assert_prompt(address: str) -> None:
    """Asserts that probes, reads and deletes are answered in time."""
    seconds: list[float] = []
    for _ in range(20):
        for method, path, expected in [("GET", "/healthz", 200), ("GET", "/api/tasks", 200), ("DELETE", NO_TASK, 404)]:
            start = time.monotonic()
            assert request(address, method, path, **authorization("grace"))[0] == expected
            seconds.append(time.monotonic() - start)
    print(f"others: median {median(seconds) * 1000:.1f} ms, maximum {max(seconds) * 1000:.1f} ms")
    assert max(seconds) < PROMPT


def cpu_milliseconds(server: Backend, send: Callable[[], object]) -> float:
    """What a request costs the worker. Other programs do not change it."""
    [worker] = server.workers()

    def hundredths() -> int:
        # In user and in kernel mode
        return sum(map(int, stat(worker)[11:13]))

    send()
    before = hundredths()
    for _ in range(40):
        send()
    milliseconds = (hundredths() - before) * 10 / 40
    print(f"{milliseconds:.1f} ms of CPU time for each request")
    return milliseconds


def received(clients: list[socket.socket], seconds: float) -> list[bytes]:
    """What the server sends to these clients in that time."""
    deadline = time.monotonic() + seconds
    parts = dict.fromkeys(clients, b"")
    with selectors.DefaultSelector() as selector:
        for client in clients:
            selector.register(client, selectors.EVENT_READ, client)
        while (left := deadline - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                part = key.data.recv(65536)
                parts[key.data] += part
                if not part:
                    selector.unregister(key.data)
    return [*parts.values()]


@pytest.mark.parametrize("expect", ["", "100-continue"], ids=["a byte", "100-continue"])
@pytest.mark.parametrize("users", [1, 4])
def test_slow_bodies_leave_threads_for_requests_without_a_body(
    users: int, expect: str, server: Backend, address: str
) -> None:
    create = partial(request, address, "POST", "/api/tasks", '{"title": "x"}', **JSON)
    with ExitStack() as stack:
        clients = [
            stack.enter_context(closing(start_body(address, f"slow {number % users}", expect))) for number in range(16)
        ]
        assert_prompt(address)
        # A user has four slots, and all users have twelve.
        slots = min(4 * users, 12)
        answers = received(clients, 0.5)
        assert sum(b"HTTP/1.1 503" in answer for answer in answers) == 16 - slots
        assert answers.count(b"HTTP/1.1 100 Continue\r\n\r\n" if expect else b"") == slots
        # The slots of the others are free, unless there are none.
        status, headers, _ = create(**authorization("grace"))
        assert (status, headers.get("retry-after")) == ((201, None) if users == 1 else (503, "1"))
        assert_prompt(address)
    wait_until(lambda: create(**authorization("slow 0"))[0] == 201, "the slots are free again")
    assert "bodies of this user are being read, " in server.log.read_text()


def test_silent_connections_do_not_stop_the_server(address: str) -> None:
    """More than the 1024 that Granian accepts by default. The server closes them itself."""
    with ExitStack() as stack:
        clients = [stack.enter_context(closing(connect(address))) for _ in range(1200)]
        for client in clients[:400]:
            client.sendall(b"GET /healthz HTTP/1.1\r\nHo")
        for client in clients[400:800]:
            client.sendall(b"GET /healthz" + HOST + b"\r\n\r\n")
            assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert_prompt(address)
        assert_closed(clients, HEADER_TIMEOUT + 2)


def test_files_that_are_not_read_take_little_memory(server: Backend, address: str) -> None:
    [worker] = server.workers()
    query = b"GET " + FILES + b"swagger-ui-bundle.js" + HOST + b"\r\n\r\n"
    with ExitStack() as stack:
        before = megabytes(worker)
        for _ in range(500):
            client = stack.enter_context(closing(socket.socket()))
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", server.port))
            client.sendall(query)
        wait_until(lambda: get(server.port, "/healthz")[1] < PROMPT, "the requests have been answered")
        during = megabytes(worker)
    time.sleep(1)
    print(f"worker: {before:.0f} MB, with 500 clients {during:.0f} MB, afterwards {megabytes(worker):.0f} MB")
    assert during - before < 200


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"%FF" * 21_000 + HOST,
        b"GET /" + b"%FF" * 2000 + HOST,
        b"GET /" + b"a" * LONG + HOST,
        b"GET " + b"/" * LONG + HOST,
        b"GET /api/" + b"tasks/" * 330 + HOST,
        b"GET /api/docs?lang=" + b"%FF" * 20_000 + HOST,
        b"GET /api/docs?" + b"a&" * 30_000 + HOST,
        b"GET /api/schema?version=" + b"%FF" * 20_000 + HOST,
        b"GET /api/tasks?" + b"a&" * 30_000 + HOST,
        b"G" * LONG + b" /api/tasks" + HOST,
        b"GET /api/tasks HTTP/1.1\r\nHost: " + b"a." * (LONG // 2),
        b"GET /api/tasks" + HOST + b"\r\nOrigin: http://[" + b":" * LONG,
        PREFLIGHT + b"a," * (LONG // 2),
        PREFLIGHT + b"," * LONG,
        b"GET /api/tasks" + HOST + b"\r\nContent-Type: a/b" + b";" * LONG,
        b"GET /api/tasks" + HOST + b'\r\nContent-Type: a/b;a="' + b";" * 248,
        b"GET /api/tasks" + HOST + b"\r\nX-Request-ID: " + b"a" * LONG,
        b"GET /api/tasks" + HOST + b"\r\nAuthorization: Bearer " + b"a." * (LONG // 2),
        b"GET /api/tasks" + HOST + b"\r\nAuthorization: Bearer " + b"W1tb" * 2000 + b".e30.x",
        b"GET /api/tasks" + HOST + b"\r\nCookie: " + b"a=1;" * (LONG // 4),
        b"GET /api/tasks" + HOST + b"\r\nAccept: " + b"a/b," * (LONG // 4),
        b"GET " + FILES + b"swagger-ui.css" + HOST + b"\r\nIf-None-Match: " + b'"a",' * (LONG // 4),
        b"GET " + FILES + b"swagger-ui.css" + HOST + b"\r\nRange: bytes=" + b"1-2," * (LONG // 4),
        b"GET /api/tasks" + HOST + b"".join(b"\r\nX-%d: %s" % (number, b"a" * 600) for number in range(90)),
    ],
)
def test_no_request_without_a_token_costs_much(head: bytes, server: Backend, address: str) -> None:
    def send() -> None:
        with closing(connect(address)) as client:
            client.sendall(head + b"\r\nConnection: close\r\n\r\n")
            while client.recv(65536):
                pass

    assert cpu_milliseconds(server, send) < 4
    logged = server.log.stat().st_size
    send()
    assert server.log.stat().st_size - logged < 600


def test_no_body_costs_much(server: Backend, address: str) -> None:
    """Its 21 000 arrays cause a garbage collection at every fifth request or so."""
    body = "[" + "[]," * 21_000 + "[]]"
    create = partial(request, address, "POST", "/api/tasks", body, **JSON, **authorization("grace"))
    assert create()[0] == 422
    assert cpu_milliseconds(server, create) < 11
