"""The layers around every view: the API's conventions, the allowed hosts, and CORS."""

from collections.abc import Callable
from urllib.parse import SplitResult

from corsheaders.middleware import CorsMiddleware
from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from .exceptions import ErrorResponse
from .postgresql.connection import statement_timeout

PROBES = ("/healthz", "/readyz")
# Characters of a header in the log
MAX_LOGGED = 255
# Characters of `Access-Control-Request-Headers` that are examined. Examining 58 KB takes 26 ms.
MAX_NAMES = 2048


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
            response = to_json_error(request, response)
        if is_api:
            response["Cache-Control"] = "no-store"
        return response

    return middleware


def to_json_error(request: HttpRequest, response: HttpResponseBase) -> ErrorResponse:
    """The same error, with its own headers and a body in JSON."""
    headers = {name: value for name, value in response.items() if name not in ("Content-Type", "Content-Length")}
    reason = likely_mistake(request.path_info)
    return ErrorResponse(response.status_code, f"{response.reason_phrase.capitalize()}.", headers, reason=reason)


def likely_mistake(path: str) -> str | None:
    """The reason for the log why a frontend asks for a path without a route, or `None`."""
    if "//" in path:
        return "its path has two slashes in a row; the client's base URL ends in one too many"
    path = f"{path}/"
    if "/auth/" in path:
        return "there is no login here; Better Auth and its /api/auth/ run in the frontend"
    if path.startswith("/tasks/"):
        return "the tasks are at /api/tasks; the client's base URL lacks /api"
    return None


class HostAndCorsMiddleware(CorsMiddleware):
    """Refuses a `Host` that is not allowed, and then does what django-cors-headers does.

    Both are one layer, so that the refusal has CORS headers and a preflight for another host is refused, too.
    """

    def check_preflight(self, request: HttpRequest) -> HttpResponseBase | None:
        # A platform sends its probes to an instance's own address, so they may name any host.
        if request.path_info not in PROBES and not has_allowed_host(request):
            # Granian passes a missing Host as an empty one.
            host = request.headers.get("Host", "")[:MAX_LOGGED]
            reason = f"its Host {host!r} is not among ALLOWED_HOSTS" if host else "its Host is missing or empty"
            return ErrorResponse(400, "This Host is not among ALLOWED_HOSTS.", reason=reason)
        return super().check_preflight(request)

    def add_response_headers(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        response = super().add_response_headers(request, response)
        if request.method == "OPTIONS" and not getattr(response, "reason", None):
            response.reason = preflight_refusal(request, response)  # type: ignore[attr-defined]
        return response

    def origin_found_in_white_lists(self, origin: str, url: SplitResult) -> bool:
        """Whether the whole origin is allowed. The base class ignores what follows the host and the port."""
        return origin in settings.CORS_ALLOWED_ORIGINS or self.regex_domain_match(origin)


def preflight_refusal(request: HttpRequest, response: HttpResponseBase) -> str | None:
    """The reason for the log why a browser does not send the request after this preflight, or `None`.

    The browser tells its page only that the request failed.
    """
    headers = request.headers
    if "Access-Control-Request-Method" not in headers:
        return None
    if "Access-Control-Allow-Origin" not in response:
        return f"its Origin {headers.get('Origin', '')[:MAX_LOGGED]!r} is not among CORS_ALLOWED_ORIGINS"
    method = headers["Access-Control-Request-Method"]
    # Browsers always allow HEAD, and send `patch` as it is written.
    if method not in ("HEAD", *settings.CORS_ALLOW_METHODS):
        allowed = ", ".join(settings.CORS_ALLOW_METHODS)
        return f"a page may not use the method {method[:MAX_LOGGED]!r}, only {allowed}"
    names = [name.strip() for name in headers.get("Access-Control-Request-Headers", "")[:MAX_NAMES].split(",")]
    refused = ", ".join(name for name in names if name and name.lower() not in settings.CORS_ALLOW_HEADERS)
    return f"a page may not send the headers {refused[:MAX_LOGGED]!r}" if refused else None


def has_allowed_host(request: HttpRequest) -> bool:
    try:
        return bool(request.get_host())
    except DisallowedHost:
        return False
