import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tasks.models import WHITE_SPACE, Task
from testing.client import Rows, UserClient

pytestmark = pytest.mark.django_db

BLANK = "This field may not be blank."
NOT_A_STRING = "Not a valid string."
NOT_A_BOOLEAN = "Must be a valid boolean."
NULL = "This field may not be null."
NUL = "Null characters are not allowed."
SURROGATE = "Surrogate characters are not allowed: U+D800."


@pytest.mark.requirement("FR-002", "FR-009")
def test_a_created_task_is_answered_as_it_is_stored(ada: UserClient, rows: Rows) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    response = ada("POST", "/api/tasks", {"title": "Buy milk", "description": "2 %", "completed": True})
    assert response.status_code == 201
    [row] = rows()
    assert response["Location"] == f"/api/tasks/{row['id']}"
    assert response["Content-Type"] == "application/json"
    assert response["Cache-Control"] == "no-store"
    written = row["created_at"].strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    assert response.json() == {
        **response.json(),
        "id": row["id"],
        "user_id": "ada",
        "title": "Buy milk",
        "description": "2 %",
        "completed": True,
        "created_at": written,
        "updated_at": written,
    }
    assert tuple(response.json()) == Task.API_FIELDS
    assert row == {**row, "user_id": "ada", "title": "Buy milk", "description": "2 %", "completed": True}
    assert before <= row["created_at"] == row["updated_at"] <= datetime.now(UTC) + timedelta(seconds=1)


def test_the_location_leads_to_the_task(ada: UserClient) -> None:
    response = ada("POST", "/api/tasks", {"title": "Buy milk"})
    assert ada("GET", response["Location"]).content == response.content


def test_description_is_null_and_completed_false_by_default(ada: UserClient, rows: Rows) -> None:
    task = ada.task(title="x")
    assert (task["description"], task["completed"]) == (None, False)
    assert [(row["description"], row["completed"]) for row in rows()] == [(None, False)]


@pytest.mark.requirement("SC-005")
def test_times_have_six_digits_of_fraction_and_z(ada: UserClient) -> None:
    task = ada.task()
    for name in ("created_at", "updated_at"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", task[name])


TITLES = {
    "one character": ("x", "x"),
    "200 characters": ("x" * 200, "x" * 200),
    "200 code points of four bytes": ("😀" * 200, "😀" * 200),
    "200 characters before trimming": ("\t " + "x" * 196 + " \n", "x" * 196),
    "white space of every kind around it": (f"{WHITE_SPACE}\ufeffa b\ufeff{WHITE_SPACE}", "a b"),
    "markup": ("<b>&amp;</b>'\"; --", "<b>&amp;</b>'\"; --"),
    "per cent signs": ("100 %s %(x)s %%", "100 %s %(x)s %%"),
    "right to left, combining, zero width": ("שלום e\u0301 \u200b", "שלום e\u0301 \u200b"),
    "control characters": ("a\x01\x7f\x1bb", "a\x01\x7f\x1bb"),
    "line separators": ("a\u2028b\u2029c\nd", "a\u2028b\u2029c\nd"),
    "a non-character and a private one": ("\ufffe\U0010ffff\ue000", "\ufffe\U0010ffff\ue000"),
}


@pytest.mark.requirement("FR-002")
@pytest.mark.parametrize(("sent", "kept"), TITLES.values(), ids=TITLES.keys())
def test_a_valid_title_is_stored_trimmed(sent: str, kept: str, ada: UserClient, rows: Rows) -> None:
    assert ada.task(title=sent)["title"] == kept
    assert [row["title"] for row in rows()] == [kept]


DESCRIPTIONS = [None, "", " ", "x" * 1000, "😀" * 1000, "  kept\r\nas sent\t", "\u0001"]


@pytest.mark.requirement("FR-002")
@pytest.mark.parametrize("description", DESCRIPTIONS)
def test_a_description_is_stored_as_sent(description: str | None, ada: UserClient, rows: Rows) -> None:
    assert ada.task(description=description)["description"] == description
    assert [row["description"] for row in rows()] == [description]


REFUSED: dict[str, tuple[Any, dict[str, str]]] = {
    "no title": ({}, {"title": "This field is required."}),
    "title null": ({"title": None}, {"title": NULL}),
    "title empty": ({"title": ""}, {"title": BLANK}),
    "title blank": ({"title": " \t\n"}, {"title": BLANK}),
    "title of every white space": ({"title": WHITE_SPACE}, {"title": BLANK}),
    "title a byte order mark": ({"title": "\ufeff"}, {"title": BLANK}),
    "title of white space in Python and in JavaScript": ({"title": "\u2003\ufeff\x85"}, {"title": BLANK}),
    "title too long before trimming": (
        {"title": " " + "x" * 200},
        {"title": "Ensure this field has no more than 200 characters."},
    ),
    "title a number": ({"title": 5}, {"title": NOT_A_STRING}),
    "title a fraction": ({"title": 1.5}, {"title": NOT_A_STRING}),
    "title a boolean": ({"title": True}, {"title": NOT_A_STRING}),
    "title an array": ({"title": ["x"]}, {"title": NOT_A_STRING}),
    "title an empty array": ({"title": []}, {"title": NOT_A_STRING}),
    "title an object": ({"title": {"x": 1}}, {"title": NOT_A_STRING}),
    "title too long": ({"title": "x" * 201}, {"title": "Ensure this field has no more than 200 characters."}),
    "title with NUL": ({"title": "a\0b"}, {"title": NUL}),
    "title with a lone surrogate": ({"title": "a\ud800"}, {"title": SURROGATE}),
    "description a number": ({"title": "x", "description": 5}, {"description": NOT_A_STRING}),
    "description a boolean": ({"title": "x", "description": False}, {"description": NOT_A_STRING}),
    "description an array": ({"title": "x", "description": []}, {"description": NOT_A_STRING}),
    "description too long": (
        {"title": "x", "description": "x" * 1001},
        {"description": "Ensure this field has no more than 1000 characters."},
    ),
    "description with NUL": ({"title": "x", "description": "\0"}, {"description": NUL}),
    "description with a lone surrogate": ({"title": "x", "description": "\ud800"}, {"description": SURROGATE}),
    "completed yes": ({"title": "x", "completed": "yes"}, {"completed": NOT_A_BOOLEAN}),
    "completed the string true": ({"title": "x", "completed": "true"}, {"completed": NOT_A_BOOLEAN}),
    "completed 1": ({"title": "x", "completed": 1}, {"completed": NOT_A_BOOLEAN}),
    "completed 0": ({"title": "x", "completed": 0}, {"completed": NOT_A_BOOLEAN}),
    "completed 1.0": ({"title": "x", "completed": 1.0}, {"completed": NOT_A_BOOLEAN}),
    "completed empty": ({"title": "x", "completed": ""}, {"completed": NOT_A_BOOLEAN}),
    "completed null": ({"title": "x", "completed": None}, {"completed": NULL}),
    "completed an array": ({"title": "x", "completed": [True]}, {"completed": NOT_A_BOOLEAN}),
    "everything": (
        {"title": "", "description": 1, "completed": "x"},
        {"title": BLANK, "description": NOT_A_STRING, "completed": NOT_A_BOOLEAN},
    ),
}


@pytest.mark.requirement("FR-002", "FR-008", "SC-006")
@pytest.mark.parametrize(("body", "errors"), REFUSED.values(), ids=REFUSED.keys())
def test_invalid_fields_are_422_with_a_message_each_and_without_a_query(
    body: Any, errors: dict[str, str], ada: UserClient, rows: Rows, django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(0):
        response = ada("POST", "/api/tasks", body)
    assert response.status_code == 422
    field, message = next(iter(errors.items()))
    assert response.json() == {
        "detail": f"{field}: {message}",
        "errors": {field: [message] for field, message in errors.items()},
    }
    assert rows() == []


def test_without_a_body_the_title_is_missing(ada: UserClient, rows: Rows) -> None:
    response = ada("POST", "/api/tasks")
    assert response.status_code == 422
    assert response.json()["errors"] == {"title": ["This field is required."]}
    assert rows() == []


@pytest.mark.requirement("FR-006")
def test_read_only_and_unknown_fields_are_ignored(ada: UserClient, rows: Rows) -> None:
    task = ada.task(
        id=77, user_id="bob", created_at="2000-01-01T00:00:00Z", updated_at="x", owner=[1], priority={"a": None}
    )
    [row] = rows()
    assert (task["id"], task["user_id"]) == (row["id"], row["user_id"]) == (row["id"], "ada")
    assert row["id"] != 77
    assert row["created_at"].year > 2000


def test_the_last_of_duplicate_keys_counts(ada: UserClient, rows: Rows) -> None:
    response = ada("POST", "/api/tasks", raw=b'{"title": 5, "title": "first", "title": "last"}')
    assert response.status_code == 201
    assert [row["title"] for row in rows()] == ["last"]


def test_each_task_gets_a_higher_id(ada: UserClient, bob: UserClient) -> None:
    first, second, third = ada.task()["id"], bob.task()["id"], ada.task()["id"]
    assert first < second < third


def test_the_id_of_a_deleted_task_is_not_given_again(ada: UserClient) -> None:
    first = ada.task()["id"]
    ada("DELETE", f"/api/tasks/{first}")
    assert ada.task()["id"] > first


def test_a_create_is_one_statement(ada: UserClient, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):
        ada.task()


def test_white_space_has_the_characters_that_python_strips() -> None:
    assert set(WHITE_SPACE) == {character for character in map(chr, range(0x110000)) if character.isspace()}
