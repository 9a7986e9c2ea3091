import io
import logging
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from logging.config import DictConfigurator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from django.core.exceptions import SuspiciousOperation
from django.db import IntegrityError, OperationalError, connection
from django.test import Client

from testing.client import UserClient
from testing.failures import fail_with
from testing.processes import SECRET, WINDOWS, development_server, free_port, manage
from testing.tokens import claims, sign

pytestmark = pytest.mark.django_db

Log = Callable[[], list[str]]


@pytest.fixture
def console() -> logging.Handler:
    [handler] = [handler for handler in logging.getLogger().handlers if type(handler) is logging.StreamHandler]
    return handler


@pytest.fixture
def log(console: logging.Handler, monkeypatch: pytest.MonkeyPatch) -> Log:
    """Returns the lines of the log without their times."""
    stream = io.StringIO()
    monkeypatch.setattr(console, "stream", stream)
    moment = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} ")
    return lambda: [moment.sub("", line) for line in stream.getvalue().split("\n")[:-1]]


LOGIN_HINT = "there is no login here; Better Auth and its /api/auth/ run in the frontend"
SLASHES_HINT = "its path has two slashes in a row; the client's base URL ends in one too many"
BASE_URL_HINT = "the tasks are at /api/tasks; the client's base URL lacks /api"
LINES: list[tuple[str, str, Any, dict[str, str], str]] = [
    ("GET", "/api/tasks", None, {}, "GET /api/tasks 200 in T ms, user 'ada'"),
    ("GET", "/api/tasks/?status=all&token=x", None, {}, "GET /api/tasks/ 200 in T ms, user 'ada'"),
    ("POST", "/api/tasks", {"title": "private"}, {}, "POST /api/tasks 201 in T ms, user 'ada'"),
    ("POST", "/api/tasks", {"title": "private" * 99}, {}, "POST /api/tasks 422 in T ms, user 'ada'"),
    ("PATCH", "/api/tasks/1", {}, {"Content-Type": "text/x"}, "PATCH /api/tasks/1 415 in T ms, user 'ada'"),
    ("DELETE", "/api/tasks/1", None, {}, "DELETE /api/tasks/1 404 in T ms, user 'ada'"),
    ("DELETE", "/api/tasks", None, {}, "DELETE /api/tasks 405 in T ms, user 'ada'"),
    ("GET", "/api/bob/tasks", None, {}, "GET /api/bob/tasks 403 in T ms, user 'ada'"),
    ("GET", "/api/tasks", None, {"Authorization": ""}, "GET /api/tasks 401 in T ms, user None"),
    *(
        (method, path, None, {}, f"{method} {path} 404 in T ms, user None, refused: {LOGIN_HINT}")
        for method, path in [
            *(("GET", "/api/auth/token"), ("POST", "/api/auth/sign-in/email"), ("GET", "/api/auth/get-session/")),
            *(("GET", "/api/auth"), ("POST", "/auth/login"), ("POST", "/api/v1/auth/login")),
        ]
    ),
    *(
        (method, path, None, {}, f"{method} {path} 404 in T ms, user None, refused: {BASE_URL_HINT}")
        for method, path in [("GET", "/tasks"), ("POST", "/tasks/"), ("PATCH", "/tasks/1/complete")]
    ),
    ("GET", "/api//tasks", None, {}, f"GET /api//tasks 404 in T ms, user None, refused: {SLASHES_HINT}"),
    ("GET", "/api/tasks/author/x", None, {}, "GET /api/tasks/author/x 404 in T ms, user None"),
    ("GET", "/tasks2", None, {}, "GET /tasks2 404 in T ms, user None"),
    ("GET", "/no%0Awhere\u2028%25", None, {}, "GET /no%0Awhere%E2%80%A8%25 404 in T ms, user None"),
    (
        "OPTIONS",
        "/api/tasks",
        None,
        {"Origin": "http://localhost:3000", "Access-Control-Request-Method": "POST"},
        "OPTIONS /api/tasks 200 in T ms, user None",
    ),
    ("GET", "/healthz", None, {}, "GET /healthz 200 in T ms, user None"),
    ("GET", "/static/nothing", None, {}, "GET /static/nothing 404 in T ms, user None"),
    ("GET", f"/{'a' * 199}", None, {}, f"GET /{'a' * 199} 404 in T ms, user None"),
    ("GET", f"/{'a' * 200}", None, {}, f"GET /{'a' * 199} 404 in T ms, user None"),
    ("GET", f"/{'%C3%A9' * 100}", None, {}, f"GET /{'%C3%A9' * 33}% 404 in T ms, user None"),
    ("G" * 300, "/healthz", None, {}, f"{'G' * 200} /healthz 405 in T ms, user None"),
]


@pytest.mark.parametrize(("method", "path", "body", "headers", "line"), LINES, ids=[line for *_, line in LINES])
def test_a_request_is_one_line_and_its_answer_has_the_id(
    method: str, path: str, body: Any, headers: dict[str, str], line: str, ada: UserClient, log: Log
) -> None:
    response = ada(method, path, body, **{"X-Request-ID": "the-id", **headers})
    assert response["X-Request-ID"] == "the-id"
    [logged] = log()
    assert re.sub(r"\b\d+\.\d ms", "T ms", logged) == f"INFO todo_backend.log the-id: {line}"


@pytest.mark.parametrize(
    ("host", "refused"),
    [
        ("evil.example:8000", "its Host 'evil.example:8000' is not among ALLOWED_HOSTS"),
        ("todo_backend", "its Host 'todo_backend' is not among ALLOWED_HOSTS"),
        ("", "its Host is missing or empty"),
        ("a\nb\u2028\x9b", r"its Host 'a\nb\u2028\x9b' is not among ALLOWED_HOSTS"),
        ("x" * 256, f"its Host '{'x' * 255}' is not among ALLOWED_HOSTS"),
    ],
)
def test_the_line_of_a_request_names_the_host_that_was_refused(
    host: str, refused: str, ada: UserClient, log: Log
) -> None:
    assert ada("GET", "/api/tasks", Host=host).status_code == 400
    [logged] = log()
    assert logged.endswith(f" ms, user None, refused: {refused}")


LONG = "\U0001f600" * 400


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {sign(claims(iss=LONG), secret=SECRET)}"},
        {"Authorization": f"Bearer {sign(claims(aud=['x' * 2000] * 2), secret=SECRET)}"},
        {"Authorization": f"Bearer {sign(claims(), {'alg': 'EdDSA', 'kid': LONG})}"},
        {"Authorization": f"Bearer {sign(claims(), {'alg': LONG})}"},
        {"Authorization": f"Bearer {sign(claims(LONG), secret=SECRET)}"},
        {"Authorization": "Bearer " + "x" * 60_000},
        {"Host": "\x9b" * 60_000},
        {"X-Request-ID": "x" * 60_000},
        {"Origin": "x" * 60_000, "Access-Control-Request-Method": "GET"},
    ],
)
def test_a_long_header_or_claim_does_not_make_a_long_line(
    headers: dict[str, str], ada: UserClient, log: Log, settings: Any
) -> None:
    settings.BETTER_AUTH_SECRET = SECRET
    settings.BETTER_AUTH_URL = settings.BETTER_AUTH_ISSUER = settings.BETTER_AUTH_AUDIENCE = "http://localhost:3000"
    settings.BETTER_AUTH_JWKS_URL = f"http://127.0.0.1:{free_port()}/jwks"
    for method in ["GET", "OPTIONS"]:
        ada(method, "/api/tasks", **headers)
    lines = log()
    assert any(" GET /api/tasks " in line for line in lines)
    assert max(map(len, lines)) < 2500


def test_the_line_of_a_request_says_that_its_host_is_missing(log: Log) -> None:
    assert Client().get("/api/tasks", SERVER_NAME="0.0.0.0").status_code == 400
    [logged] = log()
    assert logged.endswith(" ms, user None, refused: its Host is missing or empty")


@pytest.mark.parametrize("sent", ["a", "7", "-", "Az09._-", "x" * 128, "..", "5c539d72-a45c-4dba-9167-6c69e78b5d39"])
def test_a_valid_request_id_is_kept(sent: str, log: Log) -> None:
    assert Client().get("/healthz", headers={"X-Request-ID": sent})["X-Request-ID"] == sent
    assert log()[0].startswith(f"INFO todo_backend.log {sent}: GET /healthz 200 ")


@pytest.mark.parametrize("sent", ["", "x" * 129, "a b", "a,b", "a:b", "a\n", "a\nb", "\u00e9", "\u0661", "<b>", "%41"])
def test_an_invalid_request_id_is_replaced(sent: str, log: Log) -> None:
    ids = [Client().get("/healthz", headers={"X-Request-ID": sent})["X-Request-ID"] for _ in range(2)]
    assert len(set(ids)) == 2
    for made, line in zip(ids, log(), strict=True):
        assert re.fullmatch("[0-9a-f]{32}", made)
        assert line.startswith(f"INFO todo_backend.log {made}: ")


def test_every_line_of_a_request_has_its_id(ada: UserClient, log: Log, settings: Any) -> None:
    settings.BETTER_AUTH_URL = "http://localhost:3000"
    settings.BETTER_AUTH_JWKS_URL = f"http://127.0.0.1:{free_port()}/jwks"
    unpublished = sign(claims(), {"alg": "EdDSA", "kid": "k"})
    ada("GET", "/api/tasks", **{"Authorization": f"Bearer {unpublished}", "X-Request-ID": "unknown"})
    ada("GET", "/api/tasks", **{"Authorization": "Bearer x", "X-Request-ID": "refused"})
    with fail_with(OperationalError("gone")):
        ada("GET", "/api/tasks", **{"X-Request-ID": "failed"})
    with fail_with(ZeroDivisionError("none of the user's")):
        ada("GET", "/api/tasks", **{"X-Request-ID": "wrong"})
    lines = [line.partition(": ") for line in log() if re.match("[A-Z]+ todo_backend", line)]
    assert [line[0] for line in lines] == [
        "WARNING todo_backend.jwks unknown",
        "ERROR todo_backend.log unknown",
        "INFO todo_backend.log refused",
        "ERROR todo_backend.log failed",
        "ERROR todo_backend.exceptions wrong",
        "ERROR todo_backend.log wrong",
    ]
    logging.getLogger("todo_backend").error("Between requests.")
    assert log()[-1] == "ERROR todo_backend -: Between requests."


def test_a_user_id_cannot_add_a_line_to_the_log(log: Log) -> None:
    UserClient("ada\u2028ERROR \u202e'x'")("GET", "/api/tasks")
    [line] = log()
    assert line.endswith(r""" ms, user "ada\u2028ERROR \u202e'x'" """.rstrip())


@pytest.fixture
def refusing_table() -> None:
    """A table that refuses a title which the API accepts. The test's transaction is rolled back."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("ALTER TABLE tasks_task ADD CONSTRAINT none_of_those CHECK (title NOT LIKE 'private%')")
        else:
            cursor.execute(
                "CREATE TRIGGER none_of_those BEFORE INSERT ON tasks_task WHEN NEW.title LIKE 'private%'"
                " BEGIN SELECT RAISE(ABORT, 'none_of_those'); END"
            )


@pytest.fixture(params=["text", "json"])
def log_format(
    request: pytest.FixtureRequest, settings: Any, console: logging.Handler, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A copy, because configure_formatter() removes items.
    formatter = DictConfigurator({}).configure_formatter({**settings.LOGGING["formatters"][request.param]})
    monkeypatch.setattr(console, "formatter", formatter)


def raise_while_handling(execute: Any, *args: Any) -> Any:
    try:
        return execute(*args)
    except IntegrityError:
        raise ZeroDivisionError  # noqa: B904  so that the database's error is its context, not its cause


@pytest.mark.requirement("FR-011")
@pytest.mark.sqlite
@pytest.mark.postgresql
@pytest.mark.parametrize("wrapper", [lambda execute, *args: execute(*args), raise_while_handling])
def test_a_database_error_is_logged_without_the_users_text(
    wrapper: Any, ada: UserClient, log: Log, log_format: None, refusing_table: None
) -> None:
    """PostgreSQL's error ends in `DETAIL:  Failing row contains (7, ada, private thought, …`."""
    with connection.execute_wrapper(wrapper):
        response = ada("POST", "/api/tasks?private", {"title": "private thought", "description": "private words"})
    assert (response.status_code, response.json()) == (500, {"detail": "Internal server error."})
    text = "\n".join(log())
    assert "Traceback" in text
    assert "IntegrityError" in text
    assert "none_of_those" in text
    assert "private" not in text


def test_a_server_error_is_logged_as_an_error(ada: UserClient, log: Log) -> None:
    for error in [ZeroDivisionError(), OperationalError()]:
        with fail_with(error):
            ada("GET", "/api/tasks")
    assert [line.split()[0] for line in log() if " in " in line and "todo_backend.log" in line] == ["ERROR"] * 2


def test_the_milliseconds_include_the_database(ada: UserClient, log: Log) -> None:
    def wait(execute: Any, *args: Any) -> Any:
        time.sleep(0.05)
        return execute(*args)

    with connection.execute_wrapper(wait):
        ada("GET", "/api/tasks")
    found = re.search(r" in ([0-9.]+) ms", log()[0])
    assert found
    assert 50 <= float(found[1]) < 10_000


@pytest.mark.parametrize(("error", "status"), [(ZeroDivisionError, 500), (SuspiciousOperation, 400)])
def test_an_error_outside_the_views_is_logged_with_its_id_and_without_the_query(
    error: type[Exception],
    status: int,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    log: Log,
    log_format: None,
) -> None:
    monkeypatch.setattr("testing.failures.middleware_error", error)
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "testing.failures.failing_middleware"]
    client = Client(raise_request_exception=False)
    response = client.get("/api/tasks?token=x", headers={"X-Request-ID": "the-id"})
    assert (response.status_code, response["X-Request-ID"]) == (status, "the-id")
    lines = [line for line in log() if re.match(r"[A-Z]+ |{", line)]
    assert [line.count("the-id") for line in lines] == [1, 1]
    assert "Traceback" in "\n".join(log())
    assert "token=x" not in "\n".join(log())


def test_times_are_in_utc_where_the_time_zone_cannot_be_set(tmp_path: Path) -> None:
    """As on Windows."""
    log = tmp_path / "log"
    with development_server(log, DATABASE_URL=f"sqlite:///{tmp_path / 'db'}", TZ="Asia/Tokyo", PYTHONPATH=WINDOWS):
        [line] = [line for line in log.read_text(encoding="utf-8").splitlines() if "todo_backend.startup" in line]
    logged = datetime.fromisoformat(line[:19]).replace(tzinfo=UTC)
    assert abs(datetime.now(UTC) - logged) < timedelta(minutes=5)


def test_runserver_logs_a_request_once_and_nothing_private(tmp_path: Path) -> None:
    log = tmp_path / "log"
    variables = {"DATABASE_URL": f"sqlite:///{tmp_path / 'todo.sqlite3'}", "DEBUG": "true"}
    assert manage("migrate", **variables).returncode == 0
    token = sign(claims(), secret=SECRET)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    with development_server(log, **variables, LOG_LEVEL="DEBUG") as address:
        body = b'{"title": "private title"}'
        urlopen(Request(f"{address}/api/tasks?private", body, headers), timeout=15).close()
    text = log.read_text(encoding="utf-8")
    assert text.count("/api/tasks") == 1
    assert "private" not in text
    assert not any(segment in text for segment in token.split("."))
