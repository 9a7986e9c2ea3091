import logging
from collections.abc import Callable

from corsheaders.middleware import CorsMiddleware
from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from .exceptions import error_response
from .postgresql.connection import statement_timeout

logger = logging.getLogger(__name__)

View = Callable[[HttpRequest], HttpResponseBase]


def no_store(get_response: View) -> View:
    """Keeps what is below /api/, errors included, out of every cache: most of it is one user's."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        is_api = request.path_info.startswith("/api/")
        response = get_response(request)
        if is_api:
            response["Cache-Control"] = "no-store"
        return response

    return middleware


def json_errors(get_response: View) -> View:
    """Answers in JSON where Django has HTML: without a route, and with DEBUG for what is raised outside the views."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        if response.status_code < 400 or response.get("Content-Type") == "application/json":
            return response
        headers = {name: value for name, value in response.items() if name == "Allow"}
        return error_response(response.status_code, f"{response.reason_phrase.capitalize()}.", headers)

    return middleware


def optional_trailing_slash(get_response: View) -> View:
    """Routes a path with a trailing slash like the one without it; a redirect would lose the body of a POST."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        if request.path_info.endswith("/"):
            request.path_info = request.path_info[:-1] or "/"
        return get_response(request)

    return middleware


def has_allowed_host(request: HttpRequest) -> bool:
    try:
        return bool(request.get_host())
    except DisallowedHost:
        return False


def allowed_host(get_response: View) -> View:
    """Refuses a `Host` that is not allowed before anything else, save for probes, which come to an address."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        if request.path_info not in ("/healthz", "/readyz") and not has_allowed_host(request):
            return error_response(400, "This Host is not among ALLOWED_HOSTS.")
        return get_response(request)

    return middleware


def database_timeout(get_response: View) -> View:
    """Bounds how long each statement of a request waits for PostgreSQL."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        with statement_timeout(settings.DATABASE_TIMEOUT):
            return get_response(request)

    return middleware


class HostFirstCorsMiddleware(CorsMiddleware):
    """Leaves a preflight for another `Host` to `allowed_host`, and gives the refusal its headers.

    What it refuses, it logs: the browser tells its page only that the request failed.
    """

    def check_preflight(self, request: HttpRequest) -> HttpResponseBase | None:
        response = super().check_preflight(request)
        return response if response is not None and has_allowed_host(request) else None

    def add_response_headers(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        response = super().add_response_headers(request, response)
        is_preflight = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
        if is_preflight and "Access-Control-Allow-Origin" not in response:
            logger.info("Origin %r is not among CORS_ALLOWED_ORIGINS.", request.headers.get("Origin", "")[:255])
        return response
