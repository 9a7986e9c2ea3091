"""A psycopg connection that bounds how long a request waits for PostgreSQL, which psycopg itself does not."""

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

# The share of a statement's time after which the server is asked to cancel it.
CANCEL_AFTER = 3 / 4
# Seconds without a free slot after which the database counts as hanging.
SLOT_TIMEOUT = 1

# Without a value, as in commands, a statement may take any time.
seconds_per_statement: ContextVar[float | None] = ContextVar("seconds_per_statement", default=None)


@contextmanager
def statement_timeout(seconds: float) -> Iterator[None]:
    """Ends each statement of this thread within that many seconds while the context lasts."""
    token = seconds_per_statement.set(seconds)
    try:
        yield
    finally:
        seconds_per_statement.reset(token)


class Slots:
    """A semaphore for the threads that wait for the database.

    While slots change hands, the next thread waits for one. When nobody has taken one for `SLOT_TIMEOUT` seconds, the
    database hangs, and a thread that needs a slot fails at once with `psycopg.OperationalError`.
    """

    def __init__(self, count: int) -> None:
        self.semaphore = BoundedSemaphore(count)
        self.taken_at = 0.0

    def __enter__(self) -> None:
        if not self.semaphore.acquire(timeout=max(0, self.taken_at + SLOT_TIMEOUT - monotonic())):
            raise psycopg.OperationalError("too many requests wait for the database already")
        self.taken_at = monotonic()

    def __exit__(self, *error: object) -> None:
        self.semaphore.release()


slots = Slots(settings.DATABASE_SLOTS)


class Connection(psycopg.Connection[Any]):
    """Raises `psycopg.OperationalError` for a statement that does not end within the `statement_timeout`.

    The connection then is open if the server has cancelled the statement, which has changed nothing, and else closed.
    """

    @classmethod
    def connect(cls, conninfo: str = "", **params: Any) -> Self:
        """Connects to the first address that answers; `connect_timeout` bounds the wait for each of them."""
        with slots:
            try:
                return super().connect(conninfo, **params)
            except UnicodeError as exc:
                # The look-up of a malformed host name raises it, and psycopg lets it pass.
                raise psycopg.OperationalError(f"failed to resolve host {params.get('host')!r}: {exc}") from exc

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        seconds = seconds_per_statement.get()
        if seconds is None:
            return super().wait(gen, interval, timeout)
        with slots:
            try:
                return super().wait(gen, interval, seconds * CANCEL_AFTER)
            except psycopg.OperationalError:
                # The statement still runs after a timeout, the exception for which is private to psycopg.
                if self.pgconn.transaction_status != TransactionStatus.ACTIVE:
                    raise
            return self.cancel_and_wait(gen, seconds * (1 - CANCEL_AFTER))

    def cancel_and_wait(self, gen: PQGen[RV], seconds: float) -> RV:
        """Has the server cancel the statement, and closes the connection if the statement ends in any other way.

        The request to cancel may then still be on its way, and would hit the connection's next statement.
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
        """Runs in a thread of its own, because PgBouncer dies when the client leaves before it has cancelled.

        See github.com/pgbouncer/pgbouncer/issues/801.
        """
        with suppress(psycopg.Error):
            self.cancel_safe(timeout=60)
