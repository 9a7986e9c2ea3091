"""The statements of each operation, as PostgreSQL logs them."""

import re
from typing import Any

import pytest
from django.test import Client

from testing.client import Logged, UserClient

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True)]


Request = tuple[str, str, Any, int]
OPERATIONS: dict[str, tuple[Request, str]] = {
    "listTasks": (("GET", "/api/tasks", None, 200), "SELECT .* WHERE .*{user}"),
    "listTasks, filtered": (("GET", "/api/tasks?status=pending", None, 200), "SELECT .* WHERE .*{user}.*completed"),
    "createTask": (("POST", "/api/tasks", {"title": "x"}, 201), "INSERT .* SELECT 'ada', .* WHERE .*{user}.*{user}"),
    "getTask": (("GET", "/api/tasks/{id}", None, 200), "SELECT .* WHERE .*{user}.*{id}"),
    "updateTask": (("PUT", "/api/tasks/{id}", {"title": "y"}, 200), "UPDATE .* WHERE .*{user}.*{id}.*RETURNING"),
    "patchTask": (("PATCH", "/api/tasks/{id}", {"title": "y"}, 200), "UPDATE .* WHERE .*{user}.*{id}.*RETURNING"),
    "patchTask, nothing sent": (("PATCH", "/api/tasks/{id}", {}, 200), "SELECT .* WHERE .*{user}.*{id}"),
    "toggleTask": (("PATCH", "/api/tasks/{id}/complete", None, 200), "UPDATE .* WHERE .*{user}.*{id}.*RETURNING"),
    "deleteTask": (("DELETE", "/api/tasks/{id}", None, 204), "DELETE .* WHERE .*{user}.*{id}"),
}


@pytest.mark.requirement("FR-006", "SC-003")
@pytest.mark.parametrize(("request_", "pattern"), OPERATIONS.values(), ids=OPERATIONS.keys())
def test_an_operation_is_one_statement_with_the_user_in_it(
    request_: Request, pattern: str, ada: UserClient, logged: Logged
) -> None:
    task = ada.task()
    method, path, body, status = request_
    with logged() as statements:
        response = ada(method, path.format(id=task["id"]), body)
    assert response.status_code == status
    assert len(statements) == 1, statements
    user = re.escape("tasks_task.user_id = 'ada'")
    assert re.match(pattern.replace("{user}", user).replace("{id}", str(task["id"])), statements[0]), statements


@pytest.mark.requirement("SC-002")
def test_a_refused_request_runs_no_statement(ada: UserClient, logged: Logged) -> None:
    task = ada.task()
    one = f"/api/tasks/{task['id']}"
    with logged() as statements:
        for method, path in [
            ("GET", "/api/tasks"),
            ("POST", "/api/tasks"),
            ("GET", one),
            ("PUT", one),
            ("DELETE", one),
        ]:
            assert Client().generic(method, path).status_code == 401
            assert ada(method, path, Authorization=f"Bearer {ada.token}x").status_code == 401
            assert ada(method, f"/api/bob{path[4:]}").status_code == 403
        for method, path in [("POST", "/api/tasks"), ("PUT", one), ("PATCH", one)]:
            assert ada(method, path, {"title": 5}).status_code == 422
            assert ada(method, path, raw=b"{").status_code == 400
            assert ada(method, path, raw=b"x" * 70_000).status_code == 413
            assert ada(method, path, {"title": "x"}, content_type="text/plain").status_code == 415
        assert ada("PATCH", f"{one}/complete", {"completed": "yes"}).status_code == 422
        assert ada("GET", "/api/tasks?status=x").status_code == 422
    assert statements == []
