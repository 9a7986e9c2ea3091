"""The application under other WSGI servers than Granian."""

import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from testing.http import AUTHORIZATION, JSON, TOKEN, at_once, connect, request
from testing.processes import environment, free_port, migrate, run
from testing.servers import ServerProcess, get, wait_until

# gunicorn's own limits are less than a token and a percent-encoded path may have. uvicorn always has 10 threads.
COMMANDS = {
    "gunicorn": "gunicorn --worker-class gthread --threads 10 --bind 127.0.0.1:{port} --no-control-socket"
    " --limit-request-line 8190 --limit-request-field_size 16380",
    "uvicorn": "uvicorn --interface wsgi --port {port}",
    "waitress": "waitress --threads 10 --listen 127.0.0.1:{port} --max-request-body-size 1048576",
}
# What a server logs when it starts
STARTED = {"gunicorn": "Booting worker", "uvicorn": "Uvicorn running on", "waitress": "Serving on"}


def command(name: str, port: int) -> list[str]:
    return [sys.executable, "-m", *COMMANDS[name].format(port=port).split(), "todo_backend.wsgi:application"]


class Server(ServerProcess):
    def __init__(self, name: str, folder: Path, database_url: str) -> None:
        super().__init__(folder)
        self.name = name
        self.address = f"http://127.0.0.1:{self.port}"
        self.command = command(name, self.port)
        self.options = {"env": environment(DATABASE_URL=database_url, THREADS="10")}

    def is_ready(self) -> bool:
        return get(self.port, "/readyz")[0] == 200


@pytest.fixture(scope="module")
def database_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = f"sqlite:///{tmp_path_factory.mktemp('database') / 'todo.sqlite3'}"
    migrate(url)
    return url


@pytest.fixture(scope="module", params=COMMANDS)
def server(request: Any, database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(request.param, tmp_path_factory.mktemp("server"), database_url) as server:
        yield server


def create(server: Server) -> dict[str, Any]:
    status, _, task = request(server.address, "POST", "/api/tasks", '{"title": "x"}', **JSON)
    assert status == 201
    return {**task}


def test_a_task_is_created_changed_listed_and_deleted(server: Server) -> None:
    path = f"/api/tasks/{create(server)['id']}"
    status, _, changed = request(server.address, "PATCH", f"{path}/complete")
    assert (status, changed["completed"]) == (200, True)
    assert changed in request(server.address, "GET", "/api/tasks")[2]
    assert request(server.address, "DELETE", path)[0::2] == (204, None)
    assert request(server.address, "GET", path)[0::2] == (404, {"detail": "Not found."})


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{}", {"Authorization": "Bearer x"}, 401),
        (b"x" * (64 * 1024 + 1), {}, 413),
        (b"{}", {"Content-Type": "text/plain"}, 415),
        (b"{", {}, 400),
        (b"{}", {}, 422),
        (b"{}", {"Host": "evil.example"}, 400),
    ],
    ids=["token", "length", "type", "not JSON", "no title", "host"],
)
def test_a_refused_request_says_why(body: bytes, headers: dict[str, str], status: int, server: Server) -> None:
    found, sent, answer = request(server.address, "POST", "/api/tasks", body, **{**JSON, **headers})
    assert (found, sent["content-type"]) == (status, "application/json")
    assert answer["detail"]


def test_the_largest_token_and_path_reach_the_application(server: Server) -> None:
    largest = {"Authorization": f"Bearer {'a' * 8192}"}
    assert request(server.address, "GET", "/api/tasks", **largest)[0::2] == (
        401,
        {"detail": "This is not a JWT. If it is a Better Auth session token, get a JWT from /api/auth/token."},
    )
    assert request(server.address, "GET", "/" + "%41" * 2047)[0::2] == (404, {"detail": "Not found."})


def test_a_chunked_body_is_refused_or_read(server: Server) -> None:
    """If it counted as empty, the task would be completed."""
    path = f"/api/tasks/{create(server)['id']}"
    chunked = {"Transfer-Encoding": "chunked", **JSON}
    status = request(server.address, "PATCH", f"{path}/complete", iter([b'{"completed": false}']), **chunked)[0]
    # waitress reads the body before it calls the application, and tells its length.
    assert status == (200 if server.name == "waitress" else 411)
    assert request(server.address, "GET", path)[2]["completed"] is False


def test_a_connection_is_kept_after_a_body_that_was_not_read(server: Server) -> None:
    with closing(HTTPConnection("127.0.0.1", server.port, timeout=15)) as client:
        client.connect()
        first = client.sock
        client.request("POST", "/api/tasks", b"x" * 30_000)
        response = client.getresponse()
        response.read()
        assert response.status == 401
        client.request("GET", "/api/tasks", headers=AUTHORIZATION)
        assert client.getresponse().status == 200
        assert client.sock is first


def test_a_body_that_does_not_arrive_changes_nothing(server: Server) -> None:
    task = create(server)
    path = f"/api/tasks/{task['id']}"
    head = f"PATCH {path}/complete HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
    with connect(server.address) as client:
        client.sendall(f"{head}Content-Type: application/json\r\nContent-Length: 10\r\n\r\n{{}}".encode())
        client.shutdown(socket.SHUT_WR)
        client.recv(65536)
    assert request(server.address, "GET", path)[2] == task


def test_head_and_preflights_are_answered(server: Server) -> None:
    assert request(server.address, "HEAD", "/healthz")[0::2] == (200, None)
    asked = {"Origin": "http://localhost:3000", "Access-Control-Request-Method": "POST"}
    status, headers, _ = request(server.address, "OPTIONS", "/api/tasks", **asked)
    assert (status, headers["access-control-allow-origin"]) == (200, "http://localhost:3000")


def test_more_requests_than_threads_are_answered(server: Server) -> None:
    assert at_once(30, lambda _: request(server.address, "GET", "/api/tasks")[0]) == [200] * 30


def test_the_log_has_the_servers_lines_and_each_request_once(server: Server) -> None:
    request(server.address, "GET", "/api/tasks", **{"X-Request-ID": f"once-{server.name}"})
    log = server.log.read_text()
    assert STARTED[server.name] in log
    assert log.count(f"INFO todo_backend.log once-{server.name}: GET /api/tasks 200 in ") == 1
    assert "Traceback" not in log
    assert "Logging error" not in log


# waitress ends without an answer.
@pytest.mark.parametrize("name", ["gunicorn", "uvicorn"])
def test_sigterm_finishes_a_running_request(name: str, database_url: str, tmp_path: Path) -> None:
    server = Server(name, tmp_path, database_url).start()
    body = b'{"title": "late"}'
    head = f"POST /api/tasks HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
    length = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
    try:
        with connect(server.address) as client:
            client.sendall((head + length).encode())
            # The server sends this when a thread has the request.
            assert client.recv(65536).startswith(b"HTTP/1.1 100")
            server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: get(server.port, "/healthz", timeout=1)[0] == 0, "the server accepts no connections")
            client.sendall(body)
            assert client.recv(65536).startswith(b"HTTP/1.1 201")
        server.process.wait(timeout=30)
    finally:
        server.terminate()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_value_that_cannot_be_used_ends_the_server(name: str) -> None:
    result = run(command(name, free_port()), {"DEBUG": "maybe"})
    assert result.returncode == 3
    lines = [line for line in result.stderr.splitlines() if "Configuration error" in line]
    assert lines == ["Configuration error: DEBUG must be true or false, not 'maybe'."]
    assert "Traceback" not in result.stderr
