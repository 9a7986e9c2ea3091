"""Failures of the database and of code outside the views, and what the API answers to them."""

import threading
from collections.abc import Callable
from typing import Any

from django.db import connection

UNAVAILABLE = {"detail": "The database cannot be reached."}
UNKNOWN = {"detail": "The connection to the database broke; whether the change was made is unknown."}


def in_thread(request: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    answers: list[Any] = []

    def call() -> None:
        try:
            answers.append(request())
        finally:
            connection.close()

    thread = threading.Thread(target=call)
    thread.start()
    return thread, answers


def fail_with(error: Exception) -> Any:
    def execute(execute: Any, sql: str, params: Any, many: bool, context: Any) -> None:
        raise error

    return connection.execute_wrapper(execute)


# A test replaces it.
middleware_error: type[Exception] = ZeroDivisionError


def failing_middleware(get_response: Any) -> Any:
    def middleware(request: Any) -> Any:
        raise middleware_error

    return middleware
