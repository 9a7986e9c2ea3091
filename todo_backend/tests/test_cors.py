from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test import Client

from testing.client import UserClient

pytestmark = pytest.mark.django_db

ORIGIN = "http://localhost:3000"
PREFLIGHT = {"Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": "authorization,content-type"}


def header_list(response: Any, name: str) -> set[str]:
    return {item.strip().lower() for item in response[name].split(",")}


@pytest.mark.parametrize("path", ["/api/tasks", "/api/tasks/1", "/api/ada/tasks/1/complete", "/api/tasks/"])
def test_a_preflight_needs_no_token_and_is_cached_for_a_day(path: str, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        response = Client().options(path, headers={"Origin": ORIGIN, **PREFLIGHT})
    assert response.status_code == 200
    assert response["Access-Control-Allow-Origin"] == ORIGIN
    assert response["Access-Control-Allow-Credentials"] == "true"
    assert response["Access-Control-Max-Age"] == "86400"
    assert header_list(response, "Access-Control-Allow-Methods") == {"get", "post", "put", "patch", "delete"}
    assert header_list(response, "Access-Control-Allow-Headers") == {
        *("authorization", "content-type", "idempotency-key", "x-request-id")
    }
    assert "origin" in header_list(response, "Vary")


def test_a_preflight_for_another_host_is_400_which_the_origin_may_read() -> None:
    response = Client().options("/api/tasks", headers={"Origin": ORIGIN, "Host": "evil.example", **PREFLIGHT})
    assert (response.status_code, response.json()) == (400, {"detail": "This Host is not among ALLOWED_HOSTS."})
    assert response["Access-Control-Allow-Origin"] == ORIGIN


OTHER_ORIGINS = [
    *("http://localhost:3001", "https://localhost:3000", "http://localhost", "http://127.0.0.1:3000", "null", "*", ""),
    *("http://localhost:3000.evil.example", "http://evil.example", "http://[", "http://localhost:30000", "file://"),
]


@pytest.mark.parametrize("origin", OTHER_ORIGINS)
def test_another_origin_may_not_read(origin: str, ada: UserClient) -> None:
    for response in [
        ada("GET", "/api/tasks", Origin=origin),
        Client().options("/api/tasks", headers={"Origin": origin, **PREFLIGHT}),
    ]:
        assert not [name for name in response.headers if name.lower().startswith("access-control-")]


def test_the_log_names_the_origin_of_a_refused_preflight(caplog: pytest.LogCaptureFixture) -> None:
    for origin in ["http://localhost:3000", "http://127.0.0.1:3000"]:
        Client().options("/api/tasks", headers={"Origin": origin, **PREFLIGHT})
    messages = [record.message for record in caplog.records if record.name == "todo_backend.middleware"]
    assert messages == ["Origin 'http://127.0.0.1:3000' is not among CORS_ALLOWED_ORIGINS."]


def test_the_origin_may_read_every_answer_errors_included(ada: UserClient) -> None:
    task = ada.task()
    requests: list[tuple[int, str, str, dict[str, Any]]] = [
        (200, "GET", "/api/tasks", {}),
        (201, "POST", "/api/tasks", {"body": {"title": "x"}}),
        (200, "PATCH", f"/api/tasks/{task['id']}/complete", {}),
        (400, "POST", "/api/tasks", {"raw": b"{"}),
        (400, "GET", "/api/tasks", {"Host": "evil.example"}),
        (401, "GET", "/api/tasks", {"Authorization": "Bearer x"}),
        (403, "GET", "/api/bob/tasks", {}),
        (404, "GET", "/api/nowhere", {}),
        (404, "GET", "/nowhere", {}),
        (405, "DELETE", "/api/tasks", {}),
        (411, "POST", "/api/tasks", {"Transfer-Encoding": "chunked"}),
        (413, "POST", "/api/tasks", {"raw": b"x" * 70_000}),
        (415, "POST", "/api/tasks", {"raw": b"{}", "content_type": "text/plain"}),
        (422, "POST", "/api/tasks", {"body": {}}),
        (204, "DELETE", f"/api/tasks/{task['id']}", {}),
    ]
    for status, method, path, arguments in requests:
        response = ada(method, path, **{"Origin": ORIGIN, **arguments})
        assert response.status_code == status
        assert response["Access-Control-Allow-Origin"] == ORIGIN
        assert response["Access-Control-Allow-Credentials"] == "true"
        assert header_list(response, "Access-Control-Expose-Headers") == {
            *("location", "retry-after", "www-authenticate", "x-request-id")
        }


def test_the_origin_may_read_server_errors(ada: UserClient) -> None:
    for error, status in [(OperationalError, 503), (ZeroDivisionError, 500)]:

        def fail(*args: Any, error: type[Exception] = error) -> None:
            raise error

        with connection.execute_wrapper(fail):
            response = ada("GET", "/api/tasks", Origin=ORIGIN)
        assert response.status_code == status
        assert response["Access-Control-Allow-Origin"] == ORIGIN


def test_the_origins_are_those_of_the_settings(ada: UserClient, settings: Any) -> None:
    settings.CORS_ALLOWED_ORIGINS = ["https://a.example.com", "https://b.example.com"]
    for origin in settings.CORS_ALLOWED_ORIGINS:
        assert ada("GET", "/api/tasks", Origin=origin)["Access-Control-Allow-Origin"] == origin
    assert "Access-Control-Allow-Origin" not in ada("GET", "/api/tasks", Origin=ORIGIN)


@pytest.mark.parametrize("origin", [ORIGIN, "https://evil.example", "null"])
def test_with_a_star_every_origin_may_read_without_credentials(origin: str, ada: UserClient, settings: Any) -> None:
    settings.CORS_ALLOW_ALL_ORIGINS = True
    settings.CORS_ALLOW_CREDENTIALS = False
    for response in [
        ada("GET", "/api/tasks", Origin=origin),
        ada("GET", "/api/tasks", Origin=origin, Authorization="Bearer x"),
        Client().options("/api/tasks", headers={"Origin": origin, **PREFLIGHT}),
    ]:
        assert response["Access-Control-Allow-Origin"] == "*"
        assert "Access-Control-Allow-Credentials" not in response
        assert header_list(response, "Access-Control-Expose-Headers") >= {"x-request-id"}


def test_a_request_without_an_origin_gets_no_cors_header(ada: UserClient) -> None:
    response = ada("GET", "/api/tasks")
    assert "Access-Control-Allow-Origin" not in response
    assert "origin" in header_list(response, "Vary")
