"""The pages for people and tools: the OpenAPI document, the Swagger page and its files."""

import gzip
from functools import cache
from hashlib import sha256
from pathlib import Path

from django.contrib.staticfiles import finders
from django.http import HttpRequest, HttpResponse, HttpResponseNotModified
from django.shortcuts import redirect, render
from django.views.decorators.http import require_safe
from drf_spectacular.generators import SchemaGenerator
from rest_framework.renderers import JSONRenderer

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


@cache
def openapi_document() -> bytes:
    document = SchemaGenerator().get_schema(public=True)  # type: ignore[no-untyped-call]
    return bytes(JSONRenderer().render(document))


@require_safe
def schema(request: HttpRequest) -> HttpResponse:
    return HttpResponse(openapi_document(), content_type="application/json")


@require_safe
def swagger_page(request: HttpRequest) -> HttpResponse:
    response = render(request, "todo_backend/swagger.html")
    response["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    return response


@cache
def compressed(name: str) -> tuple[bytes, str]:
    """The compressed content of a static file, and its entity tag."""
    content = gzip.compress(Path(str(finders.find(name))).read_bytes(), mtime=0)
    return content, f'"{sha256(content).hexdigest()[:32]}"'


def prepare() -> None:
    """Makes the document and the files before the first request: many threads at once would all make them.

    Two threads cannot even build the document concurrently (drf-spectacular #1122).
    """
    openapi_document()
    for name in SWAGGER_FILES:
        compressed(name)


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
