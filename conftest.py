from typing import Any

import pytest
from django.db import connection

from tasks.models import Task
from todo_backend.tests.user import User


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


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    other = "sqlite" if connection.vendor == "postgresql" else "postgresql"
    deselected = [item for item in items if item.get_closest_marker(other)]
    config.hook.pytest_deselected(items=deselected)
    items[:] = [item for item in items if item not in deselected]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    terminalreporter.write_line(f"Tested on {connection.display_name}.")
