"""The body of a request: which bodies are accepted, and which error comes first."""

import io
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from threading import Event
from typing import Any

import pytest
from django.test import Client

from testing.client import Response, Rows, UserClient
from testing.servers import wait_until
from testing.threads import start_request
from todo_backend import bodies, waiting

pytestmark = pytest.mark.django_db

LIMIT = 64 * 1024


def padded(size: int) -> bytes:
    """A good body of exactly that many bytes."""
    return b'{"title": "x", "pad": "' + b"x" * (size - 25) + b'"}'


@pytest.fixture
def task(ada: UserClient) -> Any:
    return ada.task(description="kept")


@pytest.fixture
def assert_unchanged(task: dict[str, Any], rows: Rows) -> Any:
    """Asserts after the test that no task was added, changed or deleted."""
    before = rows()
    yield
    assert rows() == before


def writes(task: dict[str, Any]) -> list[tuple[str, str]]:
    one = f"/api/tasks/{task['id']}"
    return [("POST", "/api/tasks"), ("PUT", one), ("PATCH", one), ("PATCH", f"{one}/complete")]


NOT_JSON = {
    "a word": b"title",
    "an open object": b'{"title": "x"',
    "a trailing comma": b'{"title": "x",}',
    "single quotes": b"{'title': 'x'}",
    "a comment": b'{"title": "x"} // x',
    "two values": b"{} {}",
    "white space only": b"   ",
    "a form": b"title=x",
    "NaN": b'{"title": "x", "n": NaN}',
    "Infinity": b'{"title": "x", "n": -Infinity}',
    "a leading zero": b'{"title": "x", "n": 01}',
    "a control character in a string": b'{"title": "a\nb"}',
    "a bad escape": b'{"title": "\\x"}',
    "a byte order mark": b'\xef\xbb\xbf{"title": "x"}',
    "Latin-1": b'{"title": "\xe9"}',
    "UTF-16": '{"title": "x"}'.encode("utf-16"),
    "an encoded surrogate": b'{"title": "\xed\xa0\x80"}',
    "an overlong encoding": b'{"title": "\xc0\xaf"}',
    "nested 32768 deep": b"[" * 32768 + b"]" * 32768,
    "nested 64 KiB deep, unclosed": b"[" * LIMIT,
    "objects nested 10000 deep": b'{"a":' * 10000 + b"1" + b"}" * 10000,
    "a title nested 5000 deep": b'{"title":' + b"[" * 5000 + b"]" * 5000 + b"}",
}


@pytest.mark.requirement("FR-008")
@pytest.mark.parametrize("raw", NOT_JSON.values(), ids=NOT_JSON.keys())
def test_a_body_that_is_not_json_is_400(
    raw: bytes, ada: UserClient, task: dict[str, Any], assert_unchanged: None, django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(0):
        for method, path in writes(task):
            response = ada(method, path, raw=raw)
            assert response.status_code == 400
            assert list(response.json()) == ["detail"]


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
@pytest.mark.parametrize(("depth", "status"), [(98, 422), (99, 422), (100, 400), (500, 400), (990, 400), (2000, 400)])
def test_nesting_beyond_100_levels_is_400(
    depth: int, status: int, opening: bytes, ada: UserClient, task: dict[str, Any], assert_unchanged: None
) -> None:
    closing = b"]" if opening == b"[" else b"}"
    for method, path in writes(task)[:3]:
        response = ada(method, path, raw=b'{"title": ' + opening * depth + b"1" + closing * depth + b"}")
        assert response.status_code == status


NOT_AN_OBJECT = [b"[]", b"null", b"true", b"5", b'"x"', b'[{"title": "x"}]', b"1e999", b"9" * 5000]


@pytest.mark.parametrize("raw", NOT_AN_OBJECT)
def test_json_that_is_not_an_object_is_422_under_non_field_errors(
    raw: bytes, ada: UserClient, task: dict[str, Any], assert_unchanged: None
) -> None:
    for method, path in writes(task):
        response = ada(method, path, raw=raw)
        assert response.status_code == 422
        [message] = response.json()["errors"]["non_field_errors"]
        assert response.json() == {
            "detail": f"non_field_errors: {message}",
            "errors": {"non_field_errors": [message]},
        }


@pytest.mark.sqlite
@pytest.mark.postgresql
@pytest.mark.parametrize(
    "number", ["9" * 4299, "9" * 4300, "9" * 4301, "9" * 10_000, "-" + "9" * 10_000, "1e999", "0." + "1" * 9000]
)
def test_a_number_of_any_length_is_json(number: str, ada: UserClient, rows: Rows) -> None:
    response = ada("POST", "/api/tasks", raw=f'{{"title": {number}}}'.encode())
    assert response.json() == {"detail": "title: Not a valid string.", "errors": {"title": ["Not a valid string."]}}
    assert rows() == []
    assert ada("POST", "/api/tasks", raw=f'{{"title": "x", "n": {number}}}'.encode()).status_code == 201


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize(
    "content_type",
    [
        *("application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain", "text/json", "json"),
        *("application/jsonp", "application/vnd.api+json", "application/*", "*/*", "application/xml", ";", "a" * 300),
        *("application/json; charset=latin-1", "application/json;charset=UTF-16", "application/json; charset=bogus"),
        *("application/json; charset=", "application/json, text/plain"),
    ],
)
def test_another_media_type_or_charset_is_415(
    content_type: str, debug: bool, ada: UserClient, task: dict[str, Any], assert_unchanged: None, settings: Any
) -> None:
    settings.DEBUG = debug
    for method, path in writes(task):
        response = ada(method, path, {"title": "x"}, content_type=content_type, Accept="text/html")
        assert response.status_code == 415
        assert list(response.json()) == ["detail"]


@pytest.mark.parametrize(
    "content_type",
    [
        *("application/json", "APPLICATION/JSON", "application/json; charset=utf-8", "application/json;charset=UTF-8"),
        *('application/json; charset="utf-8"', "application/json; charset=utf8", "application/json; indent=4"),
    ],
)
def test_json_in_utf_8_is_accepted_under_any_spelling_of_its_type(content_type: str, ada: UserClient) -> None:
    response = ada("POST", "/api/tasks", {"title": "é"}, content_type=content_type)
    assert (response.status_code, response.json()["title"]) == (201, "é")


def test_a_body_without_a_media_type_is_415(ada: UserClient, assert_unchanged: None) -> None:
    response = Client().generic(
        "POST", "/api/tasks", b"{}", content_type="", headers={"Authorization": f"Bearer {ada.token}"}
    )
    assert response.status_code == 415


def test_64_kib_are_accepted_and_a_byte_more_is_413(ada: UserClient, task: dict[str, Any], rows: Rows) -> None:
    assert ada("POST", "/api/tasks", raw=padded(LIMIT)).status_code == 201
    before = rows()
    for method, path in [*writes(task), ("GET", "/api/tasks"), ("DELETE", f"/api/tasks/{task['id']}")]:
        response = ada(method, path, raw=padded(LIMIT + 1))
        assert response.status_code == 413
        assert response.json() == {"detail": "The body is too large."}
    assert rows() == before


def test_a_body_without_content_length_is_411(ada: UserClient, task: dict[str, Any], assert_unchanged: None) -> None:
    for method, path in [*writes(task), ("GET", "/api/tasks"), ("DELETE", f"/api/tasks/{task['id']}")]:
        response = ada(method, path, **{"Transfer-Encoding": "chunked"})
        assert response.status_code == 411
        assert response.json() == {"detail": "Send a Content-Length with the body."}


@pytest.mark.parametrize("length", ["x", "-1", "1e1", "\u00b2"])
def test_an_invalid_content_length_is_411(
    length: str, ada: UserClient, task: dict[str, Any], assert_unchanged: None
) -> None:
    response = ada("PATCH", f"/api/tasks/{task['id']}/complete", **{"Content-Length": length})
    assert response.status_code == 411


def test_a_content_length_of_5000_digits_is_too_large(
    ada: UserClient, task: dict[str, Any], assert_unchanged: None
) -> None:
    response = ada("PATCH", f"/api/tasks/{task['id']}/complete", **{"Content-Length": "9" * 5000})
    assert response.status_code == 413


class BrokenBody(io.BytesIO):
    """The body of a client that disconnected, on a WSGI server that raises an error for it."""

    def read(self, size: int | None = -1) -> bytes:
        raise OSError("the connection was closed")


def test_a_body_that_cannot_be_read_is_400(ada: UserClient, task: dict[str, Any], assert_unchanged: None) -> None:
    broken: dict[str, Any] = {"wsgi.input": BrokenBody()}
    for method, path in writes(task):
        response = Client().generic(
            method,
            path,
            b"{}",
            "application/json",
            headers={"Authorization": f"Bearer {ada.token}"},
            **broken,
        )
        assert (response.status_code, response.json()) == (400, {"detail": "The body is incomplete."})


class SlowBody(io.BytesIO):
    """A body whose reader waits until `sent` is set. It turns out to be incomplete, so that nothing is written."""

    def __init__(self) -> None:
        super().__init__()
        self.awaited = Event()
        self.sent = Event()

    def read(self, size: int | None = -1) -> bytes:
        self.awaited.set()
        assert self.sent.wait(10)
        return b""


def create_with(body: io.BytesIO, user: UserClient) -> Response:
    environ: dict[str, Any] = {"wsgi.input": body}
    headers = {"Authorization": f"Bearer {user.token}"}
    return Client().generic("POST", "/api/tasks", b"{}", "application/json", headers=headers, **environ)


@contextmanager
def slow_bodies(*users: UserClient) -> Iterator[None]:
    """For each user, a thread reads a slow body while the context lasts. Asserts that all have been read at its end."""
    slow = [SlowBody() for _ in users]
    requests = [start_request(partial(create_with, body, user)) for body, user in zip(slow, users, strict=True)]
    try:
        assert all(body.awaited.wait(10) for body in slow)
        yield
    finally:
        for body in slow:
            body.sent.set()
        for thread, _ in requests:
            thread.join()
    assert [answer.json() for _, [answer] in requests] == [{"detail": "The body is incomplete."}] * len(users)


@pytest.fixture
def six_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slots for eight threads: six, of which one user has at most two."""
    monkeypatch.setattr(bodies, "slots", bodies.Slots(8))


def assert_refused(response: Response) -> None:
    detail = "Too many requests are still sending their bodies; try again."
    assert (response.status_code, response.json()) == (503, {"detail": detail})
    assert response["Retry-After"] == "1"


@pytest.mark.parametrize(
    ("threads", "total", "per_user"),
    [(1, 1, 1), (2, 1, 1), (3, 2, 1), (4, 3, 1), (8, 6, 2), (16, 12, 4), (100, 75, 25)],
)
def test_bodies_take_three_quarters_of_the_threads_and_one_users_a_third_of_these(
    threads: int, total: int, per_user: int
) -> None:
    slots = bodies.Slots(threads)
    assert (slots.total, slots.per_user) == (total, per_user)


@pytest.mark.parametrize(("threads", "expected"), [(1, 1), (2, 1), (3, 2), (4, 3), (5, 3), (8, 6), (16, 14), (100, 98)])
def test_bodies_and_fetches_of_keys_together_leave_a_thread(threads: int, expected: int) -> None:
    slots = waiting.slots_for(threads)
    for _ in range(expected):
        assert slots.acquire(blocking=False)
    assert not slots.acquire(blocking=False)


def test_while_too_many_requests_wait_for_keys_a_body_is_refused(
    ada: UserClient, six_slots: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "slots", waiting.slots_for(1))
    with waiting.slots:
        assert_refused(ada("POST", "/api/tasks", {"title": "x"}))
        assert ada("GET", "/api/tasks").status_code == 200
    assert ada("POST", "/api/tasks", {"title": "x"}).status_code == 201


def test_the_slots_are_for_the_threads_of_the_settings(settings: Any) -> None:
    assert bodies.slots.total == settings.SERVER.threads * 3 // 4


def test_a_user_with_a_third_of_the_slots_is_refused_and_others_are_not(
    ada: UserClient, bob: UserClient, six_slots: None, rows: Rows
) -> None:
    with slow_bodies(ada, ada):
        for method, path in [("POST", "/api/tasks"), ("PUT", "/api/tasks/1"), ("PATCH", "/api/tasks/1/complete")]:
            assert_refused(ada(method, path, {"title": "x"}))
            # The body is not read, so nobody knows that it is not JSON.
            assert_refused(ada(method, path, raw=b"{"))
        assert rows() == []
        assert bob("POST", "/api/tasks", {"title": "x"}).status_code == 201
    assert ada("POST", "/api/tasks", {"title": "x"}).status_code == 201


def test_when_every_slot_is_taken_any_user_is_refused(
    ada: UserClient, bob: UserClient, six_slots: None, rows: Rows
) -> None:
    carol = UserClient("carol")
    with slow_bodies(ada, ada, bob, bob, carol, carol):
        assert_refused(UserClient("dan")("POST", "/api/tasks", {"title": "x"}))
    assert rows() == []


def test_a_request_without_a_body_needs_no_slot(ada: UserClient, six_slots: None) -> None:
    one = f"/api/tasks/{ada.task()['id']}"
    with slow_bodies(ada, ada):
        for status, method, path in [
            *((200, "GET", path) for path in ("/api/tasks", one, "/healthz", "/readyz", "/api/schema")),
            *((200, "PATCH", f"{one}/complete"), (422, "POST", "/api/tasks"), (204, "DELETE", one)),
        ]:
            assert ada(method, path).status_code == status


def test_a_body_that_is_not_read_needs_no_slot(ada: UserClient, six_slots: None) -> None:
    one = f"/api/tasks/{ada.task()['id']}"
    with slow_bodies(ada, ada):
        assert ada("GET", "/api/tasks", raw=b"{}").status_code == 200
        assert ada("DELETE", one, raw=b"{}").status_code == 204
        assert ada("POST", "/api/tasks", raw=b"{}", Authorization="Bearer x").status_code == 401
        assert ada("POST", "/api/tasks", raw=padded(LIMIT + 1)).status_code == 413
        assert ada("POST", "/api/tasks", raw=b"{}", content_type="text/plain").status_code == 415


def test_a_slot_that_becomes_free_is_for_a_request_that_waits(
    ada: UserClient, six_slots: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "SLOT_TIMEOUT", 60)
    with slow_bodies(ada, ada):
        waiting, answers = start_request(lambda: ada("POST", "/api/tasks", raw=b"x"))
        waiting.join(0.1)
        assert waiting.is_alive()
    waiting.join(10)
    assert answers[0].status_code == 400


@pytest.mark.parametrize(("reading", "count"), [(2, 5), (6, 1)])
def test_one_thread_of_eight_never_waits_for_a_slot(
    reading: int, count: int, six_slots: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "SLOT_TIMEOUT", 60)
    users = [UserClient(name) for name in ("ada", "ada", "bob", "bob", "carol", "carol")]
    create = partial(users[0], "POST", "/api/tasks", raw=b"x")
    with slow_bodies(*users[:reading]):
        requests = [start_request(create) for _ in range(count)]
        wait_until(lambda: bodies.slots.waiters == count, "the requests wait")
        assert_refused(create())
        assert bodies.slots.waiters == count
    for thread, answers in requests:
        thread.join(10)
        assert answers[0].status_code == 400
    assert bodies.slots.waiters == 0


def test_the_slot_that_becomes_free_is_that_of_its_own_user(ada: UserClient, bob: UserClient, six_slots: None) -> None:
    with ExitStack() as bobs:
        with slow_bodies(ada, ada):
            bobs.enter_context(slow_bodies(bob, bob))
        assert ada("POST", "/api/tasks", {"title": "x"}).status_code == 201
        assert_refused(bob("POST", "/api/tasks", {"title": "x"}))


def test_a_broken_body_gives_its_slot_back(ada: UserClient, six_slots: None) -> None:
    for _ in range(7):
        assert create_with(BrokenBody(), ada).status_code == 400


def test_the_line_of_a_refused_request_says_how_many_bodies_are_being_read(
    ada: UserClient, bob: UserClient, six_slots: None, caplog: pytest.LogCaptureFixture
) -> None:
    with slow_bodies(ada, ada, bob):
        ada("POST", "/api/tasks", {"title": "x"})
        [line] = [record.getMessage() for record in caplog.records if record.name == "todo_backend.log"]
    assert "POST /api/tasks 503 in " in line
    reason = "2 bodies of this user are being read, of at most 2, and 3 in all, of at most 6, "
    assert line.endswith(f"ms, user 'ada', refused: {reason}fewer while others wait for keys")


@pytest.mark.requirement("FR-009")
def test_the_first_applicable_error_is_the_answer(
    task: dict[str, Any], assert_unchanged: None, ada: UserClient
) -> None:
    """A request with every error, which are mended one after the other, in the specification's order."""
    wrong: dict[str, Any] = {
        "path": "/api/nowhere",
        "method": "POST",
        "raw": b"{",
        "content_type": "text/plain",
        "Host": "evil.example",
        "Authorization": "Bearer x.y.z",
        "Transfer-Encoding": "chunked",
        "Content-Length": str(LIMIT + 1),
    }
    steps: list[tuple[int, dict[str, Any]]] = [
        (400, {"Host": "localhost"}),
        (404, {"path": f"/api/bob/tasks/{task['id']}/complete"}),
        (401, {"Authorization": f"Bearer {ada.token}"}),
        (403, {"path": f"/api/ada/tasks/{task['id'] + 1}/complete"}),
        (405, {"method": "PATCH"}),
        (411, {"Transfer-Encoding": None}),
        (413, {"Content-Length": "1"}),
        (415, {"content_type": "application/json"}),
        (400, {"raw": b'{"completed": 1}', "Content-Length": "16"}),
        (422, {"raw": b'{"completed":  true}', "Content-Length": "20"}),
        (404, {"path": f"/api/ada/tasks/{task['id']}", "raw": b"{}", "Content-Length": "2"}),
        (200, {}),
    ]
    for status, mended in steps:
        request = {name: value for name, value in wrong.items() if value is not None}
        headers = {name: value for name, value in request.items() if name[0].isupper()}
        response = Client().generic(
            request["method"], request["path"], request["raw"], request["content_type"], headers=headers
        )
        assert response.status_code == status, (response.content, request)
        wrong.update(mended)


@pytest.mark.sqlite
@pytest.mark.postgresql
def test_any_value_in_any_field_creates_one_task_or_is_422(ada: UserClient, rows: Rows) -> None:
    values = ["", " ", "x", "\0", "x" * 201, "x" * 1001, 0, 1, -1, 1.5, 1e308, True, False, None, [], [1], {}, {"a": 1}]
    for field in ["title", "description", "completed", "id", "user_id", "created_at", "other"]:
        for value in values:
            before = rows()
            response = ada("POST", "/api/tasks", {"title": "x", field: value})
            assert response.status_code in (201, 422)
            if response.status_code == 422:
                assert list(response.json()["errors"]) == [field]
                assert rows() == before
            else:
                assert [row["id"] for row in rows()[len(before) :]] == [response.json()["id"]]
