"""The WSGI application, for `manage.py serve`, `runserver` and every other WSGI server."""

import os
import sys
from contextlib import closing, suppress
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.wsgi import get_wsgi_application
from django.utils.http import parse_header_parameters

# Characters. The time to parse grows with the square of the length: 62 KB, which Granian accepts, can take 4 s.
MAX_CONTENT_TYPE = 255
# Bytes of a path after percent-decoding, and of a query as it is sent. The longest path of a route has about 1100.
MAX_LENGTH = 2048
# No route has these paths.
TOO_LONG_PATH = f"/api/path-over-{MAX_LENGTH}-bytes"
TOO_LONG_QUERY_PATH = f"/api/query-over-{MAX_LENGTH}-bytes"


def load_application() -> Any:
    """Django's application. Ends the process with one line if the configuration cannot be used."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "todo_backend.settings")
    try:
        loaded = get_wsgi_application()
    except ImproperlyConfigured as exc:
        print(f"Configuration error: {exc}", file=sys.stderr)
        # gunicorn ends when a worker exits with 3 (WORKER_BOOT_ERROR). After any other status it replaces the worker.
        sys.exit(3)
    from todo_backend import pages, startup  # They need the app registry.

    startup.fetch_published_keys()
    pages.prepare()
    startup.log_configuration()
    return loaded


def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Returns the body in one piece. With more pieces, Granian's thread would wait for a client that reads slowly."""
    environ["PATH_INFO"] = readable_path(environ["PATH_INFO"], environ.get("QUERY_STRING", ""))
    environ["CONTENT_TYPE"] = readable_content_type(environ.get("CONTENT_TYPE", ""))
    with closing(django_application(environ, start_response)) as response:
        return [b"".join(response)]


def readable_path(path: str, query: str) -> str:
    """The path with U+FFFD for what is not UTF-8. WSGI decodes a path as Latin-1.

    If the path or the query is too long, it is a path that no route has. Django would escape bytes of a path that are
    not UTF-8 one by one, which takes 62 ms for 21 000 of them, and it parses 62 KB of a query in 47 ms.
    """
    if len(path) > MAX_LENGTH:
        return TOO_LONG_PATH
    if len(query) > MAX_LENGTH:
        return TOO_LONG_QUERY_PATH
    return path if path.isascii() else path.encode("latin-1").decode(errors="replace").encode().decode("latin-1")


def readable_content_type(value: str) -> str:
    """The value, or "" if Django could not parse it. Django parses it before any middleware, which could not answer."""
    if len(value) <= MAX_CONTENT_TYPE:
        with suppress(ValueError, LookupError):  # A parameter that RFC 2231 does not allow, or an unknown charset.
            "".encode(parse_header_parameters(value)[1].get("charset", "utf-8"))
            return value
    return ""


django_application = load_application()
