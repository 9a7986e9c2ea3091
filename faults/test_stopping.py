"""The production server when it stops, or loses a worker, during requests."""

import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from testing.http import connect
from testing.processes import SECRET, empty_database, migrate, server
from testing.tokens import claims, sign

HEADERS = f"Host: localhost\r\nAuthorization: Bearer {sign(claims(), secret=SECRET)}\r\n"
GET = f"GET /api/tasks HTTP/1.1\r\n{HEADERS}\r\n".encode()
BODY = b'{"title": "Buy milk"}'
JSON = f"Content-Type: application/json\r\nContent-Length: {len(BODY)}\r\n"
POST = f"POST /api/tasks HTTP/1.1\r\n{HEADERS}{JSON}\r\n".encode()


@pytest.fixture(scope="module")
def database_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = empty_database(tmp_path_factory.mktemp("database"))
    migrate(url)
    return url


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def address(database_url: str, log: Path) -> Iterator[str]:
    with server(log, DATABASE_URL=database_url) as address:
        yield address


def main_process(log: Path) -> int:
    return int(re.findall(r"main PID: (\d+)", log.read_text())[0])


def worker(log: Path) -> int:
    """The process id of the newest worker."""
    return int(re.findall(r"worker-1 with PID: (\d+)", log.read_text())[-1])


def status(client: socket.socket) -> bytes:
    """The status line of the next answer, or nothing if the connection was closed without one."""
    return client.recv(65536).partition(b"\r\n")[0]


def statuses(client: socket.socket) -> list[bytes]:
    """The statuses of all answers until the connection is closed."""
    answers = b""
    while part := client.recv(65536):
        answers += part
    return re.findall(rb"HTTP/1.1 (\d+)", answers)


def wait_until_it_refuses_connections(address: str) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            connect(address).close()
        except ConnectionRefusedError:
            return
        time.sleep(0.01)
    raise AssertionError("the server still accepts connections")


def test_sigterm_finishes_running_requests(address: str, log: Path) -> None:
    with closing(connect(address)) as idle, closing(connect(address)) as client:
        idle.sendall(GET)
        assert status(idle) == b"HTTP/1.1 200 OK"
        client.sendall(POST)
        os.kill(main_process(log), signal.SIGTERM)
        wait_until_it_refuses_connections(address)
        client.sendall(BODY)
        assert statuses(client) == [b"201"]
    assert "Killing" not in log.read_text()


def test_sigterm_answers_requests_that_the_kernel_has_queued(address: str, log: Path) -> None:
    os.kill(worker(log), signal.SIGSTOP)
    clients = [connect(address) for _ in range(20)]
    for client in clients:
        client.sendall(GET)
    os.kill(main_process(log), signal.SIGTERM)
    os.kill(worker(log), signal.SIGCONT)
    assert [status(client) for client in clients] == [b"HTTP/1.1 200 OK"] * 20
    for client in clients:
        client.close()


def test_a_worker_that_dies_is_replaced(address: str, log: Path) -> None:
    killed = worker(log)
    os.kill(killed, signal.SIGKILL)
    wait_until_it_refuses_connections(address)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            client = connect(address)
        except ConnectionRefusedError:
            time.sleep(0.01)
            continue
        with closing(client):
            client.sendall(POST + BODY)
            assert status(client) == b"HTTP/1.1 201 Created"
        assert worker(log) != killed
        return
    raise AssertionError("no worker came back")
