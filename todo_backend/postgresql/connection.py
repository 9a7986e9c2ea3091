"""Connections that do not wait for PostgreSQL without end, as psycopg's do."""

import socket
from contextlib import suppress
from contextvars import ContextVar
from queue import Empty, SimpleQueue
from threading import Thread
from time import monotonic
from typing import Any

import psycopg
from django.conf import settings
from psycopg.abc import RV, PQGen

# All in seconds. For a turn while no thread gets one:
TURN_WITHIN = 1
# Less than this psycopg does not wait for an address.
SHORTEST_TIMEOUT = 2
# For a statement of a request that has used up its time, and for a request to cancel one.
LEAST_WAIT = 0.4
CANCEL_WITHIN = 60


class Budget:
    """Seconds that a thread may still wait for PostgreSQL."""

    def __init__(self, seconds: float) -> None:
        self.left = seconds


# Without one, as in commands, nothing is bounded.
budget: ContextVar[Budget | None] = ContextVar("budget", default=None)


class Within:
    """Bounds what this thread waits for PostgreSQL while the context lasts, in all and cancelling included."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __enter__(self) -> None:
        self.outer = budget.get()
        self.start = min(self.seconds, self.outer.left) if self.outer else self.seconds
        self.inner = Budget(self.start)
        self.token = budget.set(self.inner)

    def __exit__(self, *error: object) -> None:
        budget.reset(self.token)
        if self.outer:
            self.outer.left -= self.start - self.inner.left


class Turns:
    """How many threads may wait for the database at once.

    While turns change hands, the next thread waits for one. When for `TURN_WITHIN` seconds nobody has got one, the
    database hangs, and who needs a turn fails without waiting.
    """

    def __init__(self, count: int) -> None:
        # Which is in C, as a semaphore is not, and each statement takes a turn.
        self.free: SimpleQueue[None] = SimpleQueue()
        for _ in range(count):
            self.give_back()
        self.taken_at = 0.0

    def take(self) -> None:
        """Raises `psycopg.OperationalError` where no turn is to be had."""
        try:
            self.free.get(timeout=max(0, self.taken_at + TURN_WITHIN - monotonic()))
        except Empty:
            raise psycopg.OperationalError("too many requests wait for it already") from None
        self.taken_at = monotonic()

    def give_back(self) -> None:
        self.free.put(None)


turns = Turns(settings.DATABASE_SLOTS)


class Waiting:
    """A turn to wait for PostgreSQL; the context is the seconds that are left for it, `None` for no limit."""

    def __enter__(self) -> float | None:
        self.budget = budget.get()
        if self.budget is None:
            return None
        self.start = monotonic()
        self.turns = turns
        try:
            self.turns.take()
        finally:
            left = self.spend(self.budget)
        # Something, so that there is time to cancel.
        return max(LEAST_WAIT, left)

    def __exit__(self, *error: object) -> None:
        if self.budget is not None:
            self.turns.give_back()
            self.spend(self.budget)

    def spend(self, limit: Budget) -> float:
        """Takes from the budget what has passed; returns what is left."""
        start, self.start = self.start, monotonic()
        limit.left -= self.start - start
        return limit.left


class Connection(psycopg.Connection[Any]):
    """Waits for the end of a statement as long as the thread's budget allows, then raises `OperationalError`."""

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        with Waiting() as seconds:
            if seconds is None:
                return super().wait(gen, interval, timeout)
            try:
                return super().wait(gen, interval, seconds * 3 / 4)
            except psycopg.errors._WaitTimeout:
                return self.cancel_and_wait(gen, seconds / 4)

    def cancel_and_wait(self, gen: PQGen[RV], seconds: float) -> RV:
        """Has the server cancel the statement, which then is known not to be done; else closes the connection."""
        Thread(target=self.request_cancel, daemon=True).start()
        try:
            result = super().wait(gen, timeout=seconds)
        except psycopg.errors.QueryCanceled:
            raise psycopg.errors.QueryCanceled("no answer in time; the statement is cancelled") from None
        except psycopg.errors._WaitTimeout:
            self.close()
            raise psycopg.OperationalError("no answer in time") from None
        # It ended by itself, and the cancellation may still be on its way to hit the next one.
        self.close()
        return result

    def request_cancel(self) -> None:
        """Waits for longer than the statement's own thread: PgBouncer dies when who asked leaves before it is done.

        See github.com/pgbouncer/pgbouncer/issues/801.
        """
        with suppress(psycopg.Error):
            self.cancel_safe(timeout=CANCEL_WITHIN)


def connect(**params: Any) -> Connection:
    """Connects to the first of the host's addresses that answers, within `connect_timeout` seconds in all.

    psycopg's own limit is for each of them, and at least `SHORTEST_TIMEOUT`; a second one gets that, too. Raises
    `psycopg.OperationalError`.
    """
    timeout = params.pop("connect_timeout")
    with Waiting():
        *others, last = resolve(params)
        each = max(SHORTEST_TIMEOUT, timeout // (len(others) + 1)) if others else timeout
        end = monotonic() + max(timeout, 2 * SHORTEST_TIMEOUT)
        for address in others:
            try:
                return Connection.connect(**params, **address, connect_timeout=each)
            except psycopg.OperationalError:
                if monotonic() + SHORTEST_TIMEOUT > end:
                    raise
        return Connection.connect(**params, **last, connect_timeout=each)


def resolve(params: dict[str, Any]) -> list[dict[str, Any]]:
    """libpq's parameters for each address of the host; none for a socket's folder and where psycopg splits a list."""
    host = params.get("host", "")
    if not host or host.startswith("/") or "," in host or "hostaddr" in params:
        return [{}]
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        raise psycopg.OperationalError(f"failed to resolve host {host!r}: {exc}") from exc
    return [{"hostaddr": address[0]} for *_, address in found]
