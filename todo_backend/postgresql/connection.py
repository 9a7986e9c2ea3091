"""Connections that do not wait for PostgreSQL without end, as psycopg's do."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from contextvars import ContextVar
from threading import Semaphore
from time import monotonic
from typing import Any

import psycopg
from django.conf import settings
from psycopg.abc import RV, PQGen

# Seconds for a turn while no thread gets one
TURN_WITHIN = 1
# Seconds; psycopg waits no less for an address.
SHORTEST_TIMEOUT = 2

# A time of `monotonic()` after which the thread no longer waits for an answer. Without one, as in commands, nothing is
# bounded.
deadline: ContextVar[float | None] = ContextVar("deadline", default=None)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Bounds what this thread waits for PostgreSQL's answers while the context lasts, cancelling included."""
    end = monotonic() + seconds
    token = deadline.set(min(end, deadline.get() or end))
    try:
        yield
    finally:
        deadline.reset(token)


class Turns:
    """How many threads may wait for the database at once.

    While turns change hands, the next thread waits for one. When for `TURN_WITHIN` seconds nobody has got one, the
    database hangs, and who needs a turn fails without waiting.
    """

    def __init__(self, count: int) -> None:
        self.free = Semaphore(count)
        self.taken_at = 0.0

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Raises `psycopg.OperationalError` where no turn is to be had."""
        if not self.free.acquire(timeout=max(0, self.taken_at + TURN_WITHIN - monotonic())):
            raise psycopg.OperationalError("too many requests wait for it already")
        self.taken_at = monotonic()
        try:
            yield
        finally:
            self.free.release()


turns = Turns(settings.DATABASE_TURNS)


class Connection(psycopg.Connection[Any]):
    """Waits for the end of a statement until `deadline` at most, and raises `psycopg.OperationalError`."""

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        end = deadline.get()
        if end is None:
            return super().wait(gen, interval, timeout)
        with turns.turn():
            seconds = max(0, end - monotonic())
            try:
                return super().wait(gen, interval, seconds * 3 / 4)
            except psycopg.errors._WaitTimeout:
                return self.cancel_and_wait(gen, seconds / 8)

    def cancel_and_wait(self, gen: PQGen[RV], seconds: float) -> RV:
        """Has the server cancel the statement, which then is known not to be done; else closes the connection."""
        with suppress(psycopg.Error):
            self.cancel_safe(timeout=seconds)
        try:
            return super().wait(gen, timeout=seconds)
        except psycopg.errors.QueryCanceled:
            raise psycopg.errors.QueryCanceled("no answer in time; the statement is cancelled") from None
        except psycopg.errors._WaitTimeout:
            self.close()
            raise psycopg.OperationalError("no answer in time") from None


def connect(**params: Any) -> Connection:
    """Connects to the first of the host's addresses that answers, within `connect_timeout` seconds in all.

    psycopg's own limit is for each of them. Raises `psycopg.OperationalError`.
    """
    timeout = params.pop("connect_timeout")
    *others, last = resolve(params)
    each = max(SHORTEST_TIMEOUT, timeout // (len(others) + 1)) if others else timeout
    end = monotonic() + timeout
    with turns.turn() if deadline.get() else nullcontext():
        for address in others:
            try:
                return Connection.connect(**params, **address, connect_timeout=each)
            except psycopg.OperationalError:
                if monotonic() + SHORTEST_TIMEOUT > end:
                    raise
        return Connection.connect(**params, **last, connect_timeout=each)


def resolve(params: dict[str, Any]) -> list[dict[str, Any]]:
    """libpq's parameters for each address of the host; none for a socket's folder."""
    host = params.get("host", "")
    if not host or host.startswith("/") or "hostaddr" in params:
        return [{}]
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as exc:
        raise psycopg.OperationalError(f"failed to resolve host {host!r}: {exc.strerror}") from exc
    return [{"hostaddr": address[0]} for *_, address in found]
