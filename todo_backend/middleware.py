from collections.abc import Callable

from django.core.exceptions import DisallowedHost
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from .exceptions import error_response

View = Callable[[HttpRequest], HttpResponseBase]


def no_store(get_response: View) -> View:
    """Keeps answers of the API, errors included, out of every cache: they are one user's."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        is_api = request.path_info.startswith("/api/")
        response = get_response(request)
        if is_api:
            response["Cache-Control"] = "no-store"
        return response

    return middleware


def optional_trailing_slash(get_response: View) -> View:
    """Routes a path with a trailing slash like the one without it; a redirect would lose the body of a POST."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        path = request.path_info.removesuffix("/")
        # `OPTIONS *` has no slash at all, and Django's answer to that is HTML.
        request.path_info = path if path.startswith("/") else f"/{path}"
        return get_response(request)

    return middleware


def allowed_host(get_response: View) -> View:
    """Refuses a `Host` that is not allowed before anything else, save for probes, which come to an address."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        if request.path_info not in ("/healthz", "/readyz"):
            try:
                request.get_host()
            except DisallowedHost:
                return error_response(400, "This Host is not among ALLOWED_HOSTS.")
        return get_response(request)

    return middleware
