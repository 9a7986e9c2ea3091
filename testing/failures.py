"""Failures of the database and of a middleware, and the answers to them."""

from typing import Any

from django.db import connection

UNAVAILABLE = {"detail": "The database cannot be reached."}
UNKNOWN = {"detail": "The connection to the database broke; whether the change was made is unknown."}


def fail_with(error: Exception) -> Any:
    """A context in which each statement raises the error."""

    def execute(execute: Any, sql: str, params: Any, many: bool, context: Any) -> None:
        raise error

    return connection.execute_wrapper(execute)


# A test replaces it.
middleware_error: type[Exception] = ZeroDivisionError


def failing_middleware(get_response: Any) -> Any:
    """Raises `middleware_error` for each request."""

    def middleware(request: Any) -> Any:
        raise middleware_error

    return middleware
