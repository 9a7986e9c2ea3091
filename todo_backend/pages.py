"""The pages for people and tools: the OpenAPI document, the Swagger page and its files."""

import gzip
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from django.contrib.staticfiles import finders
from django.http import HttpRequest, HttpResponse, HttpResponseNotModified, HttpResponseRedirect, QueryDict
from django.views.decorators.http import require_safe
from drf_spectacular.renderers import OpenApiJsonRenderer2
from drf_spectacular.views import SpectacularJSONAPIView, SpectacularSwaggerSplitView
from rest_framework.request import Request
from rest_framework.response import Response

READ_ONLY = ["get", "head"]
# The files that the Swagger page loads, and their types. Their package has more, such as source maps of 2 MB.
SWAGGER_FILES = {
    f"drf_spectacular_sidecar/swagger-ui-dist/{name}": content_type
    for name, content_type in {
        "swagger-ui.css": "text/css",
        "swagger-ui-bundle.js": "text/javascript",
        "swagger-ui-standalone-preset.js": "text/javascript",
        "favicon-32x32.png": "image/png",
    }.items()
}
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# The query under which drf-spectacular sends the script that starts the page, because the page has no inline script.
SCRIPT_QUERY = "script="


@require_safe
def root(request: HttpRequest) -> HttpResponse:
    return HttpResponseRedirect(SwaggerView.url_self)


class SchemaView(SpectacularJSONAPIView):
    """The OpenAPI document."""

    renderer_classes = [OpenApiJsonRenderer2]
    http_method_names = READ_ONLY

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:
        return super().initialize_request(without_query(request), *args, **kwargs)


class SwaggerView(SpectacularSwaggerSplitView):
    """The Swagger page and, with `?script=`, the script that starts it."""

    url_name = "schema"
    url_self = "/api/docs"
    http_method_names = READ_ONLY

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:
        return super().initialize_request(without_query(request, but=SCRIPT_QUERY), *args, **kwargs)

    def finalize_response(self, request: Request, response: Response, *args: Any, **kwargs: Any) -> Response:
        response["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
        return super().finalize_response(request, response, *args, **kwargs)


def without_query(request: HttpRequest, *, but: str = "") -> HttpRequest:
    """The request without its query, or with the query `but`. drf-spectacular would use other parameters."""
    request.GET = QueryDict(but if request.META["QUERY_STRING"] == but else "")
    return request


@cache
def compressed(name: str) -> tuple[bytes, str]:
    """The compressed content of a static file, and its entity tag."""
    content = gzip.compress(Path(str(finders.find(name))).read_bytes(), mtime=0)
    return content, f'"{sha256(content).hexdigest()[:32]}"'


@require_safe
def swagger_file(request: HttpRequest, name: str) -> HttpResponse:
    """A file of the Swagger page, compressed for every client, because every browser accepts that.

    Granian copies an answer for each client, until the client has read it. The largest file has 1.6 MB, and 0.4 MB
    compressed.
    """
    content, tag = compressed(name)
    headers = {"ETag": tag, "Cache-Control": "max-age=60, public"}
    # Django's own `etag` parses the header, which takes 25 ms for 64 KiB of tags.
    if tag in request.headers.get("If-None-Match", ""):
        return HttpResponseNotModified(headers=headers)
    headers["Content-Encoding"] = "gzip"
    return HttpResponse(content, content_type=SWAGGER_FILES[name], headers=headers)
