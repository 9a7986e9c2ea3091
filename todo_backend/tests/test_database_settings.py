"""PostgreSQL's settings for a database and a role, encodings and privileges."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from django.core.management import call_command
from django.db import ProgrammingError, connection
from django.test import Client

from testing.client import OPERATIONS, Logged, UserClient
from testing.database import default_database
from testing.failures import UNAVAILABLE, fail_with
from testing.processes import empty_postgresql, manage
from todo_backend.startup import log_configuration

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True)]

TITLE = "100 % \\n 'é' \"漢字\" 😀"
# Each was tried as a role's setting, too.
SETTINGS = {
    "datestyle": "German",
    "DateStyle": "SQL, DMY",
    "DATESTYLE": "Postgres",
    "intervalstyle": "postgres_verbose",
    "timezone": "Asia/Kathmandu",
    "client_encoding": "LATIN1",
    "standard_conforming_strings": "off",
    "backslash_quote": "off",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "default_transaction_isolation": "serializable",
    "quote_all_identifiers": "on",
    "client_min_messages": "debug1",
}


@pytest.mark.requirement("SC-004")
@pytest.mark.parametrize(("name", "value"), SETTINGS.items(), ids=SETTINGS.values())
def test_every_operation_works_with_unusual_settings(name: str, value: str, ada: UserClient, logged: Logged) -> None:
    url = empty_postgresql("unusual")
    with psycopg.connect(url, autocommit=True) as administrator:
        administrator.execute(f"ALTER DATABASE unusual SET {name} TO '{value}'".encode())
    with default_database(url):
        call_command("migrate", verbosity=0)
        connection.close()
        call_command("migrate", verbosity=0)
        assert Client().get("/readyz").status_code == 200
        task = ada.task(title=TITLE)
        assert task["title"] == TITLE
        assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", task["created_at"])
        path = f"/api/tasks/{task['id']}"
        # The setting costs a statement for each connection, and none for a request.
        with logged() as statements:
            assert ada("GET", "/api/tasks").json() == [task]
        assert len(statements) == 1
        assert ada("GET", path).json() == task
        assert ada("PUT", path, {"title": f"{TITLE}\\"}).json()["title"] == f"{TITLE}\\"
        assert ada("PATCH", f"{path}/complete").json()["completed"] is True
        assert ada("DELETE", path).status_code == 204


@pytest.fixture(params=["SQL_ASCII", "LATIN1", "EUC_JP"])
def encoding(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def encoded(encoding: str) -> str:
    """The URL of an empty database with that encoding."""
    return empty_postgresql("encoded", f"TEMPLATE template0 ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'")


@pytest.mark.requirement("SC-004")
def test_a_database_of_another_encoding_is_503_with_the_reason_in_the_log(
    encoding: str, encoded: str, ada: UserClient, caplog: pytest.LogCaptureFixture
) -> None:
    reason = f"the encoding of the database is {encoding}; it must be UTF8"
    with default_database(encoded):
        log_configuration()
        assert f"Pending migrations: unknown, because the database cannot be used: {reason}." in caplog.text
        for method, path, body in [*OPERATIONS, ("POST", "/api/tasks", {"title": "é" * 200}), ("GET", "/readyz", None)]:
            caplog.clear()
            response = ada(method, path, body)
            assert (response.status_code, response.json()) == (503, UNAVAILABLE)
            assert int(response["Retry-After"]) > 0
            assert f"refused: the database cannot be used: {reason}" in caplog.text
        assert connection.connection is None
        assert Client().get("/healthz").status_code == 200


def test_migrate_refuses_a_database_of_another_encoding_in_one_line(encoding: str, encoded: str) -> None:
    result = manage("migrate", DATABASE_URL=encoded, ALLOWED_HOSTS="api.example.com")
    assert result.returncode == 1
    assert result.stderr == f"Database error: the encoding of the database is {encoding}; it must be UTF8\n"


@contextmanager
def role_with(privileges: str) -> Iterator[None]:
    """Lets the connection act as a role with these privileges on the table, and with none if there are no names."""
    with connection.cursor() as cursor:
        cursor.execute("DROP ROLE IF EXISTS limited; CREATE ROLE limited; GRANT SELECT ON django_migrations TO limited")
        if privileges:
            cursor.execute(f"GRANT {privileges} ON tasks_task TO limited")
        cursor.execute("SET ROLE limited")
        try:
            yield
        finally:
            cursor.execute("RESET ROLE; DROP OWNED BY limited; DROP ROLE limited")


@pytest.mark.parametrize(("method", "path", "body"), OPERATIONS)
def test_an_operation_without_privileges_is_503_with_the_reason_in_the_log(
    method: str, path: str, body: Any, ada: UserClient, caplog: pytest.LogCaptureFixture
) -> None:
    with role_with(""):
        response = ada(method, path, body)
    assert (response.status_code, response.json()) == (503, UNAVAILABLE)
    assert int(response["Retry-After"]) > 0
    assert "refused: the database cannot be used: permission denied for table tasks_task" in caplog.text
    assert "private" not in caplog.text


@pytest.mark.parametrize("missing", ["SELECT", "INSERT", "UPDATE", "DELETE"])
def test_readyz_is_503_without_a_privilege_and_the_log_names_it(missing: str, caplog: pytest.LogCaptureFixture) -> None:
    reason = f"the role lacks privileges on the table tasks_task: {missing}"
    with role_with(", ".join({"SELECT", "INSERT", "UPDATE", "DELETE"} - {missing})):
        response = Client().get("/readyz")
    assert (response.status_code, response.json()) == (503, UNAVAILABLE)
    assert f"refused: the database cannot be used: {reason}" in caplog.text


def test_every_privilege_that_readyz_asks_for_is_enough(ada: UserClient) -> None:
    with role_with("SELECT, INSERT, UPDATE, DELETE"):
        assert Client().get("/readyz").status_code == 200
        path = f"/api/tasks/{ada.task()['id']}"
        assert ada("PATCH", path, {"title": "y"}).status_code == 200
        assert ada("DELETE", path).status_code == 204


def test_missing_privileges_are_logged_at_the_start(caplog: pytest.LogCaptureFixture) -> None:
    url = empty_postgresql("private")
    assert manage("migrate", DATABASE_URL=url).returncode == 0
    with psycopg.connect(url, autocommit=True) as administrator:
        administrator.execute("DROP ROLE IF EXISTS reader")
        administrator.execute("CREATE ROLE reader LOGIN")
        administrator.execute("GRANT SELECT ON tasks_task, django_migrations TO reader")
    with default_database(url.replace("user=postgres", "user=reader")):
        log_configuration()
        # The main thread of a worker serves no request, so it keeps no connection.
        assert connection.connection is None
    reason = "the role lacks privileges on the table tasks_task: INSERT, UPDATE, DELETE"
    assert f"Pending migrations: unknown, because the database cannot be used: {reason}." in caplog.text


def test_a_missing_schema_is_503(ada: UserClient, caplog: pytest.LogCaptureFixture) -> None:
    url = empty_postgresql("bare")
    assert manage("migrate", DATABASE_URL=url).returncode == 0
    with psycopg.connect(url, autocommit=True) as administrator:
        administrator.execute("DROP SCHEMA public CASCADE")
    with default_database(url):
        for method, path, body in [*OPERATIONS, ("GET", "/readyz", None)]:
            assert ada(method, path, body).status_code == 503
        assert "refused: the database lacks a table or a column (run `manage.py migrate`): " in caplog.text
    result = manage("migrate", DATABASE_URL=url, ALLOWED_HOSTS="api.example.com")
    assert result.returncode == 1
    [line] = result.stderr.splitlines()
    assert "no schema has been selected to create in" in line


def test_the_error_of_a_missing_schema_is_503_with_the_reason_in_the_log(
    ada: UserClient, caplog: pytest.LogCaptureFixture
) -> None:
    error = ProgrammingError('schema "todo" does not exist')
    error.__cause__ = psycopg.errors.InvalidSchemaName()
    with fail_with(error):
        response = ada("GET", "/api/tasks")
        ready = Client().get("/readyz")
    assert (response.status_code, response.json()) == (503, UNAVAILABLE)
    assert (ready.status_code, ready.json()) == (503, UNAVAILABLE)
    assert caplog.text.count('refused: the database cannot be used: schema "todo" does not exist') == 2
