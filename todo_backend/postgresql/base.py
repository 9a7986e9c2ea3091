"""Django's PostgreSQL backend for a database across a network, which closes idle connections."""

import selectors
from time import monotonic
from typing import Any

from django.db.backends.postgresql import base
from psycopg.pq import TransactionStatus

from .connection import Connection, statement_timeout

# Seconds without use after which a firewall may have forgotten a connection without telling either side.
TRUSTED_FOR = 60
# Seconds for a connection to answer a `SELECT 1`. A new one takes about as long.
CHECK_TIMEOUT = 0.6

# select() fails on descriptors above 1023, and epoll takes longer to set up. Windows has only select(), unlimited.
Selector: type[selectors.BaseSelector] = getattr(selectors, "PollSelector", selectors.SelectSelector)


class DatabaseWrapper(base.DatabaseWrapper):
    alive_at = 0.0

    def connect(self) -> None:
        """Connects, or leaves no connection: Django would use one that failed before it was in autocommit mode."""
        try:
            super().connect()
        except BaseException:
            self.close()
            raise

    def get_new_connection(self, conn_params: dict[str, Any]) -> Connection:
        return Connection.connect(**conn_params)

    def init_connection_state(self) -> None:
        super().init_connection_state()
        self.alive_at = monotonic()

    def is_usable(self) -> bool:
        """Whether the connection lives. Django asks before it uses the connection again (`CONN_HEALTH_CHECKS`).

        A connection that was used within `TRUSTED_FOR` is checked without a round trip, by its socket. Never raises,
        because Django asks before the view, outside what answers errors.
        """
        trusted = not self.errors_occurred and monotonic() - self.alive_at < TRUSTED_FOR
        usable = (trusted and self.is_quiet()) or self.answers()
        if usable:
            self.alive_at = monotonic()
        return usable

    def is_quiet(self) -> bool:
        """Whether the socket is open, outside a transaction, and without the message that ends a connection."""
        if self.connection is None or self.connection.pgconn.transaction_status != TransactionStatus.IDLE:
            return False
        selector = Selector()
        selector.register(self.connection.pgconn.socket, selectors.EVENT_READ)
        return not selector.select(0)

    def answers(self) -> bool:
        """Whether a statement is answered in time. One that ends while it is being cancelled closes the connection."""
        with statement_timeout(CHECK_TIMEOUT):
            return super().is_usable() and not self.connection.closed
