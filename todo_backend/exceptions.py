"""What every error looks like: `{"detail": "<a sentence>"}`, whatever `Accept` and `DEBUG` say."""

import json
import logging
from typing import Any

from django.db import DatabaseError, InterfaceError, InternalError, OperationalError, ProgrammingError, connection
from django.http import Http404, HttpResponse
from rest_framework import status
from rest_framework.exceptions import APIException, NotFound, ValidationError
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request

logger = logging.getLogger(__name__)

# Seconds after which a client may try again what failed for want of a database.
RETRY_AFTER = 2


encode = json.JSONEncoder(separators=(",", ":")).encode


class LengthRequired(APIException):
    status_code = status.HTTP_411_LENGTH_REQUIRED
    default_detail = "Send a Content-Length with the body."


class ContentTooLarge(APIException):
    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_detail = "The body is too large."


class BetterAuthUnavailable(APIException):
    """The token cannot be verified now; `wait` is the number of seconds after which it may be tried again."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_detail = "Better Auth cannot be reached for the keys that verify the token."

    def __init__(self, wait: int) -> None:
        super().__init__()
        self.wait = wait


def error_response(
    status_code: int, detail: str, headers: dict[str, str] | None = None, **members: object
) -> HttpResponse:
    # Each by itself, because for a text alone Python has a way that is ten times as fast.
    content = ",".join(f'"{name}":{encode(value)}' for name, value in {"detail": detail, **members}.items())
    response = HttpResponse(f"{{{content}}}", status=status_code, headers=headers, content_type="application/json")
    # Or Django makes a record of it, which the log's filter drops.
    response._has_been_logged = True  # type: ignore[attr-defined]
    return response


def exception_handler(exc: Exception, context: dict[str, Any]) -> HttpResponse:
    """The answer to an exception raised in a view (Django REST Framework's `EXCEPTION_HANDLER`)."""
    if isinstance(exc, ValidationError):
        return invalid(exc)
    if isinstance(exc, Http404):
        exc = NotFound()
    if isinstance(exc, APIException):
        headers = {"WWW-Authenticate": getattr(exc, "auth_header", None), "Retry-After": getattr(exc, "wait", None)}
        sent = {name: str(value) for name, value in headers.items() if value}
        return error_response(exc.status_code, str(exc.detail), sent)
    if is_unmigrated(exc):
        logger.error("The database lacks a table or a column: run `manage.py migrate`. %s", first_line(exc))
        return unavailable(context["request"])
    # PostgreSQL raises InternalError where it is read-only. SQLite has nothing more special than DatabaseError for a
    # file that is no database.
    if isinstance(exc, (OperationalError, InterfaceError, InternalError)) or type(exc) is DatabaseError:
        logger.error("The database cannot be used: %s", first_line(exc))
        return unavailable(context["request"])
    logger.error("Internal server error.", exc_info=exc)
    return error_response(500, "Internal server error.")


def invalid(exc: ValidationError) -> HttpResponse:
    """422: JSON that does not fit, with every offending field."""
    errors: Any = exc.detail if isinstance(exc.detail, dict) else {"non_field_errors": exc.detail}
    field, messages = next(iter(errors.items()))
    return error_response(422, f"{field}: {messages[0]}", errors=errors)


def is_unmigrated(exc: Exception) -> bool:
    """Whether the statement named a table or a column that the database does not have."""
    if not isinstance(exc, DatabaseError):
        return False
    if isinstance(exc, ProgrammingError):
        # Class 42: 42P01 undefined_table, 42703 undefined_column (PostgreSQL, appendix A).
        return getattr(exc.__cause__, "sqlstate", None) in ("42P01", "42703")
    return str(exc).startswith(("no such table", "no such column")) or "has no column named" in str(exc)


def first_line(exc: Exception) -> str:
    """PostgreSQL's message without the lines after it, which quote the statement and what a user wrote."""
    return str(exc).partition("\n")[0]


def unavailable(request: Request) -> HttpResponse:
    """503, with `Retry-After` unless a write may have been done without its answer arriving."""
    broken = getattr(connection.connection, "closed", False)
    if request.method not in SAFE_METHODS and broken:
        return error_response(503, "The connection to the database broke; whether the change was made is unknown.")
    return retry_later("The database cannot be reached.")


def retry_later(detail: str) -> HttpResponse:
    return error_response(503, detail, {"Retry-After": str(RETRY_AFTER)})
