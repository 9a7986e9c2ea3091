"""A connection that the server closed while it was idle is noticed, without a round trip for each request.

A connection is closed when its thread ends.
"""

import gc
import os
from contextlib import ExitStack
from pathlib import Path
from threading import Thread
from time import monotonic

import psycopg
import pytest
from django.db import connection

from testing.client import Logged, UserClient
from testing.http import request
from testing.processes import WINDOWS, database_url, server
from testing.servers import wait_until
from todo_backend.postgresql import base

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("as_served")]


def cut_all_others() -> None:
    with psycopg.connect(database_url()) as administrator:
        administrator.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )


def is_connected(process: int) -> bool:
    with psycopg.connect(database_url()) as administrator:
        return administrator.execute("SELECT FROM pg_stat_activity WHERE pid = %s", [process]).rowcount == 1


def test_a_connection_in_use_is_checked_without_a_statement(ada: UserClient, logged: Logged) -> None:
    ada("GET", "/api/tasks")
    with logged() as statements:
        for _ in range(5):
            assert ada("GET", "/api/tasks").status_code == 200
    assert [statement.split()[0] for statement in statements] == ["SELECT"] * 5


@pytest.mark.posix
def test_a_descriptor_above_1023_is_checked_without_a_statement(ada: UserClient, logged: Logged) -> None:
    """A server with many clients has such descriptors, which select() does not accept."""
    import resource  # Windows has no such module.

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    connection.close()
    with ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
        while stack.enter_context(open(os.devnull, "rb")).fileno() < 1024:
            pass
        ada("GET", "/api/tasks")
        assert connection.connection.pgconn.socket > 1023
        with logged() as statements:
            assert ada("GET", "/api/tasks").status_code == 200
        connection.close()
    assert len(statements) == 1


def test_connections_are_used_again_where_select_has_no_poll(tmp_path: Path) -> None:
    """As on Windows. More requests than the server has threads, so that one thread answers two."""
    with server(tmp_path / "log", DATABASE_URL=database_url(), THREADS="2", PYTHONPATH=WINDOWS) as address:
        assert [request(address, "GET", "/api/tasks")[0] for _ in range(3)] == [200] * 3
        assert request(address, "GET", "/readyz")[0] == 200


@pytest.mark.requirement("SC-004")
def test_a_connection_cut_while_idle_is_replaced_before_its_use(ada: UserClient) -> None:
    task = ada.task()
    path = f"/api/tasks/{task['id']}"
    for method, suffix, body, status in [
        ("GET", "", None, 200),
        ("PATCH", "", {"title": "x"}, 200),
        ("PATCH", "/complete", None, 200),
        ("DELETE", "", None, 204),
    ]:
        cut_all_others()
        assert ada(method, f"{path}{suffix}", body).status_code == status


def test_a_connection_closed_on_this_side_is_replaced(ada: UserClient) -> None:
    ada("GET", "/api/tasks")
    connection.connection.close()
    for _ in range(2):
        assert ada("GET", "/api/tasks").status_code == 200


def test_after_a_minute_or_an_error_a_connection_is_checked_by_a_statement(
    ada: UserClient, logged: Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    def count_of_statements() -> int:
        with logged() as statements:
            ada("GET", "/api/tasks")
        return len(statements)

    ada("GET", "/api/tasks")
    now = monotonic()
    monkeypatch.setattr(base, "monotonic", lambda: now + base.CHECK_BY_STATEMENT_AFTER + 1)
    assert [count_of_statements(), count_of_statements()] == [2, 1]
    connection.errors_occurred = True
    assert [count_of_statements(), count_of_statements()] == [2, 1]


def test_the_end_of_a_thread_closes_its_connection(ada: UserClient) -> None:
    processes: list[int] = []

    def ask() -> None:
        ada("GET", "/api/tasks")
        processes.append(connection.connection.info.backend_pid)

    gc.disable()
    try:
        thread = Thread(target=ask)
        thread.start()
        thread.join()
        wait_until(lambda: not is_connected(processes[0]), "PostgreSQL ends the connection's process")
    finally:
        gc.enable()
