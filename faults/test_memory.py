"""The memory of a worker while clients ask for the largest lists. `pytest -rP` shows the figures."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from testing.http import at_once, request
from testing.processes import SECRET
from testing.servers import megabytes, wait_until
from testing.tokens import claims, sign

from .servers import Backend, Nginx, Postgresql, make_certificate

TASKS_PER_USER = 1000
# Megabytes that docs/deployment.md promises for one worker with 16 threads and this limit
LIMIT = 512
AUTHORIZATION = f"Bearer {sign(claims('hopper'), secret=SECRET)}"
NAME = "todo.example.com"


@pytest.fixture(scope="module")
def largest_list(postgresql: Postgresql) -> Iterator[None]:
    """As many tasks as a user may have, each as large as a task can be. JSON needs six bytes for U+0001."""
    postgresql.execute(
        "todo",
        "INSERT INTO tasks_task (user_id, title, description, completed, created_at, updated_at)"
        " SELECT 'hopper', repeat(E'\\x01', 200), repeat(E'\\x01', 1000), false, now(), now()"
        f" FROM generate_series(1, {TASKS_PER_USER})",
    )
    yield
    postgresql.execute("todo", "DELETE FROM tasks_task WHERE user_id = 'hopper'")


@pytest.fixture
def server(folder: Path, postgresql: Postgresql, largest_list: None) -> Iterator[Backend]:
    hosts = f"{NAME},127.0.0.1"
    with Backend(folder, postgresql.todo_url(), TASKS_PER_USER=str(TASKS_PER_USER), ALLOWED_HOSTS=hosts) as server:
        yield server


def peak(server: Backend) -> float:
    [worker] = server.workers()
    used = megabytes(worker, "VmHWM")
    print(f"peak: {used:.0f} MB")
    return used


def test_every_thread_lists_the_largest_list_at_once(server: Backend) -> None:
    def list_tasks(_number: int) -> int:
        return len(request(f"http://127.0.0.1:{server.port}", "GET", "/api/tasks", Authorization=AUTHORIZATION)[2])

    for _ in range(3):
        assert at_once(15, list_tasks) == [TASKS_PER_USER] * 15
    assert peak(server) < LIMIT


def test_clients_behind_nginx_do_not_read_the_largest_list(server: Backend, folder: Path) -> None:
    certificate = make_certificate(folder, NAME)
    context = ssl.create_default_context(cafile=certificate.chain)
    head = f"GET /api/tasks HTTP/1.1\r\nHost: {NAME}\r\nAuthorization: {AUTHORIZATION}\r\n\r\n"
    with Nginx(folder, certificate, server) as nginx, ExitStack() as stack:
        for number in range(100):
            # From four addresses, because nginx limits the requests of one.
            source = (f"127.0.0.{1 + number // 25}", 0)
            plain = socket.create_connection(("127.0.0.1", nginx.port), timeout=60, source_address=source)
            client = stack.enter_context(context.wrap_socket(plain, server_hostname=NAME))
            client.sendall(head.encode())
        wait_until(lambda: server.log.read_text().count("GET /api/tasks 200") == 100, "all are answered", 120)
        assert peak(server) < LIMIT
