import time
from typing import Any

import pytest

from testing.client import Rows, UserClient

pytestmark = pytest.mark.django_db

NO_BODIES: dict[str, dict[str, Any]] = {
    "no body": {},
    "an empty body": {"Content-Type": "application/json", "Content-Length": "0"},
    "an empty object": {"body": {}},
    "an empty body of another type": {"Content-Type": "text/plain", "Content-Length": "0"},
    "an empty form": {"Content-Type": "application/x-www-form-urlencoded", "Content-Length": "0"},
    "an empty form of parts": {"Content-Type": "multipart/form-data; boundary=x", "Content-Length": "0"},
    "unknown fields": {"body": {"title": "ignored", "x": None}},
}


@pytest.mark.requirement("FR-013")
@pytest.mark.parametrize("arguments", NO_BODIES.values(), ids=NO_BODIES.keys())
def test_a_toggle_without_a_value_flips_completed(arguments: dict[str, Any], ada: UserClient, rows: Rows) -> None:
    ada.task(title="other")
    task = ada.task(description="kept")
    other, before = rows()
    for completed in [True, False, True]:
        time.sleep(0.002)  # SQLite's clock counts milliseconds
        response = ada("PATCH", f"/api/tasks/{task['id']}/complete", **arguments)
        unchanged, after = rows()
        assert response.status_code == 200
        assert unchanged == other
        assert after == {**before, "completed": completed, "updated_at": after["updated_at"]}
        assert after["updated_at"] > before["updated_at"]
        written = after["updated_at"].strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        assert response.json() == {**task, "completed": completed, "updated_at": written}


@pytest.mark.requirement("FR-013")
@pytest.mark.parametrize("completed", [True, False])
def test_a_repeated_toggle_with_a_value_sets_it(completed: bool, ada: UserClient, rows: Rows) -> None:
    task = ada.task(completed=not completed)
    for _ in range(3):
        response = ada("PATCH", f"/api/tasks/{task['id']}/complete", {"completed": completed})
        assert response.json()["completed"] is completed
        assert rows()[0]["completed"] is completed


@pytest.mark.requirement("FR-008")
@pytest.mark.parametrize("value", [None, 1, 0, "true", "yes", "", [], {}])
def test_another_type_is_422_and_flips_nothing(
    value: Any, ada: UserClient, rows: Rows, django_assert_num_queries: Any
) -> None:
    task = ada.task()
    before = rows()
    with django_assert_num_queries(0):
        response = ada("PATCH", f"/api/tasks/{task['id']}/complete", {"completed": value})
    assert response.status_code == 422
    assert list(response.json()["errors"]) == ["completed"]
    assert rows() == before


@pytest.mark.parametrize("raw", [b"[]", b"null", b"true", b'"x"', b"0", b"[{}]"])
def test_a_body_that_is_not_an_object_is_422_and_flips_nothing(raw: bytes, ada: UserClient, rows: Rows) -> None:
    task = ada.task()
    before = rows()
    response = ada("PATCH", f"/api/tasks/{task['id']}/complete", raw=raw)
    assert response.status_code == 422
    assert list(response.json()["errors"]) == ["non_field_errors"]
    assert rows() == before


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"])
def test_other_methods_are_405_with_allow(method: str, ada: UserClient, rows: Rows) -> None:
    task = ada.task()
    before = rows()
    response = ada(method, f"/api/tasks/{task['id']}/complete")
    assert response.status_code == 405
    assert response["Allow"] == "PATCH"
    assert rows() == before


def test_a_toggle_is_one_statement_that_names_the_user(ada: UserClient, django_assert_num_queries: Any) -> None:
    task = ada.task()
    with django_assert_num_queries(1) as captured:
        ada("PATCH", f"/api/tasks/{task['id']}/complete")
    statement = captured.captured_queries[0]["sql"]
    assert "NOT tasks_task.completed" in statement
    assert "tasks_task.user_id = 'ada'" in statement.partition(" WHERE ")[2]
    assert "title" not in statement.partition(" WHERE ")[0]
