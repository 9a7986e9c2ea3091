"""The WSGI application, for `granian` and `runserver` alike."""

import os
import sys

import django
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest
from django.utils.http import parse_header_parameters

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "todo_backend.settings")


class Request(WSGIRequest):
    """Takes nothing but the body's type from `Content-Type`.

    Django decodes the query string, too, with its charset, which may be no text encoding at all; and where the header's
    parameters are malformed (RFC 2231), it raises before there is anything that could answer.
    """

    def _set_content_type_params(self, meta: dict[str, str]) -> None:
        try:
            self.content_type, self.content_params = parse_header_parameters(meta.get("CONTENT_TYPE", ""))
        except ValueError:
            self.content_type, self.content_params = "", {}
            # Django REST Framework would parse it again.
            meta["CONTENT_TYPE"] = ""


class Handler(WSGIHandler):
    request_class = Request


try:
    django.setup(set_prefix=False)
except ImproperlyConfigured as exc:
    sys.exit(f"Configuration error: {exc}")
application = Handler()

from todo_backend.startup import log_configuration  # noqa: E402  needs the app registry

log_configuration()
