"""The WSGI application, for `granian`, `runserver` and every other WSGI server."""

import os
import sys
from contextlib import closing
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.wsgi import get_wsgi_application
from django.utils.http import parse_header_parameters

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "todo_backend.settings")

# Characters. Parsing takes time with the square of the length, and Granian accepts 400 KB, which would take 6 seconds.
MAX_CONTENT_TYPE = 1000

try:
    django_application = get_wsgi_application()
except ImproperlyConfigured as exc:
    sys.exit(f"Configuration error: {exc}")


def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Answers in one piece, because a thread of Granian waits for a client that does not read the next piece."""
    environ["CONTENT_TYPE"] = readable_content_type(environ.get("CONTENT_TYPE", ""))
    with closing(django_application(environ, start_response)) as response:
        return [b"".join(response)]


def readable_content_type(value: str) -> str:
    """The value, or nothing where Django would raise while it builds the request, before any layer can answer."""
    try:
        _, parameters = parse_header_parameters(value[:MAX_CONTENT_TYPE])
        "".encode(parameters.get("charset", "utf-8"))
    except (ValueError, LookupError):  # A parameter that RFC 2231 does not allow; a charset that encodes no text.
        return ""
    return value if len(value) <= MAX_CONTENT_TYPE else ""


from todo_backend.startup import log_configuration  # noqa: E402  It needs the app registry.

log_configuration()
