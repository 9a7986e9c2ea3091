import time
from typing import Any

import pytest

from testing.client import Rows, UserClient

pytestmark = [pytest.mark.django_db, pytest.mark.parametrize("method", ["PUT", "PATCH"])]

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
CHANGES = [
    {"title": "new"},
    {"description": "new"},
    {"description": None},
    {"description": ""},
    {"completed": True},
    {"completed": False},
    {"title": "new", "description": None},
    {"title": "new", "description": "new", "completed": True},
]


@pytest.mark.requirement("FR-004")
@pytest.mark.parametrize("change", CHANGES)
def test_only_the_sent_fields_change(method: str, change: dict[str, Any], ada: UserClient, rows: Rows) -> None:
    ada.task(title="other")
    task = ada.task(title="old", description="old")
    other, before = rows()
    time.sleep(0.002)  # SQLite's clock counts milliseconds
    response = ada(method, f"/api/tasks/{task['id']}", change)
    assert response.status_code == 200
    unchanged, after = rows()
    assert unchanged == other
    assert after == {**before, **change, "updated_at": after["updated_at"]}
    assert after["updated_at"] > before["updated_at"]
    written = after["updated_at"].strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    assert response.json() == {**task, **change, "updated_at": written}


@pytest.mark.requirement("FR-004")
@pytest.mark.parametrize("body", [{}, {"id": 5, "user_id": "bob", "created_at": "x", "updated_at": None, "other": [1]}])
def test_an_update_without_fields_changes_nothing(method: str, body: Any, ada: UserClient, rows: Rows) -> None:
    task = ada.task(description="x")
    before = rows()
    response = ada(method, f"/api/tasks/{task['id']}", body)
    assert (response.status_code, response.json()) == (200, task)
    assert rows() == before


@pytest.mark.parametrize("headers", [{}, {"Content-Type": "application/json"}, {"Content-Type": "text/plain"}, FORM])
def test_an_update_without_a_body_changes_nothing(
    method: str, headers: dict[str, str], ada: UserClient, rows: Rows
) -> None:
    task = ada.task()
    before = rows()
    response = ada(method, f"/api/tasks/{task['id']}", **headers)
    assert (response.status_code, response.json()) == (200, task)
    assert rows() == before


def test_the_title_is_trimmed(method: str, ada: UserClient, rows: Rows) -> None:
    task = ada.task()
    assert ada(method, f"/api/tasks/{task['id']}", {"title": "\n new "}).json()["title"] == "new"
    assert rows()[0]["title"] == "new"


REFUSED = [
    ({"title": ""}, {"title": ["This field may not be blank."]}),
    ({"title": None}, {"title": ["This field may not be null."]}),
    ({"title": 5}, {"title": ["Not a valid string."]}),
    ({"title": "x" * 201}, {"title": ["Ensure this field has no more than 200 characters."]}),
    ({"title": "a\0b"}, {"title": ["Null characters are not allowed."]}),
    ({"description": "x" * 1001}, {"description": ["Ensure this field has no more than 1000 characters."]}),
    ({"completed": None}, {"completed": ["This field may not be null."]}),
    ({"completed": "yes"}, {"completed": ["Must be a valid boolean."]}),
    (
        {"title": "good", "description": 5, "completed": 1},
        {"description": ["Not a valid string."], "completed": ["Must be a valid boolean."]},
    ),
]


@pytest.mark.requirement("FR-008")
@pytest.mark.parametrize(("body", "errors"), REFUSED)
def test_an_invalid_body_is_422_and_changes_nothing(
    method: str, body: Any, errors: Any, ada: UserClient, rows: Rows, django_assert_num_queries: Any
) -> None:
    task = ada.task()
    before = rows()
    with django_assert_num_queries(0):
        response = ada(method, f"/api/tasks/{task['id']}", body)
    assert response.status_code == 422
    assert response.json()["errors"] == errors
    assert rows() == before


def test_an_invalid_body_is_422_even_if_there_is_no_such_task(method: str, ada: UserClient) -> None:
    assert ada(method, "/api/tasks/1", {"title": ""}).status_code == 422
    assert ada(method, "/api/tasks/1", {"title": "x"}).status_code == 404


def test_an_update_is_one_statement_with_the_user_and_the_sent_columns(
    method: str, ada: UserClient, django_assert_num_queries: Any
) -> None:
    task = ada.task()
    with django_assert_num_queries(1) as captured:
        ada(method, f"/api/tasks/{task['id']}", {"title": "new"})
    statement = captured.captured_queries[0]["sql"]
    assigned, _, condition = statement.partition(" WHERE ")
    assert "tasks_task.user_id = 'ada'" in condition
    assert f"tasks_task.id = {task['id']}" in condition
    assert "description" not in assigned
    assert "completed" not in assigned
    assert "created_at" not in assigned
