"""The WSGI application, for `granian`, `runserver` and every other WSGI server."""

import os
import sys
from contextlib import closing, suppress
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.wsgi import get_wsgi_application
from django.utils.http import parse_header_parameters

# Characters. The time to parse grows with the square of the length: 60 KB, which Granian accepts, would take 0.3 s.
MAX_CONTENT_TYPE = 1000


def load_application() -> Any:
    """Django's application. Ends the process with one line if the configuration cannot be used."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "todo_backend.settings")
    try:
        loaded = get_wsgi_application()
    except ImproperlyConfigured as exc:
        print(f"Configuration error: {exc}", file=sys.stderr)
        # gunicorn ends when a worker exits with 3 (WORKER_BOOT_ERROR). After any other status it replaces the worker.
        sys.exit(3)
    from todo_backend import startup  # It needs the app registry.

    startup.fetch_published_keys()
    startup.log_configuration()
    return loaded


def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Returns the body in one piece. With more pieces, Granian's thread would wait for a client that reads slowly."""
    environ["CONTENT_TYPE"] = readable_content_type(environ.get("CONTENT_TYPE", ""))
    with closing(django_application(environ, start_response)) as response:
        return [b"".join(response)]


def readable_content_type(value: str) -> str:
    """The value, or "" if Django could not parse it. Django parses it before any middleware, which could not answer."""
    if len(value) <= MAX_CONTENT_TYPE:
        with suppress(ValueError, LookupError):  # A parameter that RFC 2231 does not allow, or an unknown charset.
            "".encode(parse_header_parameters(value)[1].get("charset", "utf-8"))
            return value
    return ""


django_application = load_application()
