"""The Swagger page and its files."""

import gzip
import re
from pathlib import Path
from typing import Any

import pytest
from django.contrib.staticfiles import finders
from django.test import Client

FOLDER = "drf_spectacular_sidecar/swagger-ui-dist"
FILES = {
    f"{FOLDER}/favicon-32x32.png": "image/png",
    f"{FOLDER}/swagger-ui.css": "text/css",
    f"{FOLDER}/swagger-ui-bundle.js": "text/javascript",
    "todo_backend/swagger.css": "text/css",
    "todo_backend/swagger.js": "text/javascript",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@pytest.fixture(params=[False, True], autouse=True)
def debug(request: Any, settings: Any) -> None:
    settings.DEBUG = request.param


def references(html: str) -> list[str]:
    return re.findall(r'(?:src|href)="([^"]*)"', html)


@pytest.mark.parametrize("path", ["/", "/?lang=de"])
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer x"}, {"Accept": "application/json"}])
def test_the_root_leads_to_the_page(path: str, headers: dict[str, str]) -> None:
    for method in ["GET", "HEAD"]:
        response = Client().generic(method, path, headers=headers)
        assert (response.status_code, response.content) == (302, b"")
        assert response["Location"] == "/api/docs"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"])
@pytest.mark.parametrize("path", ["/", "/api/docs", "/api/schema", f"/static/{FOLDER}/swagger-ui.css"])
def test_the_pages_are_for_reading(path: str, method: str) -> None:
    response = Client().generic(method, path, headers={"Accept": "text/html"})
    assert (response.status_code, response["Allow"]) == (405, "GET, HEAD")
    assert response.json() == {"detail": "Method not allowed."}


def test_the_root_of_another_host_is_refused() -> None:
    assert Client().get("/", headers={"Host": "evil.example"}).status_code == 400


@pytest.mark.parametrize("path", ["/api/docs", "/api/docs/"])
def test_the_page_uses_only_files_of_this_server(path: str) -> None:
    page = Client().get(path)
    assert page.status_code == 200
    assert page["Content-Type"].startswith("text/html")
    html = page.content.decode()
    assert sorted(references(html)) == sorted(f"/static/{name}" for name in FILES)
    script = gzip.decompress(Client().get("/static/todo_backend/swagger.js").content).decode()
    assert 'url: "/api/schema"' in script
    assert "//" not in html
    assert "https://" not in script


def test_the_page_has_the_policy_and_no_inline_script() -> None:
    page = Client().get("/api/docs")
    assert page["Content-Security-Policy"] == POLICY
    html = page.content.decode()
    assert html.count("<script") == html.count("<script src=") == 2
    assert "onload=" not in html
    assert "Content-Security-Policy" not in Client().get("/healthz")


@pytest.mark.parametrize("query", ["lang=de&version=<b>", "x=1", "%FF="])
def test_a_query_does_not_change_the_page(query: str) -> None:
    assert Client().get(f"/api/docs?{query}").content == Client().get("/api/docs").content


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_sent_as_it_is_and_compressed(name: str) -> None:
    path = f"/static/{name}"
    found = finders.find(name)
    assert found
    for accepted in [{}, {"Accept-Encoding": "gzip, deflate, br, zstd"}]:
        response = Client().get(path, headers=accepted)
        assert response.status_code == 200
        assert gzip.decompress(response.content) == Path(found).read_bytes()
        assert response["Content-Type"] == FILES[name]
        assert response["Content-Encoding"] == "gzip"
        assert response["Cache-Control"] == "max-age=60, public"
        assert response["X-Content-Type-Options"] == "nosniff"
    head = Client().head(path)
    assert (head.status_code, head.content, head["ETag"]) == (200, b"", response["ETag"])


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_the_browser_has_is_304(name: str) -> None:
    path = f"/static/{name}"
    tag = Client().get(path)["ETag"]
    for known in [tag, f"W/{tag}", f'"another", {tag}']:
        response = Client().get(path, headers={"If-None-Match": known})
        assert (response.status_code, response.content, response["ETag"]) == (304, b"", tag)
        assert response["Cache-Control"] == "max-age=60, public"
    for unknown in ["", '"another"', tag[:-2] + '"']:
        assert Client().get(path, headers={"If-None-Match": unknown}).status_code == 200


def test_the_files_are_read_once() -> None:
    """All answers share one copy in memory."""
    first, second = (Client().get(f"/static/{FOLDER}/swagger-ui-bundle.js") for _ in range(2))
    assert first.content is second.content


@pytest.mark.parametrize(
    "path",
    [
        *("", "nothing", FOLDER, f"{FOLDER}/", f"{FOLDER}/swagger-ui-bundle.js.map", f"{FOLDER}/oauth2-redirect.html"),
        *(f"{FOLDER}/swagger-ui-standalone-preset.js", "todo_backend", "todo_backend/swagger.html"),
        *(f"{FOLDER}/swagger-ui-bundle.js.LICENSE.txt", "rest_framework/css/bootstrap.min.css", "../manage.py"),
        *(f"{FOLDER}/../swagger-ui-dist/swagger-ui.css", f"/{FOLDER}/swagger-ui.css", f"{FOLDER}/swagger-ui.css%00"),
        *("drf_spectacular_sidecar/redoc/bundles/redoc.standalone.js", "/etc/passwd"),
    ],
)
def test_nothing_else_is_served_under_static(path: str) -> None:
    response = Client().get(f"/static/{path}")
    assert (response.status_code, response.content) == (404, b'{"detail":"Not found."}')
