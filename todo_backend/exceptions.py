"""The form of every error: `{"detail": "<a sentence>"}` in JSON, whatever `Accept` and `DEBUG` say."""

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

# Seconds after which a client may repeat a request that the database could not answer.
RETRY_AFTER = 2

# Escapes a lone surrogate, which the claims of a token may contain. orjson would raise an error.
json_encoder = json.JSONEncoder(separators=(",", ":"))


class LengthRequired(APIException):
    status_code = status.HTTP_411_LENGTH_REQUIRED
    default_detail = "Send a Content-Length with the body."
    default_code = "length_required"


class ContentTooLarge(APIException):
    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_detail = "The body is too large."
    default_code = "content_too_large"


class TooManyBodies(APIException):
    """No thread may read the body now. The client may repeat the request after `wait` seconds; `reason` is logged."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_detail = "Too many requests are still sending their bodies; try again."
    default_code = "too_many_bodies"
    wait = 1

    def __init__(self, reason: str) -> None:
        super().__init__()
        self.reason = reason


class BetterAuthUnavailable(APIException):
    """The token cannot be verified now. The client may repeat the request after `wait` seconds.

    `reason` is for the log.
    """

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_detail = "Better Auth cannot be reached for the keys that verify the token."
    default_code = "better_auth_unavailable"

    def __init__(self, wait: int, *, reason: str, detail: str | None = None) -> None:
        super().__init__(detail)
        self.wait = wait
        self.reason = reason


class ErrorResponse(HttpResponse):
    """An error. `reason` explains it in the log and is not sent."""

    def __init__(
        self,
        status_code: int,
        detail: str,
        headers: dict[str, str] | None = None,
        *,
        reason: str | None = None,
        **members: object,
    ) -> None:
        content = json_encoder.encode({"detail": detail, **members})
        super().__init__(content, status=status_code, headers=headers, content_type="application/json")
        self.reason = reason


def exception_handler(exc: Exception, context: dict[str, Any]) -> HttpResponse:
    """The answer to an exception raised in a view (Django REST Framework's `EXCEPTION_HANDLER`)."""
    if isinstance(exc, ValidationError):
        return validation_error_response(exc)
    if isinstance(exc, Http404):
        exc = NotFound()
    if isinstance(exc, APIException):
        headers = {"WWW-Authenticate": getattr(exc, "auth_header", None), "Retry-After": getattr(exc, "wait", None)}
        sent = {name: str(value) for name, value in headers.items() if value}
        return ErrorResponse(exc.status_code, str(exc.detail), sent, reason=getattr(exc, "reason", None))
    if is_unmigrated(exc):
        reason = f"the database lacks a table or a column (run `manage.py migrate`): {first_line(exc)}"
        return unavailable_response(context["request"], reason)
    if is_unusable(exc):
        return unavailable_response(context["request"], unusable_reason(exc))
    logger.error("Internal server error.", exc_info=exc)
    return ErrorResponse(500, "Internal server error.")


def validation_error_response(exc: ValidationError) -> HttpResponse:
    """422 with every invalid field under `errors`; `detail` shows the first one."""
    errors: Any = exc.detail if isinstance(exc.detail, dict) else {"non_field_errors": exc.detail}
    field, messages = next(iter(errors.items()))
    return ErrorResponse(422, f"{field}: {messages[0]}", errors=errors)


def is_unmigrated(exc: Exception) -> bool:
    """Whether the statement named a table or a column that the database does not have."""
    if not isinstance(exc, DatabaseError):
        return False
    if isinstance(exc, ProgrammingError):
        return sqlstate(exc) in ("42P01", "42703")  # undefined_table, undefined_column
    return str(exc).startswith(("no such table", "no such column")) or "has no column named" in str(exc)


def is_unusable(exc: Exception) -> bool:
    """Whether the database cannot be reached, or does not let its role do the statement."""
    if isinstance(exc, ProgrammingError):
        return sqlstate(exc) in ("42501", "3F000")  # insufficient_privilege, invalid_schema_name
    # PostgreSQL raises InternalError if it is read-only. SQLite raises DatabaseError itself for a file that is not a
    # database.
    return isinstance(exc, (OperationalError, InterfaceError, InternalError)) or type(exc) is DatabaseError


def sqlstate(exc: Exception) -> str | None:
    """PostgreSQL's code of a database's error (PostgreSQL, appendix A)."""
    return getattr(exc.__cause__, "sqlstate", None)


# tasks.management.errors has a function like this one, because tasks does not import todo_backend.
def first_line(exc: Exception) -> str:
    """The message of a database's error without users' texts.

    The further lines of PostgreSQL's message quote rows and statements. SQLite quotes a text that is not UTF-8, which
    only another program can have written.
    """
    return str(exc).partition("\n")[0].partition(" with text '")[0]


def unusable_reason(exc: Exception) -> str:
    """The reason why the database cannot be used, for the log."""
    return f"the database cannot be used: {first_line(exc)}"


def unavailable_response(request: Request, reason: str) -> HttpResponse:
    """503 with `Retry-After`; without it if the connection broke during a write, which may have been committed."""
    broken = getattr(connection.connection, "closed", False)
    if request.method not in SAFE_METHODS and broken:
        detail = "The connection to the database broke; whether the change was made is unknown."
        return ErrorResponse(503, detail, reason=reason)
    return retry_later_response("The database cannot be reached.", reason)


def retry_later_response(detail: str, reason: str) -> HttpResponse:
    return ErrorResponse(503, detail, {"Retry-After": str(RETRY_AFTER)}, reason=reason)
