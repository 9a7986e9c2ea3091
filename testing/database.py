"""Another database in the place of the tests' own."""

from collections.abc import Iterator
from contextlib import contextmanager

import dj_database_url
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.utils import ConnectionHandler


@contextmanager
def default_database(url: str) -> Iterator[None]:
    """While the context lasts, this thread has that default database, as a process with this `DATABASE_URL` would."""
    own = connections[DEFAULT_DB_ALIAS]
    other = ConnectionHandler({DEFAULT_DB_ALIAS: dj_database_url.parse(url)})[DEFAULT_DB_ALIAS]
    connections[DEFAULT_DB_ALIAS] = other
    try:
        yield
    finally:
        connections[DEFAULT_DB_ALIAS] = own
        other.close()
