"""The limit `TASKS_PER_USER`."""

from typing import Any

import pytest
from django.db import connection

from tasks.models import Task
from testing.client import Response, Rows, UserClient

pytestmark = pytest.mark.django_db

LIMIT = 3


@pytest.fixture(autouse=True)
def limit(settings: Any) -> None:
    settings.TASKS_PER_USER = LIMIT


@pytest.fixture
def full(ada: UserClient) -> UserClient:
    """A user with as many tasks as a user may have. The keys of their creates are "0", "1" and "2"."""
    for number in range(LIMIT):
        assert create(ada, str(number)).status_code == 201
    return ada


def create(user: UserClient, key: str | None = None, title: str = "x") -> Response:
    return user("POST", "/api/tasks", {"title": title}, **({"Idempotency-Key": key} if key else {}))


@pytest.mark.requirement("FR-002")
@pytest.mark.parametrize("key", [None, "new"])
def test_a_create_beyond_the_limit_is_409_and_writes_nothing(
    key: str | None, full: UserClient, rows: Rows, caplog: pytest.LogCaptureFixture
) -> None:
    before = rows()
    response = create(full, key)
    assert response.status_code == 409
    assert response.json() == {"detail": "You have 3 tasks, the most that a user may have."}
    assert response["Cache-Control"] == "no-store"
    assert rows() == before
    assert "409" in caplog.text
    assert "refused: TASKS_PER_USER" in caplog.text


def test_an_invalid_create_at_the_limit_is_422(full: UserClient) -> None:
    assert create(full, title=" ").status_code == 422


def test_a_repeated_key_is_201_at_the_limit(full: UserClient, rows: Rows) -> None:
    before = rows()
    for number in range(LIMIT):
        response = create(full, str(number), "Something else")
        assert (response.status_code, response.json()["id"]) == (201, before[number]["id"])
    assert rows() == before


def test_a_key_of_another_user_creates_no_task_at_the_limit(full: UserClient, bob: UserClient, rows: Rows) -> None:
    assert create(bob, "bob's").status_code == 201
    before = rows()
    assert create(full, "bob's").status_code == 409
    assert rows() == before


def test_the_tasks_of_other_users_do_not_count(full: UserClient, bob: UserClient) -> None:
    for _ in range(LIMIT):
        assert create(bob).status_code == 201
    assert create(bob).status_code == 409


def test_after_a_delete_there_is_room_for_one_task(full: UserClient, rows: Rows) -> None:
    assert full("DELETE", f"/api/tasks/{rows()[0]['id']}").status_code == 204
    assert [create(full).status_code for _ in range(2)] == [201, 409]


def test_tasks_above_a_lowered_limit_stay_and_can_be_changed(full: UserClient, settings: Any, rows: Rows) -> None:
    settings.TASKS_PER_USER = 1
    before = rows()
    assert create(full).status_code == 409
    assert create(full, "2").json()["id"] == before[2]["id"]
    assert rows() == before
    assert full("PATCH", f"/api/tasks/{before[0]['id']}", {"title": "y"}).status_code == 200
    assert len(full("GET", "/api/tasks").json()) == LIMIT
    assert full("DELETE", f"/api/tasks/{before[0]['id']}").status_code == 204
    assert create(full).status_code == 409


@pytest.mark.parametrize("key", [None, "new", "1"])
def test_the_limit_is_decided_in_the_statement_of_the_create(
    key: str | None, full: UserClient, django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(1):
        create(full, key)


def test_of_10000_tasks_the_last_is_created_and_no_further_one(ada: UserClient, settings: Any) -> None:
    settings.TASKS_PER_USER = 10_000
    Task.objects.bulk_create(Task(user_id="ada", title="x") for _ in range(9_999))
    assert create(ada).status_code == 201
    assert create(ada).json() == {"detail": "You have 10000 tasks, the most that a user may have."}


@pytest.mark.postgresql
def test_counting_reads_an_index_and_no_further_than_the_limit() -> None:
    Task.objects.bulk_create(Task(user_id=f"user {number % 200}", title="x" * 200) for number in range(10_000))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE tasks_task")

        def explain(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
            execute(f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) {sql}", params, many, context)
            plan.extend(line for (line,) in context["cursor"].fetchall())
            return execute(sql, params, many, context)

        plan: list[str] = []
        with connection.execute_wrapper(explain):
            assert Task.objects.for_user("user 0").create_row({"title": "x"}) is None
    scans = [line for line in plan if " on tasks_task" in line and "never executed" not in line]
    assert any("Index" in line and f"rows={LIMIT} " in line for line in scans), plan
