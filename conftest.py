import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.core.signals import request_started
from django.db import close_old_connections, connection

from tasks.models import Task
from testing.client import User
from testing.postgresql import LOG_NAME


def pytest_configure() -> None:
    # A shell starts a background job with SIGINT ignored, and the processes that the tests interrupt would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def ada() -> User:
    return User("ada")


@pytest.fixture
def bob() -> User:
    return User("bob")


@pytest.fixture
def rows() -> Any:
    """All rows as they are in the database, to be taken before and after."""
    return lambda: list(Task.objects.order_by("id").values())


@pytest.fixture
def as_served() -> Iterator[None]:
    """Old connections are looked at when a request starts, which Django's test client leaves out by their name."""

    def look_at_old_connections(**kwargs: object) -> None:
        close_old_connections()

    request_started.connect(look_at_old_connections)
    yield
    request_started.disconnect(look_at_old_connections)


@pytest.fixture
def logged() -> Callable[[], Any]:
    """PostgreSQL's own log: `with logged() as statements`."""
    with connection.cursor() as cursor:
        cursor.execute("SHOW data_directory")
        log = Path(cursor.fetchone()[0]).parent / LOG_NAME

    @contextmanager
    def statements() -> Iterator[list[str]]:
        """Statements that the server logged while the context lasted."""
        start = log.stat().st_size
        found: list[str] = []
        yield found
        text = log.read_bytes()[start:].decode()
        found.extend(re.findall(r"LOG:  (?:statement|execute [^:]*): (.*)", text))

    return statements


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    other = "sqlite" if connection.vendor == "postgresql" else "postgresql"
    deselected = [item for item in items if item.get_closest_marker(other)]
    config.hook.pytest_deselected(items=deselected)
    items[:] = [item for item in items if item not in deselected]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    terminalreporter.write_line(f"Tested on {connection.display_name}.")
