"""`manage.py serve`: where it listens, what it bounds, and what it refuses."""

import errno
import os
import re
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest
from django.conf import settings

from testing.http import AUTHORIZATION, TOKEN, connect, raw_request, request
from testing.processes import WINDOWS, environment, free_port, migrate, run, serve_command, server, serving
from testing.servers import get, wait_until
from todo_backend.server import max_connections

LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (?:INFO|WARNING) [\w.]+ \S+: .+")
POST = "POST /api/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
BODY = b'{"title": "x"}'
UNKNOWN = {"detail": "Not found."}


@pytest.fixture(scope="module")
def database_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = f"sqlite:///{tmp_path_factory.mktemp('database') / 'todo.sqlite3'}"
    migrate(url)
    return url


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("server") / "log"


@pytest.fixture(scope="module")
def address(database_url: str, log: Path) -> Iterator[str]:
    # More threads than any machine has cores, about which Granian would warn
    with server(log, DATABASE_URL=database_url, THREADS="1000") as address:
        yield address


def test_every_line_of_the_log_has_its_format_and_none_is_a_warning(address: str, log: Path) -> None:
    lines = log.read_text(encoding="utf-8").splitlines()
    assert all(LINE.fullmatch(line) for line in lines)
    assert [line for line in lines if f"Listening at: {address.replace('127.0.0.1', '0.0.0.0')}" in line]
    assert not [line for line in lines if " WARNING " in line]


@pytest.mark.posix  # On Windows, Granian runs one worker.
def test_the_variables_say_where_it_listens(database_url: str, tmp_path: Path) -> None:
    port = free_port()
    log = tmp_path / "log"
    variables = {"DATABASE_URL": database_url, "HOST": "127.0.0.1", "PORT": str(port), "WORKERS": "2"}
    with serving(serve_command(), port, log, variables):
        assert f"Listening at: http://127.0.0.1:{port}\n" in log.read_text(encoding="utf-8")
        assert "Spawning worker-2 " in log.read_text(encoding="utf-8")


def test_an_option_wins_over_its_variable(database_url: str, tmp_path: Path) -> None:
    port = free_port()
    log = tmp_path / "log"
    variables = {"DATABASE_URL": database_url, "HOST": "192.0.2.1", "PORT": "1", "WORKERS": "2"}
    with serving(serve_command(host="127.0.0.1", port=port, workers=1), port, log, variables):
        assert f"Listening at: http://127.0.0.1:{port}\n" in log.read_text(encoding="utf-8")
        assert "Spawning worker-2 " not in log.read_text(encoding="utf-8")


@pytest.mark.parametrize("threads", [1, 2])
def test_each_thread_answers_one_request_at_a_time(threads: int, database_url: str, tmp_path: Path) -> None:
    port = free_port()
    command = serve_command(port=port, threads=threads)
    with (
        serving(command, port, tmp_path / "log", {"DATABASE_URL": database_url, "THREADS": "16"}) as address,
        closing(sqlite3.connect(database_url.removeprefix("sqlite:///"), isolation_level=None)) as database,
        ExitStack() as stack,
    ):
        # A thread that creates a task waits for this lock.
        database.execute("BEGIN IMMEDIATE")
        clients = [stack.enter_context(connect(address)) for _ in range(threads)]
        for client in clients:
            assert get(port, "/healthz", timeout=10)[0] == 200
            client.sendall(f"{POST}Authorization: Bearer {TOKEN}\r\nContent-Length: 14\r\n\r\n".encode() + BODY)
        wait_until(lambda: get(port, "/healthz", timeout=0.5)[0] == 0, "no thread is free")
        database.execute("ROLLBACK")
        for client in clients:
            assert client.recv(65536).startswith(b"HTTP/1.1 201 ")


def test_the_unspecified_ipv6_address_serves_ipv4_and_ipv6(database_url: str, tmp_path: Path) -> None:
    port = free_port()
    with serving(serve_command(host="::", port=port), port, tmp_path / "log", {"DATABASE_URL": database_url}):
        for host in ("127.0.0.1", "[::1]"):
            assert request(f"http://{host}:{port}", "GET", "/api/nothing")[::2] == (404, UNKNOWN)


def test_it_stops_where_no_signal_wakes_the_main_thread(database_url: str, tmp_path: Path) -> None:
    """As on Windows."""
    with server(tmp_path / "log", DATABASE_URL=database_url, PYTHONPATH=WINDOWS) as address:
        assert request(address, "GET", "/api/nothing")[::2] == (404, UNKNOWN)


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1", "::"])
def test_a_port_in_use_is_one_line(host: str) -> None:
    with socket.create_server(("0.0.0.0", 0)) as other:
        port = other.getsockname()[1]
        result = run(serve_command(host=host, port=port), {})
    assert (result.returncode, result.stdout) == (1, "")
    [line] = result.stderr.splitlines()
    reason = os.strerror(errno.EADDRINUSE)
    assert line == f"CommandError: Cannot listen on {host}, port {port}: {reason}. Try another HOST or PORT."


def test_an_address_of_another_machine_is_one_line() -> None:
    result = run(serve_command(host="192.0.2.1", port=free_port()), {})
    assert result.returncode == 1
    [line] = result.stderr.splitlines()
    assert line.startswith("CommandError: Cannot listen on 192.0.2.1, port ")


@pytest.mark.parametrize(
    ("option", "value"), [("host", "localhost"), ("port", "0"), ("workers", "0"), ("threads", "x")]
)
def test_an_option_that_cannot_be_used_is_one_line(option: str, value: str) -> None:
    result = run(serve_command(**{option: value}), {})
    assert (result.returncode, result.stdout) == (1, "")
    [line] = result.stderr.splitlines()
    assert line.startswith(f"Configuration error: {option.upper()} must be ")


@pytest.mark.parametrize(("size", "status"), [(60_000, b"404"), (130_000, b"431")])
def test_the_head_of_a_request_is_bounded(size: int, status: bytes, address: str) -> None:
    head = b"GET /nothing HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"x" * size
    assert raw_request(address, head).startswith(b"HTTP/1.1 " + status)


@pytest.mark.posix  # On Windows, Granian has no metrics.
def test_granian_publishes_metrics_on_a_port_of_their_own(database_url: str, tmp_path: Path) -> None:
    port, metrics_port = free_port(), free_port()
    command = [*serve_command(port=port), f"--metrics-port={metrics_port}"]
    with serving(command, port, tmp_path / "log", {"DATABASE_URL": database_url}):
        metrics = raw_request(f"http://127.0.0.1:{metrics_port}", b"GET /metrics HTTP/1.1\r\nHost: localhost")
        assert b"\ngranian_workers_spawns 1\n" in metrics


@contextmanager
def started(port: int, log: Path, database_url: str) -> "Iterator[subprocess.Popen[bytes]]":
    """A server that a test stops itself."""
    variables = environment(DATABASE_URL=database_url)
    with log.open("wb") as output:
        process = subprocess.Popen(
            serve_command(port=port), cwd=settings.BASE_DIR, env=variables, stdout=output, stderr=output
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.mark.posix
def test_a_server_that_is_stopped_while_its_worker_starts_ends(database_url: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with started(free_port(), log, database_url) as process:
        wait_until(lambda: "Spawning worker-1" in log.read_text(encoding="utf-8"), "the worker starts")
        process.terminate()
        assert process.wait(timeout=10) == 0
    assert "Killing" not in log.read_text(encoding="utf-8")


@pytest.mark.posix
def test_a_request_that_does_not_end_is_cut_off_after_fifteen_seconds(database_url: str, tmp_path: Path) -> None:
    port = free_port()
    log = tmp_path / "log"
    with started(port, log, database_url) as process:
        wait_until(lambda: get(port, "/healthz")[0] == 200, "the server answers")
        with closing(connect(f"http://127.0.0.1:{port}")) as client:
            client.settimeout(30)
            client.sendall(f"{POST}Authorization: Bearer {TOKEN}\r\nContent-Length: 14\r\n\r\n".encode())
            start = time.monotonic()
            process.terminate()
            assert client.recv(65536) == b""
            assert 14 < time.monotonic() - start < 17
        assert process.wait(timeout=5) == 0
    assert "Killing this worker, because its requests have not ended in 15 s." in log.read_text(encoding="utf-8")


def test_without_a_limit_of_files_there_are_2048_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS can have no limit."""
    monkeypatch.setattr(os, "sysconf", lambda _name: -1, raising=False)
    assert max_connections() == 2048


@pytest.mark.posix
def test_connections_leave_half_of_the_files_for_the_database(database_url: str, tmp_path: Path) -> None:
    port = free_port()
    command = ["sh", "-c", 'ulimit -n 200; exec "$@"', "sh", *serve_command(port=port)]
    with (
        serving(command, port, tmp_path / "log", {"DATABASE_URL": database_url}) as address,
        ExitStack() as stack,
    ):
        kept = stack.enter_context(closing(HTTPConnection("127.0.0.1", port, timeout=5)))
        kept.request("GET", "/healthz")
        kept.getresponse().read()
        for _ in range(250):
            stack.enter_context(connect(address))
        wait_until(lambda: get(port, "/healthz", timeout=0.5)[0] == 0, "no further connection is accepted")
        for _ in range(10):
            kept.request("GET", "/api/tasks", headers=AUTHORIZATION)
            response = kept.getresponse()
            response.read()
            assert response.status == 200
