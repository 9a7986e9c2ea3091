import re
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test import Client

from tasks.models import Task

pytestmark = [pytest.mark.sqlite, pytest.mark.postgresql]

ANY_HOST = {"Host": "10.1.2.3:8000"}


def test_healthz_needs_no_database_no_token_and_no_host() -> None:
    for path in ["/healthz", "/healthz/"]:
        response = Client().get(path, headers=ANY_HOST)
        assert (response.status_code, response.json()) == (200, {"status": "ok"})


@pytest.mark.django_db
def test_readyz_is_200_with_all_migrations() -> None:
    for path in ["/readyz", "/readyz/"]:
        response = Client().get(path, headers=ANY_HOST)
        assert (response.status_code, response.json()) == (200, {"status": "ok"})


@pytest.mark.django_db
def test_readyz_is_503_without_a_migration(caplog: pytest.LogCaptureFixture) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'tasks'")
    response = Client().get("/readyz", headers=ANY_HOST)
    assert response.status_code == 503
    assert response.json() == {"detail": "The database lacks migrations: run `manage.py migrate`."}
    assert int(response["Retry-After"]) > 0
    assert "refused: pending migrations: tasks.0001_initial" in caplog.text


@pytest.mark.django_db
def test_readyz_is_503_without_a_database(caplog: pytest.LogCaptureFixture) -> None:
    def fail(*args: Any) -> None:
        raise OperationalError("the server at 10.0.0.7 is gone")

    with connection.execute_wrapper(fail):
        response = Client().get("/readyz", headers=ANY_HOST)
        assert Client().get("/healthz").status_code == 200
    assert response.status_code == 503
    assert response.json() == {"detail": "The database cannot be reached."}
    assert int(response["Retry-After"]) > 0
    assert "refused: the database cannot be used: the server at 10.0.0.7 is gone" in caplog.text


@pytest.mark.django_db
def test_readyz_is_503_without_the_table(caplog: pytest.LogCaptureFixture) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE tasks_task")
    response = Client().get("/readyz", headers=ANY_HOST)
    assert (response.status_code, response.json()) == (503, {"detail": "The database cannot be reached."})
    assert re.search("refused: the database cannot be used: .*tasks_task", caplog.text)


@pytest.mark.django_db
def test_readyz_checks_the_tables_of_the_models(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Task._meta, "db_table", "another_table")
    assert Client().get("/readyz").status_code == 503
    assert re.search("refused: the database cannot be used: .*another_table", caplog.text)


@pytest.mark.requirement("FR-010")
@pytest.mark.django_db
def test_migrate_creates_only_the_table_of_tasks() -> None:
    tables = set(connection.introspection.table_names())
    assert tables == {"tasks_task", "django_migrations"}
    with connection.cursor() as cursor:
        cursor.execute("SELECT DISTINCT app FROM django_migrations")
        assert cursor.fetchall() == [("tasks",)]
