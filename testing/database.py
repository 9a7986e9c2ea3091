"""Another default database for a test."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.utils import ConnectionHandler

from todo_backend import environment


@contextmanager
def default_database(url: str) -> Iterator[None]:
    """Replaces this thread's default database, as `DATABASE_URL` would, while the context lasts."""
    own = connections[DEFAULT_DB_ALIAS]
    database = environment.database({"DATABASE_URL": url}, settings.BASE_DIR)
    other = ConnectionHandler({DEFAULT_DB_ALIAS: database})[DEFAULT_DB_ALIAS]
    connections[DEFAULT_DB_ALIAS] = other
    try:
        yield
    finally:
        connections[DEFAULT_DB_ALIAS] = own
        other.close()
