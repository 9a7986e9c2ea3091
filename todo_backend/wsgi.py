"""The WSGI application, for `granian` and `runserver` alike."""

import logging
import os
import sys
from contextlib import closing
from typing import Any

import django
from django.core.cache import close_caches
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest
from django.core.signals import request_finished, request_started
from django.db import reset_queries
from django.utils.http import parse_header_parameters

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "todo_backend.settings")


# Characters of a Content-Type. Parsing takes the square of its length, and the server lets 400 KB through: 6 seconds.
MAX_CONTENT_TYPE = 1000


class Request(WSGIRequest):
    """Takes nothing but the body's type from `Content-Type`.

    Django decodes the query string, too, with its charset, which may be no text encoding at all; and where the header's
    parameters are malformed (RFC 2231), it raises before there is anything that could answer.
    """

    def _set_content_type_params(self, meta: dict[str, str]) -> None:
        content_type = meta.get("CONTENT_TYPE", "")
        try:
            if len(content_type) > MAX_CONTENT_TYPE:
                raise ValueError("too long")
            self.content_type, self.content_params = parse_header_parameters(content_type)
        except ValueError:
            content_type = self.content_type = ""
            self.content_params = {}
        # Django REST Framework parses it again, and where there is none one spelt Content_Type.
        meta["CONTENT_TYPE"] = content_type


class Handler(WSGIHandler):
    request_class = Request


try:
    django.setup(set_prefix=False)
except ImproperlyConfigured as exc:
    sys.exit(f"Configuration error: {exc}")
handler = Handler()


def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Answers as a whole: with an answer in parts a thread of Granian waits for a client who does not read it."""
    response: Any
    with closing(handler(environ, start_response)) as response:
        return [b"".join(response)]


from todo_backend.startup import log_configuration  # noqa: E402  needs the app registry

log_configuration()

# With each request these would look for caches, of which there are none, and for DEBUG's statements, of which a
# connection keeps 9000 at most.
request_started.disconnect(reset_queries)
request_finished.disconnect(close_caches)
# What no line of the log shows need not be found out for it (Python's logging HOWTO, "Optimization").
logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
logging._srcfile = None
