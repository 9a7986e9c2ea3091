from typing import Any

import pytest

from testing.client import Rows, UserClient

pytestmark = pytest.mark.django_db


@pytest.mark.requirement("FR-005", "FR-009")
def test_a_delete_deletes_one_task_only(ada: UserClient, bob: UserClient, rows: Rows) -> None:
    ada.task()
    task = ada.task()
    bob.task()
    before = rows()
    response = ada("DELETE", f"/api/tasks/{task['id']}")
    assert (response.status_code, response.content) == (204, b"")
    assert rows() == [row for row in before if row["id"] != task["id"]]


@pytest.mark.requirement("FR-005")
def test_a_deleted_task_is_not_found(ada: UserClient) -> None:
    task = ada.task()
    ada("DELETE", f"/api/tasks/{task['id']}")
    for method in ["DELETE", "GET", "PATCH"]:
        response = ada(method, f"/api/tasks/{task['id']}")
        assert (response.status_code, response.content) == (404, b'{"detail":"Not found."}')


@pytest.mark.requirement("FR-005")
@pytest.mark.parametrize("path", ["/api/tasks", "/api/tasks/", "/api/ada/tasks", "/api", "/api/"])
def test_no_path_deletes_more_than_one_task(path: str, ada: UserClient, rows: Rows) -> None:
    ada.task()
    ada.task()
    before = rows()
    assert ada("DELETE", path).status_code in (404, 405)
    assert rows() == before


def test_a_body_is_ignored(ada: UserClient, rows: Rows) -> None:
    first, second = ada.task(), ada.task()
    assert ada("DELETE", f"/api/tasks/{first['id']}", {"id": second["id"]}).status_code == 204
    assert [row["id"] for row in rows()] == [second["id"]]


def test_a_delete_is_one_statement_with_the_user_in_it(ada: UserClient, django_assert_num_queries: Any) -> None:
    task = ada.task()
    with django_assert_num_queries(1) as captured:
        ada("DELETE", f"/api/tasks/{task['id']}")
    assert "tasks_task.user_id = 'ada'" in captured.captured_queries[0]["sql"]
