from typing import Any

import pytest
from django.test import Client

from tasks.models import Task
from testing.client import Rows, UserClient

pytestmark = pytest.mark.django_db

METHODS = ["GET", "PUT", "PATCH", "DELETE"]


def test_the_owner_gets_the_task(ada: UserClient) -> None:
    task = ada.task(title="x", description="y")
    response = ada("GET", f"/api/tasks/{task['id']}")
    assert response.status_code == 200
    assert response.json() == task


def test_query_parameters_are_ignored(ada: UserClient) -> None:
    task = ada.task(completed=True)
    assert ada("GET", f"/api/tasks/{task['id']}?status=pending&status=x").json() == task


def test_an_empty_json_body_counts_as_no_body(ada: UserClient) -> None:
    task = ada.task()
    response = ada("GET", f"/api/tasks/{task['id']}", **{"Content-Type": "application/json", "Content-Length": "0"})
    assert response.json() == task


@pytest.mark.requirement("FR-006", "SC-003")
@pytest.mark.parametrize("suffix", ["", "/complete"])
@pytest.mark.parametrize("method", METHODS)
def test_a_task_of_another_user_is_not_found_and_not_changed(
    method: str, suffix: str, ada: UserClient, bob: UserClient, rows: Rows
) -> None:
    task = ada.task()
    before = rows()
    if suffix and method != "PATCH":
        assert bob(method, f"/api/tasks/{task['id']}{suffix}").status_code == 405
        return
    responses = [
        bob(method, f"/api/tasks/{task['id']}{suffix}", {"completed": True} if method != "GET" else None),
        bob(method, f"/api/tasks/{task['id'] + 1}{suffix}"),
        bob(method, f"/api/tasks/9007199254740991{suffix}"),
    ]
    for response in responses:
        assert response.status_code == 404
        assert response.content == b'{"detail":"Not found."}'
    assert rows() == before


NOT_AN_ID = [
    "0",
    "00",
    "01",
    "007",
    "+1",
    "-1",
    "1.0",
    "1e1",
    "0x1",
    "1_0",
    "abc",
    "1a",
    "null",
    "undefined",
    "[object Object]",
    "%D9%A3",
    "%EF%BC%91",
    "%C2%B2",
    "%201",
    "1%20",
    "1%0A",
    "%0A1",
    "1%00",
    "%00",
    "%FF",
    "9007199254740992",
    "9" * 16,
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551616",
    "9" * 19,
    "9" * 20,
    "9" * 5000,
]


@pytest.mark.parametrize("suffix", ["", "/", "/complete", "/complete/"])
@pytest.mark.parametrize("task_id", NOT_AN_ID)
def test_an_invalid_id_is_404_on_every_method_with_or_without_a_token(
    task_id: str, suffix: str, ada: UserClient, django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(0):
        for method in [*METHODS, "POST", "OPTIONS"]:
            for response in [
                ada(method, f"/api/tasks/{task_id}{suffix}", {"title": ""} if method != "GET" else None),
                Client().generic(method, f"/api/tasks/{task_id}{suffix}"),
            ]:
                assert response.status_code == 404
                assert response.content == b'{"detail":"Not found."}'


def test_the_largest_id_is_not_found(ada: UserClient) -> None:
    assert ada("GET", "/api/tasks/9007199254740991").content == b'{"detail":"Not found."}'


@pytest.mark.parametrize("method", ["POST", "OPTIONS", "TRACE", "LINK"])
def test_other_methods_are_405_with_allow(method: str, ada: UserClient, rows: Rows) -> None:
    task = ada.task()
    before = rows()
    response = ada(method, f"/api/tasks/{task['id']}")
    assert response.status_code == 405
    assert response["Allow"] == "GET, HEAD, PUT, PATCH, DELETE"
    assert rows() == before


def test_a_task_is_read_in_one_statement_with_the_user_in_it(ada: UserClient, django_assert_num_queries: Any) -> None:
    task = ada.task()
    with django_assert_num_queries(1) as captured:
        ada("GET", f"/api/tasks/{task['id']}")
    assert "tasks_task.user_id = 'ada'" in captured.captured_queries[0]["sql"]


@pytest.mark.requirement("FR-007")
def test_the_task_with_the_largest_id_is_served(ada: UserClient, rows: Rows) -> None:
    Task.objects.create(pk=2**53 - 1, user_id="ada", title="x")
    path = f"/api/tasks/{2**53 - 1}"
    assert ada("GET", path).json()["id"] == 2**53 - 1
    assert ada("PATCH", f"{path}/complete").json()["completed"] is True
    assert ada("DELETE", path).status_code == 204
    assert rows() == []
