"""A request leaves nothing to the garbage collector, so a body or a long list is freed immediately."""

import gc
from collections.abc import Iterator

import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.test import RequestFactory

from testing.client import UserClient

pytestmark = pytest.mark.django_db


@pytest.fixture
def collector() -> Iterator[None]:
    """Stops automatic garbage collection: it runs only when the test calls it."""
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
def test_a_request_leaves_nothing_to_the_garbage_collector(
    method: str, path: str, body: bytes, status: int, ada: UserClient, collector: None
) -> None:
    handler = WSGIHandler()
    handler.load_middleware()
    statuses = []
    # The first request may import modules and fill caches.
    for _ in range(2):
        url = path.format(ada.task()["id"])
        headers = {"Authorization": f"Bearer {ada.token}"}
        request = RequestFactory().generic(method, url, body, "application/json", headers=headers)
        gc.collect()
        statuses.append(handler.get_response(request).status_code)
        del request
        collected = gc.collect()
    assert (statuses, collected) == ([status, status], 0)
