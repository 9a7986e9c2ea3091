"""A psycopg connection with a timeout for each statement. psycopg itself waits without limit."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from threading import BoundedSemaphore, Thread
from time import monotonic
from typing import Any, Self

import psycopg
from django.conf import settings
from psycopg.abc import RV, PQGen
from psycopg.pq import TransactionStatus

# The share of the timeout after which the server is asked to cancel the statement.
CANCEL_AFTER = 3 / 4
# Seconds. If no thread has taken a slot for so long, the database counts as hanging.
SLOT_TIMEOUT = 1

# Seconds. `None`, as in commands, is no limit.
seconds_per_statement: ContextVar[float | None] = ContextVar("seconds_per_statement", default=None)


@contextmanager
def statement_timeout(seconds: float) -> Iterator[None]:
    """Ends each statement of this thread within that many seconds while the context lasts."""
    previous = seconds_per_statement.set(seconds)
    try:
        yield
    finally:
        seconds_per_statement.reset(previous)


class Slots:
    """A semaphore for the threads that wait for the database.

    A thread waits for a slot while slots change hands. If no thread has taken one for `SLOT_TIMEOUT` seconds, the
    database counts as hanging, and each thread that needs a slot fails immediately with `psycopg.OperationalError`.
    """

    def __init__(self, count: int) -> None:
        self.semaphore = BoundedSemaphore(count)
        self.taken_at = 0.0

    def __enter__(self) -> None:
        while not self.semaphore.acquire(timeout=max(0, self.taken_at + SLOT_TIMEOUT - monotonic())):
            if monotonic() >= self.taken_at + SLOT_TIMEOUT:
                raise psycopg.OperationalError("too many requests wait for the database already")
        self.taken_at = monotonic()

    def __exit__(self, *error: object) -> None:
        self.semaphore.release()


slots = Slots(settings.DATABASE_SLOTS)


class Connection(psycopg.Connection[Any]):
    """Raises `psycopg.OperationalError` if a statement does not end within its timeout.

    If the server confirms that it cancelled the statement, nothing was changed, and the connection stays open.
    Otherwise it is closed.
    """

    @classmethod
    def connect(cls, conninfo: str = "", **params: Any) -> Self:
        """Connects to the first address that answers. `connect_timeout` is for each address."""
        with slots:
            try:
                return super().connect(conninfo, **params)
            except UnicodeError as exc:
                # Resolving a malformed host name raises UnicodeError, which psycopg does not convert.
                raise psycopg.OperationalError(f"failed to resolve host {params.get('host')!r}: {exc}") from exc

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        seconds = seconds_per_statement.get()
        if seconds is None:
            return super().wait(gen, interval, timeout)
        with slots:
            try:
                return super().wait(gen, interval, seconds * CANCEL_AFTER)
            except psycopg.OperationalError:
                # psycopg's exception for a timeout is private. After a timeout the statement is still active.
                if self.pgconn.transaction_status != TransactionStatus.ACTIVE:
                    raise
            return self.cancel_and_wait(gen, seconds * (1 - CANCEL_AFTER))

    def cancel_and_wait(self, gen: PQGen[RV], seconds: float) -> RV:
        """Asks the server to cancel the statement. Closes the connection unless the server confirms it.

        Otherwise a late cancellation could hit the connection's next statement.
        """
        Thread(target=self.request_cancel, daemon=True).start()
        try:
            result = super().wait(gen, timeout=seconds)
        except psycopg.errors.QueryCanceled:
            raise psycopg.errors.QueryCanceled("no answer in time; the statement is cancelled") from None
        except BaseException:
            self.close()
            raise
        self.close()
        return result

    def request_cancel(self) -> None:
        """Has its own thread and a long timeout: PgBouncer crashes if the client disconnects during a cancellation.

        See github.com/pgbouncer/pgbouncer/issues/801.
        """
        with suppress(psycopg.Error):
            self.cancel_safe(timeout=60)
