"""Concurrent requests, from threads with a connection each."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection

from testing.client import Response, Rows, UserClient

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True)]

# With ten rounds, each of three operations that were split into two statements failed in each of three runs.
ROUNDS = 10


def concurrently(client: Callable[..., Response], *requests: tuple[Any, ...]) -> list[Response]:
    """The answers to the requests, sent from threads that start together."""
    barrier = threading.Barrier(len(requests))

    def call(request: tuple[Any, ...]) -> Response:
        try:
            connection.ensure_connection()
            barrier.wait(timeout=30)
            return client(*request)
        finally:
            connection.close()

    with ThreadPoolExecutor(len(requests)) as pool:
        return list(pool.map(call, requests))


@pytest.mark.requirement("FR-013")
@pytest.mark.parametrize("round_number", range(ROUNDS))
def test_no_concurrent_toggle_is_lost(round_number: int, ada: UserClient, rows: Rows) -> None:
    task = ada.task(completed=bool(round_number % 2))
    path = f"/api/tasks/{task['id']}/complete"
    # An even number of toggles would leave the task as it was, even if all of them were lost.
    count = 50 if round_number % 3 else 51
    answers = concurrently(ada, *[("PATCH", path)] * count)
    assert [answer.status_code for answer in answers] == [200] * count
    flipped = [answer.json()["completed"] for answer in answers]
    assert abs(flipped.count(True) - flipped.count(False)) == count % 2
    assert rows()[0]["completed"] == (task["completed"] if count % 2 == 0 else not task["completed"])


@pytest.mark.requirement("FR-004")
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_a_concurrent_update_and_toggle_are_both_kept(method: str, ada: UserClient, rows: Rows) -> None:
    for _ in range(ROUNDS):
        task = ada.task(title="old")
        path = f"/api/tasks/{task['id']}"
        answers = concurrently(ada, (method, path, {"title": "new"}), ("PATCH", f"{path}/complete"))
        assert [answer.status_code for answer in answers] == [200, 200]
        row = rows()[-1]
        assert (row["id"], row["title"], row["completed"]) == (task["id"], "new", True)


@pytest.mark.parametrize("body", [{"title": "new"}, {"completed": True}, {}])
def test_an_update_that_races_a_delete_never_brings_the_task_back(
    body: dict[str, Any], ada: UserClient, rows: Rows
) -> None:
    for _ in range(ROUNDS):
        task = ada.task()
        path = f"/api/tasks/{task['id']}"
        updated, deleted = concurrently(ada, ("PATCH", path, body), ("DELETE", path))
        assert deleted.status_code == 204
        assert updated.status_code in (200, 404)
        assert rows() == []


def test_only_one_of_four_concurrent_deletes_finds_the_task(ada: UserClient, rows: Rows) -> None:
    for _ in range(ROUNDS):
        path = f"/api/tasks/{ada.task()['id']}"
        answers = concurrently(ada, *[("DELETE", path)] * 4)
        assert sorted(answer.status_code for answer in answers) == [204, 404, 404, 404]
        assert rows() == []


def test_concurrent_creates_with_one_key_create_one_task(ada: UserClient, rows: Rows) -> None:
    def create(key: str) -> Response:
        return ada("POST", "/api/tasks", {"title": "x"}, **{"Idempotency-Key": key})

    for number in range(ROUNDS):
        answers = concurrently(create, *[(f"key-{number}",)] * 8)
        assert [answer.status_code for answer in answers] == [201] * 8
        assert len({answer.content for answer in answers}) == 1
    assert len(rows()) == ROUNDS


def test_a_repeated_create_that_races_a_delete_returns_the_old_task_or_a_new_one(ada: UserClient, rows: Rows) -> None:
    for number in range(ROUNDS):
        key = {"Idempotency-Key": f"key-{number}"}
        before = ada("POST", "/api/tasks", {"title": "x"}, **key).json()

        def send(method: str, path: str, key: dict[str, str] = key) -> Response:
            return ada(method, path, {"title": "x"}, **key)

        repeated, deleted = concurrently(send, ("POST", "/api/tasks"), ("DELETE", f"/api/tasks/{before['id']}"))
        assert (repeated.status_code, deleted.status_code) == (201, 204)
        remaining = [row["id"] for row in rows() if row["idempotency_key"] == f"key-{number}"]
        assert remaining == ([] if repeated.json()["id"] == before["id"] else [repeated.json()["id"]])


def test_concurrent_creates_at_the_limit_are_201_with_a_task_or_409(ada: UserClient, rows: Rows, settings: Any) -> None:
    """Each may see the tasks of before, so there may be as many tasks too many."""
    for number in range(ROUNDS):
        settings.TASKS_PER_USER = len(rows()) + 1
        answers = concurrently(ada, *[("POST", "/api/tasks", {"title": f"round {number}"})] * 4)
        created = [answer.json()["id"] for answer in answers if answer.status_code == 201]
        assert created
        assert sorted(created) == [row["id"] for row in rows() if row["title"] == f"round {number}"]
        refused = [answer.status_code for answer in answers if answer.status_code != 201]
        assert refused == [409] * (4 - len(created))
        assert ada("POST", "/api/tasks", {"title": "x"}).status_code == 409
