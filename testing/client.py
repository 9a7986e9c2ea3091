"""A client that calls the API in this process, and the types of fixtures."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, TypeAlias

from django.test import Client

from testing.tokens import token

if TYPE_CHECKING:
    from django.test.client import _MonkeyPatchedWSGIResponse

# The response of Django's test client. Only its type stubs have a name for it.
Response: TypeAlias = "_MonkeyPatchedWSGIResponse"

# Returns all rows of tasks, oldest first.
Rows: TypeAlias = Callable[[], list[dict[str, Any]]]

# `with logged() as statements:` collects the statements that PostgreSQL logs during the block.
Logged: TypeAlias = Callable[[], AbstractContextManager[list[str]]]


class UserClient:
    """Sends requests as one user: with a token, and with JSON."""

    def __init__(self, user_id: str) -> None:
        self.user_id = user_id
        self.token = token(user_id)

    def __call__(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        raw: str | bytes | None = None,
        content_type: str = "application/json",
        **headers: str,
    ) -> Response:
        """Sends a request and returns the response. Its body is `raw` if given, and else `body` as JSON."""
        if raw is None:
            raw = b"" if body is None else json.dumps(body).encode()
        # Django's client sends the content type only with a body.
        return Client().generic(
            method, path, raw, content_type, headers={"Authorization": f"Bearer {self.token}", **headers}
        )

    def task(self, **fields: Any) -> dict[str, Any]:
        """Creates a task over HTTP."""
        response = self("POST", "/api/tasks", {"title": "Buy milk", **fields})
        assert response.status_code == 201, response.content
        task: dict[str, Any] = response.json()
        return task


# Every operation, on the task with the id 1: the method, the path and the body
OPERATIONS: list[tuple[str, str, dict[str, Any] | None]] = [
    ("GET", "/api/tasks", None),
    ("POST", "/api/tasks", {"title": "private"}),
    ("GET", "/api/tasks/1", None),
    ("PUT", "/api/tasks/1", {"title": "private"}),
    ("PATCH", "/api/tasks/1", {"title": "private"}),
    ("PATCH", "/api/tasks/1/complete", None),
    ("DELETE", "/api/tasks/1", None),
]
