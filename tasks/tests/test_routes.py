"""The same operations with a trailing slash, and with the user in the path."""

from typing import Any
from urllib.parse import quote

import pytest

from testing.client import OPERATIONS, Rows, UserClient

pytestmark = pytest.mark.django_db

PATHS = ["/api/tasks", "/api/{user}/tasks"]


@pytest.mark.requirement("FR-007")
@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("base", PATHS)
@pytest.mark.parametrize("user_id", ["ada", "a/b", "tasks", "a b", "ü😀", "..", "%2F", "?", "a/tasks/1"])
def test_every_operation_works_under_every_form_of_its_path(user_id: str, base: str, slash: str, rows: Rows) -> None:
    user = UserClient(user_id)
    base = base.format(user=quote(user_id, safe=""))
    created = user("POST", f"{base}{slash}", {"title": "x"})
    assert created.status_code == 201
    task = created.json()
    assert created["Location"] == f"/api/tasks/{task['id']}"
    one = f"{base}/{task['id']}"
    assert user("GET", f"{base}{slash}").json() == [task]
    assert user("GET", f"{one}{slash}").json() == task
    assert user("PUT", f"{one}{slash}", {"title": "y"}).json()["title"] == "y"
    assert user("PATCH", f"{one}{slash}", {"title": "z"}).json()["title"] == "z"
    assert user("PATCH", f"{one}/complete{slash}").json()["completed"] is True
    assert [(row["title"], row["completed"], row["user_id"]) for row in rows()] == [("z", True, user_id)]
    assert user("DELETE", f"{one}{slash}").status_code == 204
    assert rows() == []


@pytest.mark.requirement("SC-002")
@pytest.mark.parametrize("base", PATHS)
@pytest.mark.parametrize(("method", "path", "body"), OPERATIONS)
def test_no_operation_runs_without_a_token(
    method: str, path: str, body: Any, base: str, ada: UserClient, rows: Rows, django_assert_num_queries: Any
) -> None:
    path = path.replace("/api/tasks", base.format(user="ada")).replace("/1", f"/{ada.task()['id']}")
    before = rows()
    with django_assert_num_queries(0):
        for authorization in ["", f"Bearer {ada.token}x", f"Basic {ada.token}"]:
            assert ada(method, path, body, Authorization=authorization).status_code == 401
    assert rows() == before


@pytest.mark.requirement("SC-003")
@pytest.mark.parametrize(
    ("path_user", "named"),
    [
        *((user, user) for user in ("bob", "Ada", "ad", "adaa", "me", "undefined", "v1", "api", "a/b", "a" * 80)),
        *(("ada%20", "ada?"), ("a'b%22", 'a?b"'), ("%C3%BC%00%7F!~", "???!~"), ("a" * 81, "a" * 80)),
        (f"%F0%9F%98%80{'a' * 80}", f"?{'a' * 79}"),
    ],
)
def test_another_user_in_the_path_is_403_without_a_query_and_is_named(
    path_user: str, named: str, ada: UserClient, rows: Rows, django_assert_num_queries: Any
) -> None:
    task = ada.task()
    before = rows()
    requests = [
        ("GET", "", None),
        ("POST", "", {"title": "x"}),
        ("GET", f"/{task['id']}", None),
        ("PUT", f"/{task['id']}", {"title": ""}),
        ("PATCH", f"/{task['id']}", {"title": "x"}),
        ("PATCH", f"/{task['id']}/complete", None),
        ("DELETE", f"/{task['id']}", None),
        ("DELETE", "", None),
        ("GET", "/9007199254740991", None),
    ]
    with django_assert_num_queries(0):
        for method, suffix, body in requests:
            response = ada(method, f"/api/{path_user}/tasks{suffix}", body)
            assert response.status_code == 403
            assert response.json() == {"detail": f"The user in the path is '{named}', not the token's."}
    assert rows() == before


@pytest.mark.parametrize(
    "path",
    [
        "/api",
        "/api/",
        "/api/task",
        "/api/tasks2",
        "/api/Tasks",
        "/tasks",
        "/api/tasks//",
        "//api/tasks",
        "/api/tasks/1/done",
        "/api/tasks/1/complete/x",
        "/api//tasks",
        "/api/tasks.json",
        "/admin/",
        "/api/tasks/1//",
        "/api/v1/users",
        "/%00",
        "/api/%0Atasks/x",
        "/api/tasks%0A",
        "/favicon.ico",
        "/static/missing.js",
    ],
)
@pytest.mark.parametrize("debug", [False, True])
def test_an_unrouted_path_is_not_found_in_json(path: str, debug: bool, ada: UserClient, settings: Any) -> None:
    settings.DEBUG = debug
    for method in ["GET", "POST", "DELETE", "OPTIONS"]:
        response = ada(method, path, Accept="text/html")
        assert response.status_code == 404
        assert response.content == b'{"detail":"Not found."}'
        assert response["Content-Type"] == "application/json"
