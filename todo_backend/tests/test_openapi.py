import json
import re
import sys
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import jsonschema
import pytest
from django.conf import settings
from django.db import OperationalError
from django.test import Client

from tasks.models import Task
from tasks.serializers import TaskSerializer
from testing.client import Response, UserClient
from testing.failures import UNKNOWN, fail_with
from testing.key_server import PUBLISHING, key_server
from testing.tokens import claims, sign, token
from todo_backend import pages
from todo_backend.bodies import slots
from todo_backend.jwks import published_keys
from todo_backend.openapi import ERRORS

EARLIER = datetime(2026, 2, 7, tzinfo=UTC)


@pytest.fixture
def document() -> Any:
    response = Client().get("/api/schema")
    assert response.status_code == 200
    assert response["Content-Type"] == "application/json"
    return response.json()


@pytest.fixture
def operations(document: Any) -> Any:
    """Method, path and description of each operation, by its id."""
    return {
        operation["operationId"]: (method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


@pytest.mark.requirement("FR-007")
def test_the_document_has_the_operations_of_the_specification_and_no_other(operations: Any) -> None:
    assert {name: (method, path) for name, (method, path, _) in operations.items()} == {
        "listTasks": ("GET", "/api/tasks"),
        "createTask": ("POST", "/api/tasks"),
        "getTask": ("GET", "/api/tasks/{id}"),
        "updateTask": ("PUT", "/api/tasks/{id}"),
        "patchTask": ("PATCH", "/api/tasks/{id}"),
        "toggleTask": ("PATCH", "/api/tasks/{id}/complete"),
        "deleteTask": ("DELETE", "/api/tasks/{id}"),
    }


ALWAYS = {400, 401, 411, 413, 500, 503}


@pytest.mark.requirement("FR-009")
def test_every_operation_documents_its_answers(operations: Any) -> None:
    statuses = {name: set(map(int, operation["responses"])) for name, (_, _, operation) in operations.items()}
    assert statuses == {
        "listTasks": ALWAYS | {200, 422},
        "createTask": ALWAYS | {201, 409, 415, 422},
        "getTask": ALWAYS | {200, 404},
        "updateTask": ALWAYS | {200, 404, 415, 422},
        "patchTask": ALWAYS | {200, 404, 415, 422},
        "toggleTask": ALWAYS | {200, 404, 415, 422},
        "deleteTask": ALWAYS | {204, 404},
    }


def test_answers_have_the_headers_of_the_specification(document: Any, operations: Any) -> None:
    for name, (_, _, operation) in operations.items():
        [answer] = [response for status, response in operation["responses"].items() if status < "3"]
        assert answer["headers"].keys() == {"X-Request-ID", *(["Location"] if name == "createTask" else [])}
        for status, response in operation["responses"].items():
            if status >= "4":
                other = {"401": ["WWW-Authenticate"], "503": ["Retry-After"]}.get(status, [])
                assert response["headers"].keys() == {"X-Request-ID", *other}
    required = {name for name, header in document["components"]["headers"].items() if header.get("required")}
    assert required == {"X-Request-ID", "WWW-Authenticate"}


def test_schemas_have_the_names_that_a_frontend_imports(document: Any, operations: Any) -> None:
    names = ["Completion", "Error", "Task", "TaskCreate", "TaskUpdate", "ValidationError"]
    assert sorted(document["components"]["schemas"]) == names
    bodies = {
        name: operation["requestBody"]["content"]["application/json"]["schema"]
        for name, (_, _, operation) in operations.items()
        if "requestBody" in operation
    }
    assert bodies == {
        "createTask": {"$ref": "#/components/schemas/TaskCreate"},
        "updateTask": {"$ref": "#/components/schemas/TaskUpdate"},
        "patchTask": {"$ref": "#/components/schemas/TaskUpdate"},
        "toggleTask": {"$ref": "#/components/schemas/Completion"},
    }
    # Generators would make types of shared responses, too.
    assert "responses" not in document["components"]


def test_a_create_requires_a_title_only_and_an_answer_has_every_field(document: Any) -> None:
    schemas = document["components"]["schemas"]
    assert schemas["TaskCreate"]["required"] == ["title"]
    for name in ["TaskUpdate", "Completion"]:
        assert "required" not in schemas[name]
    sent = [name for name, field in TaskSerializer().fields.items() if not field.read_only]
    assert list(schemas["TaskCreate"]["properties"]) == list(schemas["TaskUpdate"]["properties"]) == sent
    assert {"title", "description", "completed"} <= {*sent}
    assert not {"id", "user_id", "created_at", "updated_at"} & {*sent}
    assert set(schemas["Completion"]["properties"]) == {"completed"}
    assert schemas["Task"]["required"] == list(schemas["Task"]["properties"])
    assert tuple(schemas["Task"]["required"]) == Task.API_FIELDS


def test_only_creating_needs_a_body(operations: Any) -> None:
    bodies = {
        name: operation["requestBody"] for name, (_, _, operation) in operations.items() if "requestBody" in operation
    }
    assert bodies.keys() == {"createTask", "updateTask", "patchTask", "toggleTask"}
    assert [name for name, body in bodies.items() if body.get("required")] == ["createTask"]


def test_an_id_is_an_integer_that_javascript_keeps(document: Any) -> None:
    """A generator may make another type of `format: int64`, such as BigInt."""
    schema = {"type": "integer", "minimum": 1, "maximum": 9007199254740991}
    for path in ["/api/tasks/{id}", "/api/tasks/{id}/complete"]:
        for operation in document["paths"][path].values():
            [task_id] = operation["parameters"]
            assert (task_id["name"], task_id["schema"]) == ("id", schema)
    assert document["components"]["schemas"]["Task"]["properties"]["id"] == schema
    assert "int64" not in json.dumps(document)


def test_texts_have_their_lengths_everywhere_and_patterns_in_requests_only(document: Any) -> None:
    schemas = document["components"]["schemas"]
    for field, length in [("title", 200), ("description", 1000)]:
        found = {name: schemas[name]["properties"][field] for name in ["Task", "TaskCreate", "TaskUpdate"]}
        assert [schema["maxLength"] for schema in found.values()] == [length] * 3
        assert [name for name, schema in found.items() if "pattern" in schema] == ["TaskCreate", "TaskUpdate"]


def test_patterns_name_no_character_that_a_generator_would_write_as_itself(document: Any) -> None:
    r"""A generator may write `\u2028` as a line separator, which ends the line of TypeScript's regular expression."""
    patterns = re.findall(r'"pattern": "(.*?)"', json.dumps(document))
    assert len(patterns) >= 8
    for pattern in patterns:
        assert pattern.isascii()
        assert r"\u" not in pattern


WHITE_SPACE = [character for character in map(chr, range(sys.maxunicode + 1)) if character.isspace()]
TEXTS = [
    *("", "x", " x ", "x\n", "\n\nx", "\0", "a\0", "\0\n", "\x7f", "\u180e", "\u200b", "\ufeff", "😀" * 200),
    *(
        "x" * 200,
        "x" * 201,
        "x" * 1000,
        "x" * 1001,
        f"x{' ' * 198}x",
        f"x{' ' * 199}x",
        "x" * 201 + " ",
        " " * 900 + "x",
    ),
    *("".join(WHITE_SPACE), *WHITE_SPACE, "".join(WHITE_SPACE) + "x" * 200 + "".join(WHITE_SPACE)),
]


@pytest.mark.requirement("FR-008")
@pytest.mark.sqlite
@pytest.mark.postgresql
@pytest.mark.django_db
@pytest.mark.parametrize("operation_id", ["createTask", "updateTask", "patchTask"])
@pytest.mark.parametrize("field", ["title", "description"])
def test_the_schema_and_the_api_accept_the_same_texts(
    operation_id: str, field: str, operations: Any, document: Any, ada: UserClient
) -> None:
    method, path, operation = operations[operation_id]
    path = path.format(id=ada.task()["id"])
    reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    schema = document["components"]["schemas"][reference.rpartition("/")[2]]["properties"][field]
    # The document's patterns are those of ECMA-262, for which U+FEFF is white space.
    pattern = schema["pattern"].replace(r"\s", r"\s\ufeff")
    for text in TEXTS:
        fits = schema.get("minLength", 0) <= len(text) <= schema["maxLength"] and re.search(pattern, text)
        response = ada(method, path, {"title": "x", field: text})
        assert (ascii(text), response.status_code == 422) == (ascii(text), not fits)


def examples(described: Any) -> dict[str, Any]:
    found = described["content"]["application/json"]["examples"]
    return {name: example["value"] for name, example in found.items()}


@pytest.mark.requirement("SC-005")
@pytest.mark.django_db
@pytest.mark.parametrize(
    "operation_id", ["listTasks", "createTask", "getTask", "updateTask", "patchTask", "toggleTask"]
)
def test_examples_of_answers_are_real_answers(
    operation_id: str, operations: Any, document: Any, ada: UserClient
) -> None:
    method, path, operation = operations[operation_id]
    [answers] = [examples(operation["responses"][status]) for status in operation["responses"] if status < "3"]
    bodies = examples(operation["requestBody"]) if "requestBody" in operation else dict.fromkeys(answers)
    assert bodies.keys() == answers.keys() != set()
    time = document["components"]["schemas"]["Task"]["properties"]["created_at"]["pattern"]
    assert not re.search(time, "2026-02-07T09:30:00Z")
    for name, body in bodies.items():
        Task.objects.all().delete()
        task_id = ada.task()["id"] if operation_id != "createTask" else None
        # SQLite's times have milliseconds, and a change may follow within the same one.
        Task.objects.update(created_at=EARLIER, updated_at=EARLIER)
        real, example = ada(method, path.format(id=task_id), body).json(), answers[name]
        if operation_id == "listTasks":
            [real], [example] = real, example
        assert list(real) == list(example)
        for task in (real, example):
            assert re.search(time, task["created_at"])
            assert re.search(time, task["updated_at"])
        assert (real["created_at"] < real["updated_at"]) == (example["created_at"] < example["updated_at"])
        for varying in ("id", "user_id", "created_at", "updated_at"):
            del real[varying], example[varying]
        assert real == example


def ask_with(ada: UserClient, raw_token: str) -> Any:
    return ada("GET", "/api/tasks", Authorization=f"Bearer {raw_token}")


def create_beyond_the_limit(ada: UserClient) -> Any:
    Task.objects.bulk_create(Task(user_id="ada", title="x") for _ in range(settings.TASKS_PER_USER))
    return ada("POST", "/api/tasks", {"title": "x"})


UNPUBLISHED = sign(claims(), {"alg": "EdDSA", "kid": "k"})


def create_without_a_slot(user: UserClient) -> Response:
    with ExitStack() as stack:
        for _ in range(slots.per_user):
            stack.enter_context(slots.slot(user.user_id))
        return user("POST", "/api/tasks", {"title": "x"})


def ask_while_others_wait_for_keys(ada: UserClient) -> Any:
    with key_server() as server, server.holding():
        settings.BETTER_AUTH_JWKS_URL = server.url
        key_slots = published_keys(server.url).key_slots
        while key_slots.acquire(blocking=False):
            pass
        response = ask_with(ada, UNPUBLISHED)
    published_keys.cache_clear()
    return response


# The requests that give each example of an error.
PROVOKE: dict[tuple[str, str], Any] = {
    ("BadRequest", "host"): lambda ada: ada("GET", "/api/tasks", Host="evil.example"),
    ("BadRequest", "malformed"): lambda ada: ada("POST", "/api/tasks", raw=b"{title: 1}"),
    ("BadRequest", "encoding"): lambda ada: ada("POST", "/api/tasks", raw=b'"\xe9"'),
    ("BadRequest", "depth"): lambda ada: ada("POST", "/api/tasks", raw=b"[" * 101 + b"]" * 101),
    ("Unauthorized", "missing"): lambda ada: ada("GET", "/api/tasks", Authorization=""),
    ("Unauthorized", "empty"): lambda ada: ask_with(ada, ""),
    ("Unauthorized", "undefined"): lambda ada: ask_with(ada, "undefined"),
    ("Unauthorized", "scheme"): lambda ada: ask_with(ada, f"Bearer {ada.token}"),
    ("Unauthorized", "expired"): lambda ada: ask_with(ada, token(exp=1)),
    ("Unauthorized", "invalid"): lambda ada: ask_with(ada, token() + "x"),
    ("Unauthorized", "session"): lambda ada: ask_with(ada, "KOGJWRsyXPQEYxPzaZAekKcFJsiHcOx7"),
    ("Unauthorized", "encrypted"): lambda ada: ask_with(ada, "a.b.c.d.e"),
    ("Unauthorized", "algorithm"): lambda ada: ask_with(ada, sign(claims(), {"alg": "HS384"})),
    ("Unauthorized", "setting"): lambda ada: ask_with(ada, UNPUBLISHED),
    ("Unauthorized", "issuer"): lambda ada: ask_with(ada, token(iss="http://localhost:3001")),
    ("Unauthorized", "audience"): lambda ada: ask_with(ada, token(aud="http://localhost:3001")),
    ("NotFound", "missing"): lambda ada: ada("GET", "/api/tasks/1"),
    ("TooManyTasks", "limit"): create_beyond_the_limit,
    ("LengthRequired", "chunked"): lambda ada: ada("POST", "/api/tasks", **{"Transfer-Encoding": "chunked"}),
    ("ContentTooLarge", "large"): lambda ada: ada("POST", "/api/tasks", raw=b"x" * 65537),
    ("UnsupportedMediaType", "text"): lambda ada: ada("POST", "/api/tasks", raw=b"x", content_type="text/plain"),
    ("Invalid", "blank"): lambda ada: ada("POST", "/api/tasks", {"title": " "}),
    ("Invalid", "types"): lambda ada: ada("POST", "/api/tasks", {"title": "x", "description": 1, "completed": "yes"}),
    ("Invalid", "array"): lambda ada: ada("POST", "/api/tasks", []),
    ("InvalidParameter", "choice"): lambda ada: ada("GET", "/api/tasks?status=done"),
    ("InternalServerError", "internal"): lambda ada: fail_with(ZeroDivisionError())(ada)("GET", "/api/tasks"),
    ("Unavailable", "database"): lambda ada: fail_with(OperationalError())(ada)("GET", "/api/tasks"),
    ("Unavailable", "keys"): lambda ada: ask_with(ada, UNPUBLISHED),
    ("Unavailable", "fetch"): ask_while_others_wait_for_keys,
    ("Unavailable", "bodies"): create_without_a_slot,
}
WITH_PUBLISHED_KEYS = [
    *(("Unauthorized", "issuer"), ("Unauthorized", "audience")),
    *(("Unavailable", "keys"), ("Unavailable", "fetch")),
]


@pytest.mark.django_db
@pytest.mark.parametrize(("name", "example"), PROVOKE)
def test_an_example_of_an_error_is_a_real_answer(
    name: str, example: str, operations: Any, document: Any, ada: UserClient, settings: Any
) -> None:
    if (name, example) in WITH_PUBLISHED_KEYS:
        for setting, value in PUBLISHING.items():
            setattr(settings, setting, value)
    response = PROVOKE[name, example](ada)
    described = ERRORS[name, response.status_code]
    assert described in [
        operation["responses"].get(str(response.status_code)) for _, _, operation in operations.values()
    ]
    assert response.json() == examples(described)[example]
    reference = described["content"]["application/json"]["schema"]["$ref"]
    schema = document["components"]["schemas"][reference.rpartition("/")[2]]
    jsonschema.validate(response.json(), schema)
    assert response.json().keys() == schema["properties"].keys()
    for header in described["headers"]:
        member = document["components"]["headers"][header]
        if header in response or member.get("required"):
            value = response[header]
            jsonschema.validate(int(value) if member["schema"]["type"] == "integer" else value, member["schema"])


def test_every_example_of_an_error_is_provoked() -> None:
    described = {(name, example) for (name, _), response in ERRORS.items() for example in examples(response)}
    assert described - {*PROVOKE} == {("Unavailable", "unknown")}
    # test_outages.py provokes this example, on PostgreSQL.
    assert examples(ERRORS["Unavailable", 503])["unknown"] == UNKNOWN


def test_the_introduction_names_these_facts(document: Any) -> None:
    for fact in [
        "/api/auth/token",
        "`sub`",
        "Retry-After",
        "X-Request-ID",
        "/api/{user_id}/tasks",
        "dev_token",
        "64 KiB",
    ]:
        assert fact in document["info"]["description"]


@pytest.mark.requirement("SC-002")
def test_every_operation_requires_a_bearer_token(operations: Any, document: Any) -> None:
    [(name, scheme)] = document["components"]["securitySchemes"].items()
    assert "without `Bearer`" in scheme.pop("description")
    assert (name, scheme) == ("BetterAuth", {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"})
    for _, _, operation in operations.values():
        assert operation["security"] == [{"BetterAuth": []}]
        assert operation["tags"] == ["tasks"]


def test_the_document_needs_no_token_and_is_json_whatever_is_accepted() -> None:
    for path in ["/api/schema", "/api/schema/", "/api/schema?format=yaml"]:
        response = Client().get(path, headers={"Accept": "application/yaml", "Authorization": "Bearer x"})
        assert response.status_code == 200
        assert response.json()["openapi"].startswith("3.")


@pytest.mark.parametrize("version", ["2", "<b>", "%0aX:1", "1.0.0"])
def test_a_query_does_not_change_the_document(version: str, document: Any) -> None:
    pages.openapi_document.cache_clear()
    assert Client().get(f"/api/schema?version={version}").json() == document
    assert Client().get("/api/schema").json() == document
