import json
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from tasks.models import Task
from todo_backend.tests.tokens import token


class User:
    """Calls the API as a browser of one user does: with a token, in JSON."""

    def __init__(self, user_id: str) -> None:
        self.user_id = user_id
        self.token = token(user_id)

    def __call__(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        raw: bytes | None = None,
        content_type: str = "application/json",
        **headers: str,
    ) -> Any:
        if raw is None and body is None:
            return Client().generic(method, path, headers={"Authorization": f"Bearer {self.token}", **headers})
        if raw is None:
            raw = json.dumps(body).encode()
        return Client().generic(
            method, path, raw, content_type, headers={"Authorization": f"Bearer {self.token}", **headers}
        )

    def task(self, **fields: Any) -> Any:
        """A task made over HTTP."""
        response = self("POST", "/api/tasks", {"title": "Buy milk", **fields})
        assert response.status_code == 201, response.content
        return response.json()


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
