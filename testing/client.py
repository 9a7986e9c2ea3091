import json
from typing import Any

from django.test import Client

from testing.tokens import token


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
        if raw is None:
            raw = b"" if body is None else json.dumps(body).encode()
        # Django's client sends the content type only with a body.
        return Client().generic(
            method, path, raw, content_type, headers={"Authorization": f"Bearer {self.token}", **headers}
        )

    def task(self, **fields: Any) -> Any:
        """A task made over HTTP."""
        response = self("POST", "/api/tasks", {"title": "Buy milk", **fields})
        assert response.status_code == 201, response.content
        return response.json()
