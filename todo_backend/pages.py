"""The pages for people and tools: the OpenAPI document, the Swagger page and its files."""

import gzip
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from django.contrib.staticfiles import finders
from django.http import HttpRequest, HttpResponse, HttpResponseNotModified, QueryDict
from django.shortcuts import redirect, render
from django.views.decorators.http import require_safe
from drf_spectacular.renderers import OpenApiJsonRenderer2
from drf_spectacular.views import SpectacularJSONAPIView
from rest_framework.request import Request

READ_ONLY = ["get", "head"]
# The files that the Swagger page loads, and their types. Swagger UI's package has more, such as source maps of 2 MB.
SWAGGER_FILES = {
    "drf_spectacular_sidecar/swagger-ui-dist/favicon-32x32.png": "image/png",
    "drf_spectacular_sidecar/swagger-ui-dist/swagger-ui.css": "text/css",
    "drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js": "text/javascript",
    "todo_backend/swagger.css": "text/css",
    "todo_backend/swagger.js": "text/javascript",
}
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@require_safe
def root(request: HttpRequest) -> HttpResponse:
    return redirect("docs")


class SchemaView(SpectacularJSONAPIView):
    """The OpenAPI document."""

    renderer_classes = [OpenApiJsonRenderer2]
    http_method_names = READ_ONLY

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:
        # drf-spectacular would use some parameters of the query.
        request.GET = QueryDict()
        return super().initialize_request(request, *args, **kwargs)


@require_safe
def swagger_page(request: HttpRequest) -> HttpResponse:
    """The Swagger page."""
    response = render(request, "swagger.html")
    response["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    return response


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
