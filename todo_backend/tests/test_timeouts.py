"""A PostgreSQL that hangs costs a request seconds, and not its thread."""

import os
import re
import signal
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import psycopg
import pytest
from django.db import connection
from django.test import override_settings

from testing.failures import UNAVAILABLE, UNKNOWN
from testing.http import JSON, at_once, request
from testing.processes import database_url, empty_postgresql, free_port, manage, server
from testing.threads import start_request
from todo_backend.bodies import StrictJSONParser
from todo_backend.postgresql import base
from todo_backend.postgresql import connection as postgresql
from todo_backend.postgresql.connection import Connection, Slots, statement_timeout

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("as_served")]

# Seconds that only a thread which waits without end exceeds, however busy the machine is.
WITHOUT_END = 20

REQUESTS: list[tuple[str, str, Any]] = [
    ("GET", "", None),
    ("GET", "/{id}", None),
    ("POST", "", {"title": "x"}),
    ("PUT", "/{id}", {"title": "x"}),
    ("PATCH", "/{id}", {"title": "x"}),
    ("PATCH", "/{id}/complete", None),
    ("DELETE", "/{id}", None),
]


@pytest.fixture
def cancelled_soon(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A statement is cancelled after 0.2 s, and the server has nearly all of the timeout to do it."""
    settings.DATABASE_TIMEOUT = WITHOUT_END
    monkeypatch.setattr(postgresql, "CANCEL_AFTER", 0.2 / WITHOUT_END)


@contextmanager
def locked_table(url: str) -> Iterator["psycopg.Connection[Any]"]:
    """The administrator's connection that holds the lock."""
    with psycopg.connect(url) as administrator:
        administrator.execute("LOCK TABLE tasks_task")
        yield administrator


def waiting(administrator: "psycopg.Connection[Any]") -> int:
    """The number of statements that wait for a lock."""
    row = administrator.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone()
    return int(row[0]) if row else 0


def wait_until_waiting(administrator: "psycopg.Connection[Any]", count: int = 1) -> None:
    deadline = monotonic() + WITHOUT_END
    while waiting(administrator) < count:
        assert monotonic() < deadline, f"fewer than {count} statements wait for the lock"
        sleep(0.01)


@contextmanager
def stopped_backend() -> Iterator[int]:
    """The server's process for this connection, stopped while the context lasts; yields its id."""
    process = connection.connection.info.backend_pid
    os.kill(process, signal.SIGSTOP)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGCONT)
        connection.close()


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    start = monotonic()
    return call(), monotonic() - start


@pytest.mark.parametrize(("method", "suffix", "body"), REQUESTS)
def test_what_waits_for_a_lock_is_cancelled_and_may_be_tried_again(
    method: str, suffix: str, body: Any, ada: Any, rows: Any, cancelled_soon: None
) -> None:
    path = "/api/tasks" + suffix.format(id=ada.task()["id"])
    before = rows()
    with locked_table(database_url()) as administrator:
        response, seconds = timed(lambda: ada(method, path, body))
        assert seconds < WITHOUT_END
        assert (response.status_code, response.json()) == (503, UNAVAILABLE)
        assert int(response["Retry-After"]) > 0
        assert waiting(administrator) == 0
    assert rows() == before
    assert ada(method, path, body).status_code < 300


@pytest.mark.parametrize(("method", "suffix", "body"), REQUESTS)
def test_a_server_that_does_not_even_cancel_leaves_the_outcome_of_a_write_unknown(
    method: str, suffix: str, body: Any, ada: Any
) -> None:
    path = "/api/tasks" + suffix.format(id=ada.task()["id"])
    with stopped_backend(), override_settings(DATABASE_TIMEOUT=0.4):
        response, seconds = timed(lambda: ada(method, path, body))
    assert seconds < WITHOUT_END
    assert (response.status_code, response.json()) == (503, UNAVAILABLE if method == "GET" else UNKNOWN)
    assert ("Retry-After" in response) == (method == "GET")
    assert ada("GET", "/api/tasks").status_code == 200


def test_a_statement_that_ends_while_it_is_cancelled_has_its_answer(
    ada: Any, rows: Any, cancelled_soon: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connection is closed, because the request to cancel could arrive later and hit the next statement."""
    with locked_table(database_url()) as administrator:
        monkeypatch.setattr(Connection, "request_cancel", lambda _: administrator.rollback())
        response = ada("POST", "/api/tasks", {"title": "x"})
    assert response.status_code == 201
    assert connection.connection.closed
    assert [response.json()] == ada("GET", "/api/tasks").json()
    assert len(rows()) == 1


def test_each_statement_has_a_timeout_of_its_own() -> None:
    with statement_timeout(1.5), connection.cursor() as cursor:
        for _ in range(3):
            cursor.execute("SELECT pg_sleep(0.6)")


def test_a_command_waits_for_its_statements_without_a_timeout(settings: Any) -> None:
    settings.DATABASE_TIMEOUT = 0.1
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(0.3)")


def test_an_idle_connection_that_does_not_answer_is_replaced(ada: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ada("GET", "/api/tasks")
    now = monotonic()
    monkeypatch.setattr(base, "monotonic", lambda: now + base.TRUSTED_FOR + 1)
    with stopped_backend():
        response, seconds = timed(lambda: ada("GET", "/api/tasks"))
    assert response.status_code == 200
    assert seconds < WITHOUT_END


def test_a_connection_that_answers_while_its_check_is_cancelled_is_replaced(
    ada: Any, cancelled_soon: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cancellation closes it."""
    ada("GET", "/api/tasks")
    now = monotonic()
    monkeypatch.setattr(base, "monotonic", lambda: now + base.TRUSTED_FOR + 1)
    monkeypatch.setattr(base, "CHECK_TIMEOUT", WITHOUT_END)
    with stopped_backend() as process:
        monkeypatch.setattr(Connection, "request_cancel", lambda _: os.kill(process, signal.SIGCONT))
        assert ada("POST", "/api/tasks", {"title": "x"}).status_code == 201
        assert connection.connection.info.backend_pid != process


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


def test_an_address_that_accepts_and_does_not_answer_costs_the_connect_timeout(eight_addresses: None) -> None:
    """The other seven refuse at once."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        start = monotonic()
        with pytest.raises(psycopg.OperationalError) as raised:
            Connection.connect(host="database.example", port=port, dbname="x", connect_timeout=2)
        assert 2 <= monotonic() - start < WITHOUT_END
    assert "'127.0.0.1': connection timeout expired" in str(raised.value)


def test_every_address_of_a_host_and_every_host_of_a_list_is_tried(eight_addresses: None) -> None:
    for host in ("database.example", "127.0.0.1,127.0.0.8"):
        with pytest.raises(psycopg.OperationalError) as raised:
            Connection.connect(host=host, port=free_port(), dbname="x", connect_timeout=5)
        assert "127.0.0.1" in str(raised.value)
        assert "127.0.0.8" in str(raised.value)


@pytest.mark.parametrize("host", ["database.invalid", "database..invalid"])
def test_a_host_without_an_address_is_an_error_of_the_database(host: str) -> None:
    with pytest.raises(psycopg.OperationalError, match=re.escape(f"failed to resolve host '{host}'")):
        Connection.connect(host=host, dbname="x", connect_timeout=5)


def test_a_request_without_a_slot_fails_at_once_while_the_database_hangs(
    ada: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DATABASE_TIMEOUT = 3 * WITHOUT_END
    monkeypatch.setattr(postgresql, "slots", Slots(1))
    with locked_table(database_url()) as administrator:
        thread, answers = start_request(lambda: ada("GET", "/api/tasks"))
        wait_until_waiting(administrator)
        for is_first in (True, False):
            response, seconds = timed(lambda: ada("POST", "/api/tasks", {"title": "x"}))
            assert (response.status_code, response.json()) == (503, UNAVAILABLE)
            assert int(response["Retry-After"]) > 0
            assert is_first or seconds < postgresql.SLOT_TIMEOUT
        assert answers == []
        administrator.rollback()
        thread.join()
    assert [(response.status_code, response.json()) for response in answers] == [(200, [])]
    assert ada("GET", "/api/tasks").json() == []


def test_a_request_waits_for_a_slot_while_slots_change_hands(
    ada: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DATABASE_TIMEOUT = 3 * WITHOUT_END
    monkeypatch.setattr(postgresql, "slots", Slots(1))
    monkeypatch.setattr(postgresql, "SLOT_TIMEOUT", WITHOUT_END)
    with locked_table(database_url()) as administrator:
        threads = [start_request(lambda: ada("POST", "/api/tasks", {"title": "x"})) for _ in range(3)]
        wait_until_waiting(administrator)
        assert waiting(administrator) == 1
        administrator.rollback()
        for thread, _ in threads:
            thread.join()
    assert [response.status_code for _, answers in threads for response in answers] == [201] * 3


def test_connecting_takes_a_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql, "slots", Slots(0))
    with pytest.raises(psycopg.OperationalError, match="too many requests"):
        Connection.connect(database_url())


def test_a_connection_that_failed_halfway_is_not_kept(ada: Any, rows: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be in a transaction, in which acknowledged tasks are lost when it is closed."""

    class OneSlot(Slots):
        """One for connecting, and then none."""

        def __enter__(self) -> None:
            super().__enter__()
            monkeypatch.setattr(postgresql, "slots", Slots(0))

    ada("GET", "/api/tasks")
    connection.close()
    monkeypatch.setattr(postgresql, "slots", OneSlot(1))
    assert ada("POST", "/api/tasks", {"title": "refused"}).status_code == 503
    monkeypatch.undo()
    task = ada.task(title="acknowledged")
    connection.close()
    assert [(row["id"], row["title"]) for row in rows()] == [(task["id"], "acknowledged")]


def test_the_time_that_a_client_takes_for_a_body_is_not_the_databases(
    ada: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DATABASE_TIMEOUT = 1
    parse = StrictJSONParser.parse

    def parse_slowly(*args: Any) -> Any:
        sleep(settings.DATABASE_TIMEOUT)
        return parse(*args)

    monkeypatch.setattr(StrictJSONParser, "parse", parse_slowly)
    with locked_table(database_url()) as administrator:
        thread, answers = start_request(lambda: ada("POST", "/api/tasks", {"title": "x"}))
        wait_until_waiting(administrator)
        administrator.rollback()
        thread.join()
    assert [response.status_code for response in answers] == [201]


def test_more_requests_than_threads_that_wait_leave_one_to_answer_probes(tmp_path: Path) -> None:
    url = empty_postgresql("hanging")
    assert manage("migrate", DATABASE_URL=url).returncode == 0
    log = tmp_path / "log"

    def create(number: int) -> Any:
        return timed(lambda: request(address, "POST", "/api/tasks", b'{"title": "x"}', **JSON))

    with server(log, DATABASE_URL=url) as address, ThreadPoolExecutor(1) as background:
        with locked_table(url) as administrator:
            creates = background.submit(at_once, 12, create)
            # Of the server's four threads.
            wait_until_waiting(administrator, 3)
            for path, status in [("/healthz", 200), ("/healthz", 200), ("/readyz", 503), ("/api/tasks", 503)]:
                assert request(address, "GET", path)[0] == status, path
            assert not creates.done()
            answers = creates.result()
        for (status, headers, body), seconds in answers:
            assert (status, body, "retry-after" in headers) == (503, UNAVAILABLE, True)
            assert seconds < 10
        assert log.read_text().count("the statement is cancelled") == 3
        assert request(address, "GET", "/api/tasks")[2] == []
