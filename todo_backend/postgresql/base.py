"""Django's PostgreSQL backend, for a database that is a network away and closes what sits idle."""

import select
from time import monotonic
from typing import Any

from django.db.backends.postgresql import base
from psycopg.pq import TransactionStatus

from .connection import Connection, Within, connect

# Seconds; a firewall between forgets a connection without a word, though not one that is in use.
TRUSTED_FOR = 60
# Seconds, after which a connection is rather made anew
CHECKED_WITHIN = 0.6


class DatabaseWrapper(base.DatabaseWrapper):
    alive_at = 0.0

    def connect(self) -> None:
        """Connects, or leaves no connection: one that fails halfway is not in autocommit, which Django does not see."""
        try:
            super().connect()
        except BaseException:
            self.close()
            raise

    def get_new_connection(self, conn_params: dict[str, Any]) -> Connection:
        return connect(**conn_params)

    def init_connection_state(self) -> None:
        super().init_connection_state()
        self.alive_at = monotonic()

    def is_usable(self) -> bool:
        """Whether the connection lives, which Django asks before it uses one again (`CONN_HEALTH_CHECKS`).

        Without a round trip where it was used within `TRUSTED_FOR` and its socket has nothing to read: what ends a
        connection sends something first. Never raises, because Django asks before anything that could answer.
        """
        trusted = not self.errors_occurred and monotonic() - self.alive_at < TRUSTED_FOR
        usable = bool(trusted and self.is_quiet()) or self.answers()
        if usable:
            self.alive_at = monotonic()
        return usable

    def is_quiet(self) -> bool:
        """Whether the socket is open and has nothing to read, outside a transaction, which may have failed."""
        if self.connection is None or self.connection.pgconn.transaction_status != TransactionStatus.IDLE:
            return False
        poll = select.poll()
        poll.register(self.connection.pgconn.socket, select.POLLIN)
        return not poll.poll(0)

    def answers(self) -> bool:
        with Within(CHECKED_WITHIN):
            return super().is_usable()
