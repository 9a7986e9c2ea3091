"""A request to a PostgreSQL that hangs ends after seconds, and frees its thread."""

import os
import re
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import psycopg
import pytest
from django.db import connection
from django.test import override_settings

from testing.client import Rows, UserClient
from testing.failures import UNAVAILABLE, UNKNOWN
from testing.http import JSON, at_once, request
from testing.processes import database_url, empty_postgresql, free_port, migrate, server
from testing.threads import start_request
from testing.timing import timed
from todo_backend.bodies import StrictJSONParser
from todo_backend.postgresql import base
from todo_backend.postgresql import connection as postgresql
from todo_backend.postgresql.connection import Connection, Slots, statement_timeout

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("as_served")]

# Seconds. Only an endless wait takes longer, even on a busy machine.
LONG = 20

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
    """Cancels a statement after 0.2 s, and leaves the server almost 20 s to confirm."""
    settings.DATABASE_TIMEOUT = LONG
    monkeypatch.setattr(postgresql, "CANCEL_AFTER", 0.2 / LONG)


@contextmanager
def locked_table(url: str) -> Iterator["psycopg.Connection[Any]"]:
    """Locks the table. Yields the connection that holds the lock."""
    with psycopg.connect(url) as administrator:
        administrator.execute("LOCK TABLE tasks_task")
        yield administrator


def waiting(administrator: "psycopg.Connection[Any]") -> int:
    """The number of statements that wait for a lock."""
    row = administrator.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone()
    return int(row[0]) if row else 0


def wait_until_waiting(administrator: "psycopg.Connection[Any]", count: int = 1) -> None:
    deadline = monotonic() + LONG
    while waiting(administrator) < count:
        assert monotonic() < deadline, f"fewer than {count} statements wait for the lock"
        sleep(0.01)


@contextmanager
def stopped_backend() -> Iterator[int]:
    """Stops the server's process of this connection while the context lasts. Yields its id."""
    process = connection.connection.info.backend_pid
    os.kill(process, signal.SIGSTOP)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGCONT)
        connection.close()


@pytest.fixture
def timeouts(monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """The timeouts that psycopg gets for statements, in their order."""
    recorded: list[float | None] = []
    wait = psycopg.Connection.wait

    def record(self: Any, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        recorded.append(timeout)
        return wait(self, gen, interval, timeout)

    monkeypatch.setattr(psycopg.Connection, "wait", record)
    return recorded


@pytest.mark.requirement("SC-004")
@pytest.mark.parametrize(("method", "suffix", "body"), REQUESTS)
def test_a_request_that_waits_for_a_lock_is_cancelled_and_may_be_repeated(
    method: str, suffix: str, body: Any, ada: UserClient, rows: Rows, cancelled_soon: None
) -> None:
    path = "/api/tasks" + suffix.format(id=ada.task()["id"])
    before = rows()
    with locked_table(database_url()) as administrator:
        response, seconds = timed(lambda: ada(method, path, body))
        assert seconds < LONG
        assert (response.status_code, response.json()) == (503, UNAVAILABLE)
        assert int(response["Retry-After"]) > 0
        assert waiting(administrator) == 0
    assert rows() == before
    assert ada(method, path, body).status_code < 300


@pytest.mark.posix
@pytest.mark.requirement("SC-004")
@pytest.mark.parametrize(("method", "suffix", "body"), REQUESTS)
def test_a_write_that_the_server_does_not_cancel_has_an_unknown_outcome(
    method: str, suffix: str, body: Any, ada: UserClient
) -> None:
    path = "/api/tasks" + suffix.format(id=ada.task()["id"])
    with stopped_backend(), override_settings(DATABASE_TIMEOUT=0.4):
        response, seconds = timed(lambda: ada(method, path, body))
    assert seconds < LONG
    assert (response.status_code, response.json()) == (503, UNAVAILABLE if method == "GET" else UNKNOWN)
    assert ("Retry-After" in response) == (method == "GET")
    assert ada("GET", "/api/tasks").status_code == 200


def test_a_statement_that_ends_while_it_is_cancelled_is_answered(
    ada: UserClient, rows: Rows, cancelled_soon: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection is closed, because a late cancellation could hit its next statement."""
    with locked_table(database_url()) as administrator:
        monkeypatch.setattr(Connection, "request_cancel", lambda _: administrator.rollback())
        response = ada("POST", "/api/tasks", {"title": "x"})
    assert response.status_code == 201
    assert connection.connection.closed
    assert [response.json()] == ada("GET", "/api/tasks").json()
    assert len(rows()) == 1


def test_each_statement_has_the_same_timeout(timeouts: list[float | None]) -> None:
    with connection.cursor() as cursor, statement_timeout(LONG):
        for _ in range(3):
            cursor.execute("SELECT 1")
    assert timeouts[-3:] == [LONG * postgresql.CANCEL_AFTER] * 3


def test_a_statement_of_a_command_has_no_timeout(timeouts: list[float | None]) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    assert timeouts[-1] is None


@pytest.mark.posix
def test_an_idle_connection_that_does_not_answer_is_replaced(ada: UserClient, monkeypatch: pytest.MonkeyPatch) -> None:
    ada("GET", "/api/tasks")
    now = monotonic()
    monkeypatch.setattr(base, "monotonic", lambda: now + base.CHECK_BY_STATEMENT_AFTER + 1)
    with stopped_backend():
        response, seconds = timed(lambda: ada("GET", "/api/tasks"))
    assert response.status_code == 200
    assert seconds < LONG


@pytest.mark.posix
def test_a_connection_that_answers_while_its_check_is_cancelled_is_replaced(
    ada: UserClient, cancelled_soon: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cancellation closes the connection."""
    ada("GET", "/api/tasks")
    now = monotonic()
    monkeypatch.setattr(base, "monotonic", lambda: now + base.CHECK_BY_STATEMENT_AFTER + 1)
    monkeypatch.setattr(base, "CHECK_TIMEOUT", LONG)
    with stopped_backend() as process:
        monkeypatch.setattr(Connection, "request_cancel", lambda _: os.kill(process, signal.SIGCONT))
        assert ada("POST", "/api/tasks", {"title": "x"}).status_code == 201
        assert connection.connection.info.backend_pid != process


def test_a_request_to_a_read_only_database_may_be_repeated(ada: UserClient, rows: Rows) -> None:
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
    """Each host name has eight addresses, all of this machine."""

    def getaddrinfo(*args: Any, **kwargs: Any) -> Any:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.0.{n}", 0)) for n in range(1, 9)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def test_an_address_that_accepts_and_does_not_answer_costs_the_connect_timeout(eight_addresses: None) -> None:
    """The other seven refuse immediately."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        start = monotonic()
        with pytest.raises(psycopg.OperationalError) as raised:
            Connection.connect(host="database.example", port=port, dbname="x", connect_timeout=2)
        assert 2 <= monotonic() - start < LONG
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


def test_a_request_without_a_slot_fails_immediately_while_the_database_hangs(
    ada: UserClient, settings: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings.DATABASE_TIMEOUT = 3 * LONG
    monkeypatch.setattr(postgresql, "SLOT_TIMEOUT", LONG)
    slots = Slots(1)
    monkeypatch.setattr(postgresql, "slots", slots)
    with locked_table(database_url()) as administrator:
        thread, answers = start_request(lambda: ada("GET", "/api/tasks"))
        wait_until_waiting(administrator)
        slots.taken_at = monotonic() - LONG
        for _ in range(2):
            response, seconds = timed(lambda: ada("POST", "/api/tasks", {"title": "x"}))
            assert (response.status_code, response.json()) == (503, UNAVAILABLE)
            assert int(response["Retry-After"]) > 0
            assert seconds < LONG
        assert answers == []
        assert [record.getMessage().partition("refused: ")[2] for record in caplog.records] == [
            "the database cannot be used: too many requests wait for the database already"
        ] * 2
        administrator.rollback()
        thread.join()
    assert [(response.status_code, response.json()) for response in answers] == [(200, [])]
    assert ada("GET", "/api/tasks").json() == []


def test_a_request_waits_for_a_slot_while_slots_change_hands(
    ada: UserClient, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DATABASE_TIMEOUT = 3 * LONG
    monkeypatch.setattr(postgresql, "slots", Slots(1))
    monkeypatch.setattr(postgresql, "SLOT_TIMEOUT", LONG)
    with locked_table(database_url()) as administrator:
        threads = [start_request(lambda: ada("POST", "/api/tasks", {"title": "x"})) for _ in range(3)]
        wait_until_waiting(administrator)
        assert waiting(administrator) == 1
        administrator.rollback()
        for thread, _ in threads:
            thread.join()
    assert [response.status_code for _, answers in threads for response in answers] == [201] * 3


class HeldSemaphore:
    """A semaphore that no thread can acquire. Its time passes only while a thread waits for it."""

    def __init__(self, slots: Slots, taken: list[float]) -> None:
        self.slots = slots
        # The times at which other threads take a slot.
        self.taken = taken
        self.now = 0.0

    def acquire(self, timeout: float) -> bool:
        self.now += timeout
        while self.taken and self.taken[0] <= self.now:
            self.slots.taken_at = self.taken.pop(0)
        return False


@pytest.mark.parametrize(
    ("taken", "end"), [([], 1), ([0.5], 1.5), ([0.5, 1.25, 2.0], 3), ([0.5, 1.75], 1.5), ([1.0, 2.0, 3.0, 4.0], 5)]
)
def test_a_thread_waits_until_no_slot_was_taken_for_a_second(
    taken: list[float], end: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    slots = Slots(1)
    semaphore = HeldSemaphore(slots, [*taken])
    monkeypatch.setattr(slots, "semaphore", semaphore)
    monkeypatch.setattr(postgresql, "monotonic", lambda: semaphore.now)
    with pytest.raises(psycopg.OperationalError, match="too many requests"), slots:
        pass
    assert semaphore.now == end


def test_connecting_takes_a_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql, "slots", Slots(0))
    with pytest.raises(psycopg.OperationalError, match="too many requests"):
        Connection.connect(database_url())


@pytest.mark.requirement("SC-004")
def test_a_connection_that_failed_halfway_is_not_kept(
    ada: UserClient, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be in a transaction: when it closes, acknowledged tasks would be lost."""

    class OneSlot(Slots):
        """Gives one slot, for connecting, and no other."""

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


def test_the_statement_timeout_does_not_include_reading_the_body(
    ada: UserClient, settings: Any, timeouts: list[float | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DATABASE_TIMEOUT = LONG
    parse = StrictJSONParser.parse

    def parse_slowly(*args: Any) -> Any:
        sleep(0.1)
        return parse(*args)

    monkeypatch.setattr(StrictJSONParser, "parse", parse_slowly)
    assert ada("POST", "/api/tasks", {"title": "x"}).status_code == 201
    assert timeouts[-1] == LONG * postgresql.CANCEL_AFTER


@pytest.mark.requirement("SC-004")
def test_while_the_database_hangs_one_thread_answers_probes(tmp_path: Path) -> None:
    url = empty_postgresql("hanging")
    migrate(url)
    log = tmp_path / "log"

    def create(number: int) -> Any:
        return timed(lambda: request(address, "POST", "/api/tasks", b'{"title": "x"}', **JSON))

    with server(log, DATABASE_URL=url) as address, ThreadPoolExecutor(1) as background:
        with locked_table(url) as administrator:
            creates = background.submit(at_once, 12, create)
            # Three of the server's four threads.
            wait_until_waiting(administrator, 3)
            for path, status in [("/healthz", 200), ("/healthz", 200), ("/readyz", 503), ("/api/tasks", 503)]:
                assert request(address, "GET", path)[0] == status, path
            assert not creates.done()
            answers = creates.result()
        for (status, headers, body), seconds in answers:
            assert (status, body, "retry-after" in headers) == (503, UNAVAILABLE, True)
            assert seconds < 10
        assert log.read_text(encoding="utf-8").count("the statement is cancelled") == 3
        assert request(address, "GET", "/api/tasks")[2] == []
