"""A request leaves nothing to the garbage collector, so a body or a long list is freed at once."""

import gc
from collections.abc import Iterator

import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.test import RequestFactory

from testing.client import UserClient

pytestmark = pytest.mark.django_db


@pytest.fixture
def collector() -> Iterator[None]:
    """The garbage collector, which runs only when a test calls it."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/api/tasks", b"", 200),
        ("POST", "/api/tasks", b'{"title": "x"}', 201),
        ("GET", "/api/tasks/{}", b"", 200),
        ("PUT", "/api/tasks/{}", b'{"title": "x"}', 200),
        ("PATCH", "/api/tasks/{}/complete", b"", 200),
        ("DELETE", "/api/tasks/{}", b"", 204),
        ("GET", "/api/tasks/9999", b"", 404),
        ("GET", "/api/bob/tasks", b"", 403),
        ("POST", "/api/tasks", b"{", 400),
        ("POST", "/api/tasks", b"{}", 422),
        ("POST", "/api/tasks", b" " * 70_000, 413),
        ("DELETE", "/api/tasks", b"", 405),
    ],
)
def test_a_request_leaves_nothing_to_the_collector(
    method: str, path: str, body: bytes, status: int, ada: UserClient, collector: None
) -> None:
    handler = WSGIHandler()
    handler.load_middleware()
    answers = []
    # The first request may import modules and fill caches.
    for _ in range(2):
        where = path.format(ada.task()["id"])
        headers = {"Authorization": f"Bearer {ada.token}"}
        request = RequestFactory().generic(method, where, body, "application/json", headers=headers)
        gc.collect()
        answers.append(handler.get_response(request).status_code)
        del request
        found = gc.collect()
    assert (answers, found) == ([status, status], 0)
