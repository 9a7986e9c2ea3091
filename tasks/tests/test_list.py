from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F

from tasks.models import Task
from testing.client import Rows, UserClient

pytestmark = pytest.mark.django_db


@pytest.fixture
def tasks(ada: UserClient, bob: UserClient) -> list[dict[str, Any]]:
    bob.task(title="bob's", completed=True)
    created = [ada.task(title="first"), ada.task(title="second", completed=True), ada.task(title="third")]
    bob.task(title="bob's")
    return created


@pytest.mark.requirement("FR-003", "SC-003")
def test_a_list_is_a_bare_array_of_the_users_tasks_newest_first(ada: UserClient, tasks: list[Any]) -> None:
    response = ada("GET", "/api/tasks")
    assert response.status_code == 200
    assert response.json() == tasks[::-1]


def test_a_user_without_tasks_gets_an_empty_array(tasks: list[Any]) -> None:
    assert UserClient("carol")("GET", "/api/tasks").content == b"[]"


@pytest.mark.requirement("FR-003")
def test_tasks_are_ordered_by_creation_time_and_then_by_id(ada: UserClient, tasks: list[Any]) -> None:
    moment = Task.objects.get(pk=tasks[2]["id"]).created_at
    Task.objects.for_user("ada").update(created_at=moment)
    Task.objects.filter(pk=tasks[0]["id"]).update(created_at=F("created_at") + timedelta(microseconds=1))
    assert [task["title"] for task in ada("GET", "/api/tasks").json()] == ["first", "third", "second"]


def test_a_change_does_not_move_a_task_in_the_list(ada: UserClient, tasks: list[Any]) -> None:
    ada("PATCH", f"/api/tasks/{tasks[0]['id']}", {"title": "changed"})
    assert [task["title"] for task in ada("GET", "/api/tasks").json()] == ["third", "second", "changed"]


@pytest.mark.requirement("FR-012")
@pytest.mark.parametrize(
    ("query", "titles"),
    [
        ("?status=all", ["third", "second", "first"]),
        ("?status=pending", ["third", "first"]),
        ("?status=completed", ["second"]),
        ("?status=pending&status=completed", ["second"]),
        ("?", ["third", "second", "first"]),
        ("?Status=completed&page=2&user_id=bob&completed=true&format=xml&search=x", ["third", "second", "first"]),
        ("?" + "x&" * 1024, ["third", "second", "first"]),
    ],
)
def test_the_status_filters_and_other_parameters_are_ignored(
    query: str, titles: list[str], ada: UserClient, tasks: list[Any]
) -> None:
    response = ada("GET", f"/api/tasks{query}")
    assert response.status_code == 200
    assert [task["title"] for task in response.json()] == titles


@pytest.mark.requirement("FR-012")
@pytest.mark.parametrize("status", ["", "done", "Pending", "all,pending", "true", "%00", "%ff", "%F0%9F%98%80", "[]"])
def test_another_status_is_422(status: str, ada: UserClient, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        response = ada("GET", f"/api/tasks?status={status}")
    assert response.status_code == 422
    assert list(response.json()["errors"]) == ["status"]
    assert response.json()["detail"].startswith('status: "')
    assert response.json()["detail"].endswith('" is not a valid choice.')


@pytest.mark.requirement("FR-009")
@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "FOO"])
def test_other_methods_are_405_with_allow(method: str, ada: UserClient, tasks: list[Any], rows: Rows) -> None:
    before = rows()
    response = ada(method, "/api/tasks")
    assert response.status_code == 405
    assert response.json() == {"detail": f'Method "{method}" not allowed.'}
    assert response["Allow"] == "GET, HEAD, POST"
    assert rows() == before


def test_head_is_get_without_the_body(ada: UserClient, tasks: list[Any]) -> None:
    response = ada("HEAD", "/api/tasks")
    assert (response.status_code, response.content) == (200, b"")


@pytest.mark.requirement("FR-003")
@pytest.mark.parametrize("query", ["", "?status=pending"])
def test_a_list_is_one_statement_with_the_user_in_it(
    query: str, ada: UserClient, tasks: list[Any], django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(1) as captured:
        ada("GET", f"/api/tasks{query}")
    assert "tasks_task.user_id = 'ada'" in captured.captured_queries[0]["sql"]
