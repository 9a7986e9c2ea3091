"""A PostgreSQL that ends the connections of running requests."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from testing.client import UserClient
from testing.failures import UNAVAILABLE, UNKNOWN
from testing.threads import start_request

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True)]


def cut_when_waiting() -> None:
    """Ends the connection of the request that waits for a lock."""
    with connection.cursor() as cursor:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE NOT granted")
            if cursor.fetchall():
                return
            time.sleep(0.01)
    raise AssertionError("no request waited for the lock")


def answer_of_a_cut_request(request: Callable[[], Any]) -> Any:
    with connection.cursor() as cursor:
        cursor.execute("BEGIN; LOCK TABLE tasks_task IN ACCESS EXCLUSIVE MODE")
        thread, answers = start_request(request)
        cut_when_waiting()
        cursor.execute("ROLLBACK")
    thread.join(timeout=10)
    return answers[0]


@pytest.mark.requirement("SC-004")
@pytest.mark.parametrize(
    ("method", "suffix", "body"),
    [
        ("POST", "", {"title": "x"}),
        ("PUT", "/{id}", {"title": "x"}),
        ("PATCH", "/{id}", {"title": "x"}),
        ("PATCH", "/{id}/complete", None),
        ("DELETE", "/{id}", None),
    ],
)
def test_a_write_whose_connection_breaks_has_an_unknown_outcome(
    method: str, suffix: str, body: Any, ada: UserClient
) -> None:
    path = "/api/tasks" + suffix.format(id=ada.task()["id"])
    response = answer_of_a_cut_request(lambda: ada(method, path, body))
    assert response.status_code == 503
    assert response.json() == UNKNOWN
    assert "Retry-After" not in response


@pytest.mark.requirement("SC-004")
@pytest.mark.parametrize("suffix", ["", "/{id}"])
def test_a_read_whose_connection_breaks_may_be_repeated(suffix: str, ada: UserClient) -> None:
    path = "/api/tasks" + suffix.format(id=ada.task()["id"])
    response = answer_of_a_cut_request(lambda: ada("GET", path))
    assert response.status_code == 503
    assert response.json() == UNAVAILABLE
    assert int(response["Retry-After"]) > 0


@pytest.mark.requirement("SC-004")
def test_without_a_database_readyz_is_503_and_healthz_is_200(monkeypatch: pytest.MonkeyPatch, ada: UserClient) -> None:
    assert Client().get("/readyz").status_code == 200
    connection.close()
    monkeypatch.setitem(connection.settings_dict, "NAME", "no_such_database")
    assert Client().get("/readyz").status_code == 503
    assert Client().get("/healthz").status_code == 200
    response = ada("POST", "/api/tasks", {"title": "x"})
    assert (response.status_code, response.json()) == (503, UNAVAILABLE)
    assert int(response["Retry-After"]) > 0
    monkeypatch.undo()
    assert Client().get("/readyz").status_code == 200
    assert ada("POST", "/api/tasks", {"title": "x"}).status_code == 201
