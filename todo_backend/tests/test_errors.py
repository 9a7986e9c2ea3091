import json
import logging
from typing import Any

import pytest
from django.core.exceptions import SuspiciousOperation
from django.db import DataError, InterfaceError, OperationalError, connection
from django.http import Http404
from django.test import Client

from tasks.models import Task
from testing.client import OPERATIONS, UserClient
from testing.failures import fail_with
from todo_backend.environment import allowed_hosts

pytestmark = pytest.mark.django_db


@pytest.fixture(params=[False, True], ids=["DEBUG off", "DEBUG on"])
def debug(request: pytest.FixtureRequest, settings: Any) -> None:
    settings.DEBUG = request.param


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "", "a b", "[::1", "localhost:x", "\u00e9"])
@pytest.mark.parametrize("path", ["/api/tasks", "/nowhere", "/api/docs", "/api/schema"])
def test_a_host_that_is_not_allowed_is_400(host: str, path: str, debug: None, ada: UserClient) -> None:
    response = ada("GET", path, Host=host, Accept="text/html")
    assert response.status_code == 400
    assert response.content == b'{"detail":"This Host is not among ALLOWED_HOSTS."}'
    assert response["Content-Type"] == "application/json"


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "LOCALHOST", "127.0.0.1:1", "[::1]", "[::1]:8000"])
def test_the_hosts_of_this_machine_are_allowed_by_default(host: str, ada: UserClient) -> None:
    assert ada("GET", "/api/tasks", Host=host).status_code == 200


@pytest.mark.parametrize(
    ("allowed", "sent"),
    [
        ("API.example.com", "api.EXAMPLE.com.:8000"),
        (".example.com", "example.com"),
        (".example.com", "a.b.example.com"),
        ("xn--bcher-kva.de", "xn--bcher-kva.de"),
        ("a--b.-c-.d..e", "a--b.-c-.d..e"),
        ("[::ffff:10.0.0.1]", "[::FFFF:10.0.0.1]:80"),
        ("[0:0:0:0:0:0:0:1]", "[0:0:0:0:0:0:0:1]"),
        ("10.0.0.1", "10.0.0.1:8000"),
        ("*", "any.example"),
    ],
)
def test_a_host_in_the_variable_is_allowed(allowed: str, sent: str, ada: UserClient, settings: Any) -> None:
    settings.ALLOWED_HOSTS = allowed_hosts({"ALLOWED_HOSTS": allowed})
    assert ada("GET", "/api/tasks", Host=sent).status_code == 200


@pytest.mark.requirement("SC-005")
@pytest.mark.parametrize(
    "accept", ["text/html", "application/xml", "image/png", "x", "", "application/json;q=0", "*/*"]
)
def test_answers_are_json_whatever_is_accepted(accept: str, debug: None, ada: UserClient) -> None:
    task = ada.task()
    for path, status in [("/api/tasks", 200), ("/api/tasks?format=html", 200), ("/api/tasks/0", 404)]:
        response = ada("GET", path, Accept=accept)
        assert (response.status_code, response["Content-Type"]) == (status, "application/json")
    assert Client().get(f"/api/tasks/{task['id']}", headers={"Accept": accept}).json() == {
        "detail": "Authentication credentials were not provided."
    }


@pytest.fixture
def broken_table() -> None:
    """Renames a column that the model has. The test's transaction is rolled back."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE tasks_task RENAME COLUMN title TO heading")


@pytest.mark.sqlite
@pytest.mark.postgresql
@pytest.mark.parametrize(("method", "path", "body"), OPERATIONS[:5])
def test_a_database_without_its_columns_is_503_and_the_log_says_migrate(
    method: str,
    path: str,
    body: Any,
    debug: None,
    ada: UserClient,
    broken_table: None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    response = ada(method, path, body)
    assert response.status_code == 503
    assert response.json() == {"detail": "The database cannot be reached."}
    assert int(response["Retry-After"]) > 0
    assert "refused: the database lacks a table or a column (run `manage.py migrate`): " in caplog.text
    assert "private" not in caplog.text


@pytest.mark.sqlite
@pytest.mark.postgresql
@pytest.mark.parametrize(("method", "path", "body"), OPERATIONS)
def test_a_database_without_its_table_is_503_and_the_log_says_migrate(
    method: str, path: str, body: Any, debug: None, ada: UserClient, caplog: pytest.LogCaptureFixture
) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE tasks_task")
    response = ada(method, path, body)
    assert response.status_code == 503
    assert response.json() == {"detail": "The database cannot be reached."}
    assert int(response["Retry-After"]) > 0
    assert "refused: the database lacks a table or a column (run `manage.py migrate`): " in caplog.text


@pytest.mark.sqlite
def test_a_text_that_is_not_utf_8_is_503_and_is_not_logged(ada: UserClient, caplog: pytest.LogCaptureFixture) -> None:
    """Only another program can have written it. SQLite's error quotes it."""
    ada.task()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE tasks_task SET description = CAST(x'70726976617465ff' AS TEXT)")
    assert ada("GET", "/api/tasks").status_code == 503
    assert "Could not decode to UTF-8 column 'description'" in caplog.text
    assert "private" not in caplog.text


def test_http404_is_answered_with_404(ada: UserClient) -> None:
    with fail_with(Http404("No Task matches the given query.")):
        response = ada("GET", "/api/tasks")
    assert (response.status_code, response.content) == (404, b'{"detail":"Not found."}')


@pytest.mark.requirement("FR-011")
@pytest.mark.parametrize(
    "error", [OperationalError("db at 10.0.0.7 is gone"), InterfaceError("connection already closed")]
)
@pytest.mark.parametrize(("method", "path", "body"), OPERATIONS)
def test_a_failing_database_is_503_without_details(
    method: str, path: str, body: Any, error: Exception, debug: None, ada: UserClient
) -> None:
    with fail_with(error):
        response = ada(method, path, body)
    assert response.status_code == 503
    assert response.json() == {"detail": "The database cannot be reached."}
    assert int(response["Retry-After"]) > 0


@pytest.mark.requirement("FR-011")
@pytest.mark.parametrize("error", [ZeroDivisionError("secret of the house"), DataError("secret of the house")])
@pytest.mark.parametrize(("method", "path", "body"), OPERATIONS)
def test_an_unexpected_error_is_500_and_its_traceback_is_only_in_the_log(
    method: str, path: str, body: Any, error: Exception, debug: None, ada: UserClient, caplog: pytest.LogCaptureFixture
) -> None:
    with fail_with(error):
        response = ada(method, path, body, Accept="text/html")
    assert response.status_code == 500
    assert response.content == b'{"detail":"Internal server error."}'
    assert response["Cache-Control"] == "no-store"
    assert response["Content-Type"] == "application/json"
    [record] = [record for record in caplog.records if record.exc_info]
    assert record.levelno == logging.ERROR
    assert "secret of the house" in caplog.text
    assert ada.token not in caplog.text


@pytest.mark.parametrize(
    ("error", "status", "detail"),
    [(ZeroDivisionError, 500, b"Internal server error."), (SuspiciousOperation, 400, b"Bad request.")],
)
def test_an_error_outside_the_views_is_json_too(
    error: type[Exception], status: int, detail: bytes, debug: None, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("testing.failures.middleware_error", error)
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "testing.failures.failing_middleware"]
    client = Client(raise_request_exception=False)
    response = client.get("/api/tasks", headers={"Origin": "http://localhost:3000", "Accept": "text/html"})
    assert (response.status_code, response.content) == (status, b'{"detail":"%s"}' % detail)
    assert response["Content-Type"] == "application/json"
    assert response["Cache-Control"] == "no-store"
    assert response["Access-Control-Allow-Origin"] == "http://localhost:3000"


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_an_unsupported_method_of_a_probe_is_405_in_json(path: str, debug: None) -> None:
    for method in ["POST", "OPTIONS", "DELETE", "PATCH"]:
        response = Client().generic(method, path, headers={"Accept": "text/html"})
        assert response.status_code == 405
        assert response["Allow"] == "GET, HEAD"
        assert json.loads(response.content) == {"detail": f'Method "{method}" not allowed.'}


@pytest.mark.parametrize(
    "path", ["/api/tasks", "/api/tasks/1", "/api/nowhere", "/api/schema", "/api/docs", "/api/", "/api/tasks/"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_answers_under_api_are_not_stored(path: str, method: str, ada: UserClient) -> None:
    assert ada(method, path)["Cache-Control"] == "no-store"
    assert ada(method, path, Host="evil.example")["Cache-Control"] == "no-store"
    assert Client().generic(method, path)["Cache-Control"] == "no-store"


def test_answers_elsewhere_may_be_stored() -> None:
    assert "Cache-Control" not in Client().get("/healthz")


def test_a_failed_write_changes_no_row(ada: UserClient) -> None:
    task = ada.task()
    with fail_with(OperationalError("gone")):
        ada("PATCH", f"/api/tasks/{task['id']}", {"title": "x"})
        ada("DELETE", f"/api/tasks/{task['id']}")
    assert Task.objects.get().title == task["title"]
