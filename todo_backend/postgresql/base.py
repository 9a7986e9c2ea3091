"""Django's PostgreSQL backend, for a remote database that closes idle connections."""

import selectors
from threading import local
from time import monotonic
from typing import Any

from django.db import OperationalError
from django.db.backends.postgresql import base
from psycopg.pq import TransactionStatus

from .connection import Connection, statement_timeout

# Seconds without use after which a firewall may have dropped a connection without telling either side.
CHECK_BY_STATEMENT_AFTER = 60
# Seconds for a connection to answer a `SELECT 1`. A new one takes about as long.
CHECK_TIMEOUT = 0.6

# poll() where there is one: select() fails on descriptors above 1023, and epoll costs more to set up. Windows has only
# select(), without that limit.
Selector: type[selectors.BaseSelector] = getattr(selectors, "PollSelector", selectors.SelectSelector)


class Closer:
    """Closes the connection when this object is deleted."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def __del__(self) -> None:
        self.connection.close()


class DatabaseWrapper(base.DatabaseWrapper):
    checked_at = 0.0

    def connect(self) -> None:
        """Connects. Closes a connection that failed halfway, which Django would use outside autocommit mode."""
        try:
            super().connect()
        except BaseException:
            self.close()
            raise

    def get_new_connection(self, conn_params: dict[str, Any]) -> Connection:
        """Connects with our class. The connection is closed when this thread ends.

        Granian ends threads that have been idle for 30 seconds. Django's own reference cycles would keep their
        connections open until a full garbage collection: bursts 33 seconds apart left 46 connections with 16 threads.

        Django's method also handles the options `isolation_level` and `pool`, which `DATABASE_URL` refuses.
        """
        connection = Connection.connect(**conn_params)
        # Python deletes the attributes of a `local` when the thread that set them ends.
        self.thread_resources = local()
        self.thread_resources.closer = Closer(connection)
        return connection

    def init_connection_state(self) -> None:
        """Sets up a new connection. Sends a statement only if the role or the database has unusual settings."""
        self.refuse_encoding()
        super().init_connection_state()
        self.ensure_datestyle()
        self.checked_at = monotonic()

    def refuse_encoding(self) -> None:
        """Raises `OperationalError` unless the database's encoding is UTF8.

        SQL_ASCII counts bytes in place of characters, so it refuses titles that are short enough. The other encodings
        lack characters. PgBouncer passes the encoding on; a pooler that does not is trusted.
        """
        encoding = self.connection.info.parameter_status("server_encoding")
        if encoding not in ("UTF8", None):
            raise OperationalError(f"the encoding of the database is {encoding}; it must be UTF8")

    def ensure_datestyle(self) -> None:
        """Sets the style ISO, the only one in which psycopg reads times. PgBouncer keeps it, as it keeps `TimeZone`."""
        style = self.connection.info.parameter_status("DateStyle")
        if style and not style.startswith("ISO"):
            self.connection.execute("SET datestyle TO ISO")

    def is_usable(self) -> bool:
        """Whether the connection works. Django asks before it uses a connection again (`CONN_HEALTH_CHECKS`).

        If it was checked within `CHECK_BY_STATEMENT_AFTER` seconds, its socket is checked, without a round trip. Never
        raises, because after an error Django asks before the view, where no error is answered.
        """
        check_socket = not self.errors_occurred and monotonic() - self.checked_at < CHECK_BY_STATEMENT_AFTER
        usable = (check_socket and self.socket_is_quiet()) or self.answers_in_time()
        if usable:
            self.checked_at = monotonic()
        return usable

    def socket_is_quiet(self) -> bool:
        """Whether the connection is open and idle, and has no message: the server sends one when it closes it."""
        if self.connection is None or self.connection.pgconn.transaction_status != TransactionStatus.IDLE:
            return False
        selector = Selector()
        selector.register(self.connection.pgconn.socket, selectors.EVENT_READ)
        return not selector.select(0)

    def answers_in_time(self) -> bool:
        """Whether the server answers a statement in time. One that ends while it is cancelled closes the connection."""
        with statement_timeout(CHECK_TIMEOUT):
            return super().is_usable() and not self.connection.closed
