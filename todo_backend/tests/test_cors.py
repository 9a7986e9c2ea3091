from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test import Client

from testing.client import UserClient
from testing.environment import settings_from
from todo_backend.startup import log_configuration

pytestmark = pytest.mark.django_db

ORIGIN = "http://localhost:3000"
PREFLIGHT = {"Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": "authorization,content-type"}


def header_list(response: Any, name: str) -> set[str]:
    return {item.strip().lower() for item in response[name].split(",")}


@pytest.mark.parametrize("path", ["/api/tasks", "/api/tasks/1", "/api/ada/tasks/1/complete", "/api/tasks/"])
def test_a_preflight_needs_no_token_and_is_cached_for_a_day(path: str, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        response = Client().options(path, headers={"Origin": ORIGIN, **PREFLIGHT})
    assert response.status_code == 200
    assert response["Access-Control-Allow-Origin"] == ORIGIN
    assert response["Access-Control-Allow-Credentials"] == "true"
    assert response["Access-Control-Max-Age"] == "86400"
    assert header_list(response, "Access-Control-Allow-Methods") == {"get", "post", "put", "patch", "delete"}
    assert header_list(response, "Access-Control-Allow-Headers") == {
        *("authorization", "content-type", "idempotency-key", "x-request-id"),
        *("traceparent", "tracestate", "baggage", "sentry-trace"),
        *("x-requested-with", "cache-control", "pragma", "ngrok-skip-browser-warning"),
    }
    assert "origin" in header_list(response, "Vary")


def test_a_preflight_for_another_host_is_400_which_the_origin_may_read() -> None:
    response = Client().options("/api/tasks", headers={"Origin": ORIGIN, "Host": "evil.example", **PREFLIGHT})
    assert (response.status_code, response.json()) == (400, {"detail": "This Host is not among ALLOWED_HOSTS."})
    assert response["Access-Control-Allow-Origin"] == ORIGIN


OTHER_ORIGINS = [
    *("http://localhost:3001", "https://localhost:3000", "http://localhost", "http://127.0.0.1:3000", "null", "*", ""),
    *("http://localhost:3000.evil.example", "http://evil.example", "http://[", "http://localhost:30000", "file://"),
    *("http://localhost:3000/", "http://localhost:3000?x", "HTTP://localhost:3000", "http://localhost:3000, null"),
]


@pytest.mark.parametrize("origin", OTHER_ORIGINS)
def test_another_origin_may_not_read(origin: str, ada: UserClient) -> None:
    for response in [
        ada("GET", "/api/tasks", Origin=origin),
        Client().options("/api/tasks", headers={"Origin": origin, **PREFLIGHT}),
    ]:
        assert not [name for name in response.headers if name.lower().startswith("access-control-")]


METHODS = "GET, POST, PUT, PATCH, DELETE"


@pytest.mark.parametrize(
    ("headers", "refused"),
    [
        ({}, None),
        ({"Access-Control-Request-Method": "HEAD"}, None),
        ({"Access-Control-Request-Headers": ""}, None),
        ({"Access-Control-Request-Headers": ", ,"}, None),
        ({"Access-Control-Request-Headers": "Authorization, SENTRY-TRACE,x-request-id"}, None),
        (
            {"Origin": "http://127.0.0.1:3000", "Access-Control-Request-Method": "LINK"},
            "its Origin 'http://127.0.0.1:3000' is not among CORS_ALLOWED_ORIGINS",
        ),
        ({"Origin": ""}, "its Origin '' is not among CORS_ALLOWED_ORIGINS"),
        ({"Origin": "x\n\u2028" + "y" * 300}, rf"its Origin 'x\n\u2028{'y' * 252}' is not among CORS_ALLOWED_ORIGINS"),
        ({"Access-Control-Request-Method": "LINK"}, f"a page may not use the method 'LINK', only {METHODS}"),
        ({"Access-Control-Request-Method": "patch"}, f"a page may not use the method 'patch', only {METHODS}"),
        (
            {"Access-Control-Request-Method": "\x9b" + "A" * 300},
            rf"a page may not use the method '\x9b{'A' * 254}', only {METHODS}",
        ),
        (
            {"Access-Control-Request-Headers": "authorization, X-Tenant,x-b3"},
            "a page may not send the headers 'X-Tenant, x-b3'",
        ),
        (
            {"Access-Control-Request-Headers": "x\n" + "a" * 300},
            rf"a page may not send the headers 'x\n{'a' * 253}'",
        ),
        (
            {"Host": "evil.example", "Origin": "http://evil.example"},
            "its Host 'evil.example' is not among ALLOWED_HOSTS",
        ),
    ],
)
def test_the_line_of_a_preflight_names_what_is_refused(
    headers: dict[str, str], refused: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    Client().options("/api/tasks", headers={"Origin": ORIGIN, **PREFLIGHT, **headers})
    [line] = caplog.messages
    assert line.endswith(f", user None, refused: {refused}" if refused else ", user None")


def test_with_a_star_no_origin_is_refused_in_the_log(settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    settings.CORS_ALLOW_ALL_ORIGINS = True
    settings.CORS_ALLOW_CREDENTIALS = False
    Client().options("/api/tasks", headers={"Origin": "http://evil.example", **PREFLIGHT})
    [line] = caplog.messages
    assert "refused" not in line


def test_a_request_that_is_no_preflight_is_not_refused_for_its_origin(
    ada: UserClient, caplog: pytest.LogCaptureFixture
) -> None:
    """A proxy on the page's own origin passes the page's Origin on, and the page may read every answer."""
    for method in ["GET", "POST", "OPTIONS"]:
        ada(method, "/api/tasks", {"title": "x"}, Origin="http://proxied.example")
    assert not [line for line in caplog.messages if "refused" in line]


# An origin or a pattern, and the origins that it lets in and keeps out.
PATTERNS: dict[str, tuple[list[str], list[str]]] = {
    "https://todo-*.vercel.app": (
        ["https://todo-git-main-ada.vercel.app", "https://todo-1.vercel.app", "https://todo--.vercel.app"],
        [
            *("https://todo-.vercel.app", "https://todo.vercel.app", "https://x-todo-1.vercel.app"),
            *("http://todo-1.vercel.app", "https://todo-1.vercel.app:8443", "https://todo-1.vercel.app:443"),
            *("https://todo-1.vercel.app.evil.example", "https://todo-1.vercel.apps", "https://todo-1.vercel.app/"),
            *("https://todo-1.vercel.app\n", "https://todo-1.evil.example/.vercel.app", "https://todo-1vercel.app"),
            *("https://todo-1.x.vercel.app", "https://todo-1.vercelxapp", "https://todo-u@x.vercel.app"),
            *("https://todo-u:1.vercel.app", "https://todo-\u00e9.vercel.app", "https://todo-_.vercel.app"),
            *("https://todo-1.vercel.app, null", "xhttps://todo-1.vercel.app", "https://todo-*.vercel.app"),
        ],
    ),
    "HTTP://*-Preview.Example.com:80": (
        ["http://a-preview.example.com", "http://A1-b-preview.example.com"],
        ["http://-preview.example.com", "http://a.preview.example.com", "http://a-preview.example.com:80"],
    ),
    "https://*.example.co.uk:8443": (
        ["https://a.example.co.uk:8443"],
        ["https://example.co.uk:8443", "https://a.b.example.co.uk:8443", "https://a.example.co.uk"],
    ),
    "https://a_*.example.com": (["https://a_b.example.com"], ["https://a_.example.com", "https://ab.example.com"]),
    "https://pr*x.example.com": (["https://pr7x.example.com"], ["https://prx.example.com", "https://pr7.example.com"]),
}


@pytest.mark.parametrize(("pattern", "origins"), PATTERNS.items(), ids=PATTERNS.keys())
def test_a_pattern_lets_in_the_whole_origins_that_it_matches(
    pattern: str, origins: tuple[list[str], list[str]], settings: Any, ada: UserClient
) -> None:
    values = settings_from(CORS_ALLOWED_ORIGINS=f"https://literal.example, {pattern}")
    for name in ["CORS_ALLOW_ALL_ORIGINS", "CORS_ALLOWED_ORIGINS", "CORS_ALLOWED_ORIGIN_REGEXES"]:
        setattr(settings, name, values[name])
    let_in, kept_out = origins
    for origin in ["https://literal.example", *let_in, *kept_out]:
        for response in [
            ada("GET", "/api/tasks", Origin=origin),
            ada("GET", "/api/nowhere", Origin=origin),
            Client().options("/api/tasks", headers={"Origin": origin, **PREFLIGHT}),
        ]:
            if origin in kept_out:
                assert not [name for name in response.headers if name.lower().startswith("access-control-")]
            else:
                assert response["Access-Control-Allow-Origin"] == origin
                assert response["Access-Control-Allow-Credentials"] == "true"
            assert "origin" in header_list(response, "Vary")


def test_the_origin_may_read_every_answer_errors_included(ada: UserClient) -> None:
    task = ada.task()
    requests: list[tuple[int, str, str, dict[str, Any]]] = [
        (200, "GET", "/api/tasks", {}),
        (201, "POST", "/api/tasks", {"body": {"title": "x"}}),
        (200, "PATCH", f"/api/tasks/{task['id']}/complete", {}),
        (400, "POST", "/api/tasks", {"raw": b"{"}),
        (400, "GET", "/api/tasks", {"Host": "evil.example"}),
        (401, "GET", "/api/tasks", {"Authorization": "Bearer x"}),
        (403, "GET", "/api/bob/tasks", {}),
        (404, "GET", "/api/nowhere", {}),
        (404, "GET", "/nowhere", {}),
        (405, "DELETE", "/api/tasks", {}),
        (411, "POST", "/api/tasks", {"Transfer-Encoding": "chunked"}),
        (413, "POST", "/api/tasks", {"raw": b"x" * 70_000}),
        (415, "POST", "/api/tasks", {"raw": b"{}", "content_type": "text/plain"}),
        (422, "POST", "/api/tasks", {"body": {}}),
        (204, "DELETE", f"/api/tasks/{task['id']}", {}),
    ]
    for status, method, path, arguments in requests:
        response = ada(method, path, **{"Origin": ORIGIN, **arguments})
        assert response.status_code == status
        assert response["Access-Control-Allow-Origin"] == ORIGIN
        assert response["Access-Control-Allow-Credentials"] == "true"
        assert header_list(response, "Access-Control-Expose-Headers") == {
            *("location", "retry-after", "www-authenticate", "x-request-id")
        }


def test_the_origin_may_read_server_errors(ada: UserClient) -> None:
    for error, status in [(OperationalError, 503), (ZeroDivisionError, 500)]:

        def fail(*args: Any, error: type[Exception] = error) -> None:
            raise error

        with connection.execute_wrapper(fail):
            response = ada("GET", "/api/tasks", Origin=ORIGIN)
        assert response.status_code == status
        assert response["Access-Control-Allow-Origin"] == ORIGIN


def test_the_origins_are_those_of_the_settings(ada: UserClient, settings: Any) -> None:
    settings.CORS_ALLOWED_ORIGINS = ["https://a.example.com", "https://b.example.com"]
    for origin in settings.CORS_ALLOWED_ORIGINS:
        assert ada("GET", "/api/tasks", Origin=origin)["Access-Control-Allow-Origin"] == origin
    assert "Access-Control-Allow-Origin" not in ada("GET", "/api/tasks", Origin=ORIGIN)


@pytest.mark.parametrize("origin", [ORIGIN, "https://evil.example", "null"])
def test_with_a_star_every_origin_may_read_without_credentials(origin: str, ada: UserClient, settings: Any) -> None:
    settings.CORS_ALLOW_ALL_ORIGINS = True
    settings.CORS_ALLOW_CREDENTIALS = False
    for response in [
        ada("GET", "/api/tasks", Origin=origin),
        ada("GET", "/api/tasks", Origin=origin, Authorization="Bearer x"),
        Client().options("/api/tasks", headers={"Origin": origin, **PREFLIGHT}),
    ]:
        assert response["Access-Control-Allow-Origin"] == "*"
        assert "Access-Control-Allow-Credentials" not in response
        assert header_list(response, "Access-Control-Expose-Headers") >= {"x-request-id"}


def test_the_first_line_of_the_log_shows_the_origins_as_they_are_configured(
    settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    value = "https://todo-*.vercel.app, http://localhost:3000"
    settings.CORS_ORIGINS = settings_from(CORS_ALLOWED_ORIGINS=value)["CORS_ORIGINS"]
    log_configuration()
    assert f"CORS origins: {value}." in caplog.text


def test_a_request_without_an_origin_gets_no_cors_header(ada: UserClient) -> None:
    response = ada("GET", "/api/tasks")
    assert "Access-Control-Allow-Origin" not in response
    assert "origin" in header_list(response, "Vary")
