"""A PostgreSQL that hangs costs a request seconds, and not its thread."""

import os
import re
import signal
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import psycopg
import pytest
from django.db import connection

from testing.failures import UNAVAILABLE, UNKNOWN, in_thread
from testing.http import JSON, at_once, request
from testing.processes import database_url, empty_postgresql, free_port, manage, server
from todo_backend.bodies import StrictJSONParser
from todo_backend.postgresql import base
from todo_backend.postgresql import connection as postgresql
from todo_backend.postgresql.connection import connect

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("as_served")]

TIMEOUT = 1.2

REQUESTS: list[tuple[str, str, Any]] = [
    ("GET", "", None),
    ("GET", "/{id}", None),
    ("POST", "", {"title": "x"}),
    ("PUT", "/{id}", {"title": "x"}),
    ("PATCH", "/{id}", {"title": "x"}),
    ("PATCH", "/{id}/complete", None),
    ("DELETE", "/{id}", None),
]


@pytest.fixture(autouse=True)
def short_timeout(settings: Any) -> None:
    settings.DATABASE_TIMEOUT = TIMEOUT


@contextmanager
def locked_table(url: str) -> Iterator["psycopg.Connection[Any]"]:
    with psycopg.connect(url) as administrator:
        administrator.execute("LOCK TABLE tasks_task")
        yield administrator


@contextmanager
def stopped_backend() -> Iterator[None]:
    """The server's process for this connection, stopped while the context lasts."""
    process = connection.connection.info.backend_pid
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)
        connection.close()


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    start = monotonic()
    return call(), monotonic() - start


@pytest.mark.parametrize(("method", "suffix", "body"), REQUESTS)
def test_what_waits_for_a_lock_is_cancelled_and_may_be_tried_again(
    method: str, suffix: str, body: Any, ada: Any, rows: Any
) -> None:
    path = "/api/tasks" + suffix.format(id=ada.task()["id"])
    before = rows()
    with locked_table(database_url()) as administrator:
        response, seconds = timed(lambda: ada(method, path, body))
        assert seconds < TIMEOUT
        assert (response.status_code, response.json()) == (503, UNAVAILABLE)
        assert int(response["Retry-After"]) > 0
        waiting = administrator.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone()
        assert waiting == (0,)
    assert rows() == before
    assert ada(method, path, body).status_code < 300


@pytest.mark.parametrize(("method", "suffix", "body"), REQUESTS)
def test_a_server_that_does_not_even_cancel_leaves_the_outcome_of_a_write_unknown(
    method: str, suffix: str, body: Any, ada: Any
) -> None:
    path = "/api/tasks" + suffix.format(id=ada.task()["id"])
    with stopped_backend():
        response, seconds = timed(lambda: ada(method, path, body))
    assert seconds < TIMEOUT + 0.5
    assert (response.status_code, response.json()) == (503, UNAVAILABLE if method == "GET" else UNKNOWN)
    assert ("Retry-After" in response) == (method == "GET")
    assert ada("GET", "/api/tasks").status_code == 200


def test_an_idle_connection_that_does_not_answer_is_replaced(ada: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ada("GET", "/api/tasks")
    now = monotonic()
    monkeypatch.setattr(base, "monotonic", lambda: now + base.TRUSTED_FOR + 1)
    with stopped_backend():
        response, seconds = timed(lambda: ada("GET", "/api/tasks"))
    assert response.status_code == 200
    assert seconds < 1


def test_a_database_that_is_read_only_may_be_tried_again(ada: Any, rows: Any) -> None:
    path = f"/api/tasks/{ada.task()['id']}"
    before = rows()
    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = on")
        response = ada("PATCH", path, {"title": "x"})
        assert (response.status_code, response.json()) == (503, UNAVAILABLE)
        assert int(response["Retry-After"]) > 0
        assert ada("GET", path).status_code == 200
        cursor.execute("SET default_transaction_read_only = off")
    assert rows() == before


@pytest.fixture
def eight_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every host has them, all on this machine."""

    def getaddrinfo(*args: Any, **kwargs: Any) -> Any:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.0.{n}", 0)) for n in range(1, 9)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def test_connecting_takes_five_seconds_however_many_addresses_a_host_has(eight_addresses: None) -> None:
    with socket.create_server(("", 0)) as silent:
        port = silent.getsockname()[1]
        start = monotonic()
        with pytest.raises(psycopg.OperationalError):
            connect(host="database.example", port=port, dbname="x", connect_timeout=5)
        assert monotonic() - start < 5.5


@pytest.mark.parametrize("host", ["database.invalid", "database..invalid"])
def test_a_host_without_an_address_is_an_error_of_the_database(host: str) -> None:
    with pytest.raises(psycopg.OperationalError, match=re.escape(f"failed to resolve host '{host}'")):
        connect(host=host, dbname="x", connect_timeout=5)


@pytest.mark.parametrize("timeout", [1, 5])
def test_the_second_address_is_tried_and_a_list_of_hosts_is_libpqs(timeout: int, eight_addresses: None) -> None:
    for host in ("database.example", "127.0.0.1,127.0.0.8"):
        with pytest.raises(psycopg.OperationalError, match=re.escape("127.0.0.8")):
            connect(host=host, port=free_port(), dbname="x", connect_timeout=timeout)


def test_who_gets_no_turn_while_the_database_hangs_fails_at_once(
    ada: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DATABASE_TIMEOUT = 4
    monkeypatch.setattr(postgresql, "turns", postgresql.Turns(1))
    with locked_table(database_url()):
        thread, answers = in_thread(lambda: ada("GET", "/api/tasks"))
        sleep(0.2)
        for limit in (1, 0.2):
            response, seconds = timed(lambda: ada("POST", "/api/tasks", {"title": "x"}))
            assert (response.status_code, response.json()) == (503, UNAVAILABLE)
            assert int(response["Retry-After"]) > 0
            assert seconds < limit
        thread.join()
    assert [response.status_code for response in answers] == [503]
    assert ada("GET", "/api/tasks").json() == []


def test_a_connection_that_failed_halfway_is_not_kept(ada: Any, rows: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be in a transaction, in which acknowledged tasks are lost when it is closed."""

    class OneTurn(postgresql.Turns):
        """One, and then none."""

        def take(self) -> None:
            monkeypatch.setattr(postgresql, "turns", postgresql.Turns(0))

    ada("GET", "/api/tasks")
    connection.close()
    monkeypatch.setattr(postgresql, "turns", OneTurn(1))
    assert ada("POST", "/api/tasks", {"title": "refused"}).status_code == 503
    monkeypatch.undo()
    task = ada.task(title="acknowledged")
    connection.close()
    assert [(row["id"], row["title"]) for row in rows()] == [(task["id"], "acknowledged")]


def test_the_time_that_a_client_takes_for_a_body_is_not_the_databases(
    ada: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    parse = StrictJSONParser.parse

    def parse_slowly(*args: Any) -> Any:
        sleep(TIMEOUT)
        return parse(*args)

    monkeypatch.setattr(StrictJSONParser, "parse", parse_slowly)
    with locked_table(database_url()) as administrator:
        thread, answers = in_thread(lambda: ada("POST", "/api/tasks", {"title": "x"}))
        sleep(TIMEOUT + 0.4)
        administrator.rollback()
        thread.join()
    assert [response.status_code for response in answers] == [201]


def test_a_statement_that_ends_while_it_is_cancelled_has_its_answer(settings: Any, ada: Any, rows: Any) -> None:
    settings.DATABASE_TIMEOUT = 4
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_read_file('postmaster.pid')")
        postmaster = int(cursor.fetchone()[0].split()[0])
    with locked_table(database_url()) as administrator:
        thread, answers = in_thread(lambda: ada("POST", "/api/tasks", {"title": "x"}))
        sleep(0.5)
        # Who would cancel it.
        os.kill(postmaster, signal.SIGSTOP)
        sleep(2.7)
        administrator.rollback()
        thread.join()
        os.kill(postmaster, signal.SIGCONT)
    assert [response.json() for response in answers] == ada("GET", "/api/tasks").json()
    assert len(rows()) == 1


def test_more_requests_than_threads_that_wait_leave_one_to_answer_probes(tmp_path: Path) -> None:
    url = empty_postgresql("hanging")
    assert manage("migrate", DATABASE_URL=url).returncode == 0

    def create(number: int) -> Any:
        return timed(lambda: request(address, "POST", "/api/tasks", b'{"title": "x"}', **JSON))

    def get(path: str) -> Any:
        return timed(lambda: request(address, "GET", path)[0])

    with server(tmp_path / "log", DATABASE_URL=url) as address, ThreadPoolExecutor(1) as background:
        with locked_table(url):
            creates = background.submit(at_once, 12, create)
            sleep(0.5)
            # The first waits for a thread that waits for a turn.
            for path, status, limit in [
                ("/healthz", 200, 1.5),
                ("/healthz", 200, 0.5),
                ("/readyz", 503, 0.5),
                ("/api/tasks", 503, 0.5),
            ]:
                answer, seconds = get(path)
                assert (answer, seconds < limit) == (status, True), (path, seconds)
            answers = creates.result()
        for (status, headers, body), seconds in answers:
            assert (status, body, "retry-after" in headers) == (503, UNAVAILABLE, True)
            assert seconds < 10
        # Of the server's four threads.
        assert sum(seconds > 2 for _, seconds in answers) == 3
        assert request(address, "GET", "/api/tasks")[2] == []
