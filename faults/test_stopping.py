"""The production server when it stops, or loses a worker, during requests."""

import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from django.conf import settings

from testing.http import connect
from testing.processes import (
    ON_TERMINAL,
    SECRET,
    empty_database,
    environment,
    free_port,
    migrate,
    server,
    wait_until_live,
)
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


class OnTerminal:
    """`make serve` on a terminal of its own, where it is a process group. Its output goes to `log`."""

    def __init__(self, log: Path, database_url: str) -> None:
        port = free_port()
        self.address = f"http://127.0.0.1:{port}"
        self.log = log
        self.terminal, inside = pty.openpty()
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-c", ON_TERMINAL, "make", "serve", f"PORT={port}"],
                cwd=settings.BASE_DIR,
                env=environment(DATABASE_URL=database_url, THREADS="4"),
                stdin=inside,
                stdout=output,
                stderr=output,
            )
        os.close(inside)
        wait_until_live(self.address, self.process, log)

    def stop(self, way: str) -> None:
        if way == "Ctrl-C":
            os.write(self.terminal, b"\x03")
        elif way == "group":
            os.killpg(self.process.pid, signal.SIGTERM)
        else:
            os.kill(main_process(self.log), signal.SIGTERM)

    def wait(self, seconds: float) -> None:
        self.process.wait(timeout=seconds)
        assert "Killing" not in self.log.read_text()

    def close(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        os.close(self.terminal)


WAYS = ["main process", "group", "Ctrl-C"]


@pytest.mark.parametrize("repetition", range(3))
@pytest.mark.parametrize("way", WAYS)
def test_an_idle_server_stops_in_three_seconds(way: str, repetition: int, log: Path, database_url: str) -> None:
    with closing(OnTerminal(log, database_url)) as served, closing(connect(served.address)) as idle:
        idle.sendall(GET)
        assert status(idle) == b"HTTP/1.1 200 OK"
        served.stop(way)
        served.wait(seconds=3)


@pytest.mark.parametrize("way", WAYS)
def test_a_server_that_stops_finishes_running_requests(way: str, log: Path, database_url: str) -> None:
    with closing(OnTerminal(log, database_url)) as served, closing(connect(served.address)) as client:
        client.sendall(POST)
        # A second request, whose answer shows that the server has read the first one
        with closing(connect(served.address)) as second:
            second.sendall(GET)
            assert status(second) == b"HTTP/1.1 200 OK"
        served.stop(way)
        wait_until_it_refuses_connections(served.address)
        client.sendall(BODY)
        assert statuses(client) == [b"201"]
        served.wait(seconds=3)


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
