"""Connections that were cut while idle are noticed before they are used, without a round trip for each request."""

import os
import resource
from contextlib import ExitStack
from time import monotonic
from typing import Any

import psycopg
import pytest
from django.db import connection

from testing.processes import database_url
from todo_backend.postgresql import base

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("as_served")]


def cut_all_others() -> None:
    with psycopg.connect(database_url()) as administrator:
        administrator.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )


def test_a_connection_in_use_is_not_asked_whether_it_lives(ada: Any, logged: Any) -> None:
    ada("GET", "/api/tasks")
    with logged() as statements:
        for _ in range(5):
            assert ada("GET", "/api/tasks").status_code == 200
    assert [statement.split()[0] for statement in statements] == ["SELECT"] * 5


def test_nor_is_one_whose_descriptor_is_above_1023(ada: Any, logged: Any) -> None:
    """A server with many clients has such descriptors, which select() does not take."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    connection.close()
    with ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
        while stack.enter_context(open(os.devnull, "rb")).fileno() < 1024:
            pass
        ada("GET", "/api/tasks")
        assert connection.connection.pgconn.socket > 1023
        with logged() as statements:
            assert ada("GET", "/api/tasks").status_code == 200
        connection.close()
    assert len(statements) == 1


def test_one_that_was_cut_while_idle_costs_no_request(ada: Any) -> None:
    task = ada.task()
    path = f"/api/tasks/{task['id']}"
    for method, suffix, body, status in [
        ("GET", "", None, 200),
        ("PATCH", "", {"title": "x"}, 200),
        ("PATCH", "/complete", None, 200),
        ("DELETE", "", None, 204),
    ]:
        cut_all_others()
        assert ada(method, f"{path}{suffix}", body).status_code == status


def test_one_that_this_side_closed_is_replaced(ada: Any) -> None:
    ada("GET", "/api/tasks")
    connection.connection.close()
    for _ in range(2):
        assert ada("GET", "/api/tasks").status_code == 200


def test_after_a_minute_and_after_an_error_it_is_asked(ada: Any, logged: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def count_of_statements() -> int:
        with logged() as statements:
            ada("GET", "/api/tasks")
        return len(statements)

    ada("GET", "/api/tasks")
    now = monotonic()
    monkeypatch.setattr(base, "monotonic", lambda: now + base.TRUSTED_FOR + 1)
    assert [count_of_statements(), count_of_statements()] == [2, 1]
    connection.errors_occurred = True
    assert [count_of_statements(), count_of_statements()] == [2, 1]
