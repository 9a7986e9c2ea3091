"""The layers around every view: the API's conventions, the allowed hosts, and CORS."""

import logging
from collections.abc import Callable

from corsheaders.middleware import CorsMiddleware
from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from .exceptions import ErrorResponse
from .postgresql.connection import statement_timeout

logger = logging.getLogger(__name__)

PROBES = ("/healthz", "/readyz")


def api_conventions(get_response: Callable[[HttpRequest], HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Applies the API's conventions to requests and answers.

    - A path with a trailing slash is routed like the path without it, because a redirect would lose a body.
    - A query string is UTF-8, whatever charset `Content-Type` names for the body.
    - The database has `DATABASE_TIMEOUT` seconds for each statement.
    - An error is JSON. Django itself answers in HTML for a path without a route, and for exceptions outside the views.
    - No cache stores an answer below `/api/`, because most of these answers belong to one user.
    """

    def middleware(request: HttpRequest) -> HttpResponseBase:
        is_api = request.path_info.startswith("/api/")
        if request.path_info.endswith("/"):
            request.path_info = request.path_info[:-1] or "/"
        if request.encoding:
            request.encoding = settings.DEFAULT_CHARSET
        with statement_timeout(settings.DATABASE_TIMEOUT):
            response = get_response(request)
        if response.status_code >= 400 and response.get("Content-Type") != "application/json":
            response = to_json_error(response)
        if is_api:
            response["Cache-Control"] = "no-store"
        return response

    return middleware


def to_json_error(response: HttpResponseBase) -> ErrorResponse:
    """The same error, with its own headers and a body in JSON."""
    headers = {name: value for name, value in response.items() if name not in ("Content-Type", "Content-Length")}
    return ErrorResponse(response.status_code, f"{response.reason_phrase.capitalize()}.", headers)


class HostAndCorsMiddleware(CorsMiddleware):
    """Refuses a `Host` that is not allowed, and then does what django-cors-headers does.

    Both are one layer, so that the refusal has CORS headers and a preflight for another host is refused, too.
    """

    def check_preflight(self, request: HttpRequest) -> HttpResponseBase | None:
        # A platform sends its probes to an instance's own address, so they may name any host.
        if request.path_info not in PROBES and not has_allowed_host(request):
            # Granian passes a missing Host as an empty one.
            host = request.headers.get("Host")
            reason = f"its Host {host[:255]!r} is not among ALLOWED_HOSTS" if host else "its Host is missing or empty"
            return ErrorResponse(400, "This Host is not among ALLOWED_HOSTS.", reason=reason)
        return super().check_preflight(request)

    def add_response_headers(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Logs the origin of a refused preflight, because the browser tells the page only that the request failed."""
        response = super().add_response_headers(request, response)
        is_preflight = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
        if is_preflight and "Access-Control-Allow-Origin" not in response:
            logger.info("Origin %r is not among CORS_ALLOWED_ORIGINS.", request.headers.get("Origin", "")[:255])
        return response


def has_allowed_host(request: HttpRequest) -> bool:
    try:
        return bool(request.get_host())
    except DisallowedHost:
        return False
