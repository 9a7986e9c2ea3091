from typing import Any

import pytest

from testing.client import Rows, UserClient

pytestmark = pytest.mark.django_db


def create(user: UserClient, key: str, title: str = "Buy milk") -> Any:
    return user("POST", "/api/tasks", {"title": title}, **{"Idempotency-Key": key})


@pytest.mark.requirement("FR-002")
@pytest.mark.parametrize(
    "key", ["7", "x" * 255, "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", "8e03978e-40d5-43e8-bc93-6894a57f9324"]
)
def test_a_repeated_key_creates_one_task(key: str, ada: UserClient, rows: Rows) -> None:
    first = create(ada, key)
    assert first.status_code == 201
    before = rows()
    again = create(ada, key, "Something else")
    assert (again.status_code, again.json(), again["Location"]) == (201, first.json(), first["Location"])
    assert rows() == before
    assert [row["title"] for row in before] == ["Buy milk"]


def test_a_repeated_create_returns_the_task_as_it_is_now(ada: UserClient) -> None:
    task = create(ada, "k").json()
    changed = ada("PATCH", f"/api/tasks/{task['id']}", {"title": "Changed", "completed": True}).json()
    again = create(ada, "k")
    assert (again.status_code, again.json()) == (201, changed)


def test_other_keys_and_no_key_create_other_tasks(ada: UserClient, rows: Rows) -> None:
    ids = [create(ada, "k").json()["id"], create(ada, "K").json()["id"], ada.task()["id"], ada.task()["id"]]
    assert len(set(ids)) == 4
    assert [row["idempotency_key"] for row in rows()] == ["k", "K", None, None]


def test_two_users_may_send_the_same_key(ada: UserClient, bob: UserClient, rows: Rows) -> None:
    tasks = [create(user, "k").json() for user in (ada, bob, ada, bob)]
    assert [task["user_id"] for task in tasks] == ["ada", "bob", "ada", "bob"]
    assert tasks[:2] == tasks[2:]
    assert len(rows()) == 2


def test_a_key_lives_as_long_as_its_task(ada: UserClient, rows: Rows) -> None:
    first = create(ada, "k").json()
    ada("DELETE", f"/api/tasks/{first['id']}")
    second = create(ada, "k").json()
    assert second["id"] > first["id"]
    assert [row["id"] for row in rows()] == [second["id"]]


def test_a_key_is_in_no_answer_and_cannot_be_set_in_a_body(ada: UserClient, rows: Rows) -> None:
    response = ada("POST", "/api/tasks", {"title": "x", "idempotency_key": "k"})
    assert "idempotency_key" not in response.json()
    assert [row["idempotency_key"] for row in rows()] == [None]


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 256, "\u00e9", "\x7f", "a\tb", "k\n"])
def test_an_invalid_key_is_422_and_creates_nothing(key: str, ada: UserClient, rows: Rows) -> None:
    response = create(ada, key)
    assert response.status_code == 422
    reason = "Send 1 to 255 visible ASCII characters."
    assert response.json() == {"detail": f"Idempotency-Key: {reason}", "errors": {"Idempotency-Key": [reason]}}
    assert rows() == []


def test_an_invalid_body_does_not_use_up_the_key(ada: UserClient, rows: Rows) -> None:
    assert create(ada, "k", " ").status_code == 422
    assert rows() == []
    assert create(ada, "k").json()["title"] == "Buy milk"


def test_only_creates_read_the_key(ada: UserClient) -> None:
    task = create(ada, "k").json()
    for flipped in [True, False]:
        response = ada("PATCH", f"/api/tasks/{task['id']}/complete", **{"Idempotency-Key": "k"})
        assert response.json()["completed"] is flipped


def test_a_repeated_create_is_one_statement(ada: UserClient, django_assert_num_queries: Any) -> None:
    for _ in range(2):
        with django_assert_num_queries(1):
            create(ada, "k")
