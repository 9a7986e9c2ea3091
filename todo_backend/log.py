"""Logging: one line for each request, and the id of a request in every line that it causes."""

import logging
import re
import secrets
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import psycopg
from django.db import Error
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.encoding import escape_uri_path
from pythonjsonlogger.core import RESERVED_ATTRS

from .exceptions import first_line

logger = logging.getLogger(__name__)

MESSAGE = "%(method)s %(path)s %(status)d in %(milliseconds).1f ms, user %(user)r"
REFUSED_MESSAGE = f"{MESSAGE}, refused: %(refused)s"
# Characters of a method or a path in the log
MAX_LENGTH = 200
# The OpenAPI document has this pattern, too. In ECMA-262 a hyphen in a class is written \-.
REQUEST_ID = re.compile(r"[A-Za-z0-9._\-]{1,128}")

request_id: ContextVar[str] = ContextVar("request_id")


def log_request(get_response: Callable[[HttpRequest], HttpResponseBase]) -> Callable[[HttpRequest], HttpResponseBase]:
    """Logs each request in one line, without its query, and sends its id in `X-Request-ID`.

    The id is the request's own `X-Request-ID` if that is 1 to 128 of `A-Za-z0-9._-`, and a new random one otherwise.
    """

    def middleware(request: HttpRequest) -> HttpResponseBase:
        start = time.perf_counter()
        sent = request.META.get("HTTP_X_REQUEST_ID", "")
        current = sent if REQUEST_ID.fullmatch(sent) else secrets.token_hex(16)
        previous = request_id.set(current)
        try:
            response = get_response(request)
            response["X-Request-ID"] = current
            log_response(request, response, time.perf_counter() - start)
            return response
        finally:
            request_id.reset(previous)

    return middleware


def log_response(request: HttpRequest, response: HttpResponseBase, seconds: float) -> None:
    fields = {
        "method": str(request.method)[:MAX_LENGTH],
        # Percent-encoded, because a path may contain a line break.
        "path": escape_uri_path(request.path[:MAX_LENGTH])[:MAX_LENGTH],
        "status": response.status_code,
        "milliseconds": round(seconds * 1000, 1),
        "user": getattr(getattr(request, "user", None), "pk", None),
    }
    message = MESSAGE
    if reason := getattr(response, "reason", None):
        fields["refused"] = reason
        message = REFUSED_MESSAGE
    level = logging.ERROR if response.status_code >= 500 else logging.INFO
    logger.log(level, message, fields, extra=fields)


class RequestIdFilter(logging.Filter):
    """Adds `request_id` to each record that is logged while a request is answered."""

    def filter(self, record: logging.LogRecord) -> bool:
        if value := request_id.get(None):
            record.request_id = value
        return True


class DatabaseErrorFilter(logging.Filter):
    """Cuts database errors in a traceback to their first line. The lines after it quote what users wrote."""

    def filter(self, record: logging.LogRecord) -> bool:
        exc = record.exc_info[1] if record.exc_info else None
        while exc:
            if isinstance(exc, (Error, psycopg.Error)):
                exc.args = (first_line(exc),)
            exc = exc.__cause__ or exc.__context__
        return True


class UTCFormatter(logging.Formatter):
    """Writes UTC. Django sets the process's time zone to `TIME_ZONE`, but cannot do so on Windows."""

    converter = staticmethod(time.gmtime)


def logging_config(level: str, formatter: str) -> dict[str, Any]:
    """Django's `LOGGING`; `formatter` is `text` or `json`.

    settings.py calls this function, so nothing that this module imports may use a setting while it is imported.
    """
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {
            "request_id": {"()": RequestIdFilter},
            "database_error": {"()": DatabaseErrorFilter},
            "traceback": {"()": "django.utils.log.CallbackFilter", "callback": lambda record: record.exc_info},
            "no_request_line": {
                "()": "django.utils.log.CallbackFilter",
                # The line of http.server for each request.
                "callback": lambda record: record.msg != '"%s" %s %s',
            },
            "no_thread_warning": {
                "()": "django.utils.log.CallbackFilter",
                # Granian's warning about more threads than cores. Here threads mostly wait for the database.
                "callback": lambda record: not record.getMessage().startswith("Configuration allows spawning"),
            },
        },
        "formatters": {
            "text": {
                "()": UTCFormatter,
                "fmt": "%(asctime)s %(levelname)s %(name)s %(request_id)s: %(message)s",
                "defaults": {"request_id": "-"},
            },
            "json": {
                "()": "pythonjsonlogger.json.JsonFormatter",
                "fmt": "{levelname}{name}{message}",
                "style": "{",
                "timestamp": True,
                # Django adds the request object to some records. As text it contains the query.
                "reserved_attrs": [*RESERVED_ATTRS, "request", "server_time"],
                "rename_fields": {"levelname": "level", "name": "logger"},
            },
        },
        "handlers": {
            "console": {
                "class": "logging.StreamHandler",
                "filters": ["request_id", "database_error"],
                "formatter": formatter,
            },
        },
        "root": {"handlers": ["console"], "level": level},
        "loggers": {
            # Django's own handlers would print each record a second time with DEBUG, and send e-mails without.
            "django": {"handlers": [], "level": "NOTSET"},
            # At level DEBUG these two log statements and template variables, which contain users' texts.
            "django.db.backends": {"level": "INFO"},
            "django.template": {"level": "INFO"},
            # log_request logs each request. The line of runserver would be a second one, with the query.
            "django.request": {"level": "ERROR", "filters": ["traceback"]},
            "django.server": {"handlers": [], "level": "NOTSET", "propagate": True, "filters": ["no_request_line"]},
            "_granian": {"filters": ["no_thread_warning"]},
        },
    }
