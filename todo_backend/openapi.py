"""The parts of the OpenAPI document that drf-spectacular cannot derive: errors, headers, and the format of times."""

from typing import Any

from django.conf import settings
from drf_spectacular.extensions import OpenApiSerializerFieldExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import Direction

from .authentication import EMPTY, NOT_BEARER
from .exceptions import BetterAuthUnavailable, TooManyBodies
from .jwks import BEING_FETCHED
from .log import REQUEST_ID
from .tokens import ENCRYPTED, EXPIRED, INVALID, NOT_A_JWT, PLACEHOLDER

# The pattern of `DATETIME_FORMAT`.
TIME_PATTERN = "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}[.][0-9]{6}Z$"

ERROR_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"detail": {"type": "string", "description": "The error in a sentence."}},
    "required": ["detail"],
}
INVALID_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        **ERROR_SCHEMA["properties"],
        "errors": {
            "type": "object",
            "description": "The messages of each invalid field, or of `non_field_errors`.",
            "additionalProperties": {"type": "array", "items": {"type": "string"}, "minItems": 1},
            "minProperties": 1,
        },
    },
    "required": ["detail", "errors"],
}
SCHEMAS = {"Error": ERROR_SCHEMA, "ValidationError": INVALID_SCHEMA}
HEADERS: dict[str, Any] = {
    "X-Request-ID": {
        "description": "The request's id in the server's log.",
        "schema": {"type": "string", "pattern": f"^{REQUEST_ID.pattern}$"},
        "required": True,
    },
    "WWW-Authenticate": {
        "description": 'With `error="invalid_token"` if something follows `Bearer` (RFC 6750, section 3).',
        "schema": {"type": "string", "enum": ["Bearer", 'Bearer error="invalid_token"']},
        "required": True,
    },
    "Retry-After": {
        "description": "Seconds. Absent if a write may have been done.",
        "schema": {"type": "integer", "minimum": 1},
    },
}


def reference(kind: str, name: str) -> dict[str, str]:
    return {"$ref": f"#/components/{kind}/{name}"}


def error_response(description: str, examples: dict[str, Any], *headers: str, schema: str = "Error") -> dict[str, Any]:
    """A response object. Each example is a body, or only its `detail`."""
    values = {name: {"detail": body} if isinstance(body, str) else body for name, body in examples.items()}
    return {
        "description": description,
        "headers": {name: reference("headers", name) for name in ("X-Request-ID", *headers)},
        "content": {
            "application/json": {
                "schema": reference("schemas", schema),
                "examples": {name: {"value": value} for name, value in values.items()},
            }
        },
    }


ERRORS = {
    ("BadRequest", 400): error_response(
        "The `Host` is not one of this server's, or the body is not JSON.",
        {
            "host": "This Host is not among ALLOWED_HOSTS.",
            "malformed": "The body is not JSON: see line 1, column 2.",
            "encoding": "The body is not UTF-8.",
            "depth": "The body is nested too deeply.",
        },
    ),
    ("Unauthorized", 401): error_response(
        "The token is missing or refused.",
        {
            "missing": "Authentication credentials were not provided.",
            "empty": EMPTY,
            "undefined": PLACEHOLDER.format("undefined"),
            "scheme": NOT_BEARER,
            "expired": EXPIRED,
            "invalid": INVALID,
            "session": NOT_A_JWT,
            "encrypted": ENCRYPTED,
            "algorithm": "Token is signed with HS384, which is not accepted.",
            "setting": "Token is signed with EdDSA, which is accepted only when BETTER_AUTH_URL is set.",
            "issuer": "Token issuer is 'http://localhost:3001', expected 'http://localhost:3000'.",
            "audience": "Token audience is 'http://localhost:3001', expected 'http://localhost:3000'.",
        },
        "WWW-Authenticate",
    ),
    ("NotFound", 404): error_response("There is no such task of this user.", {"missing": "Not found."}),
    ("TooManyTasks", 409): error_response(
        "The user has as many tasks as a user may have.",
        {"limit": f"You have {settings.TASKS_PER_USER} tasks, the most that a user may have."},
    ),
    ("LengthRequired", 411): error_response(
        "A body without `Content-Length`.", {"chunked": "Send a Content-Length with the body."}
    ),
    ("ContentTooLarge", 413): error_response("A body over 64 KiB.", {"large": "The body is too large."}),
    ("UnsupportedMediaType", 415): error_response(
        "A body that is not `application/json`, or whose charset is not UTF-8.",
        {"text": 'Unsupported media type "text/plain" in request.'},
    ),
    ("Invalid", 422): error_response(
        "JSON with an invalid field.",
        {
            "blank": {
                "detail": "title: This field may not be blank.",
                "errors": {"title": ["This field may not be blank."]},
            },
            "types": {
                "detail": "description: Not a valid string.",
                "errors": {"description": ["Not a valid string."], "completed": ["Must be a valid boolean."]},
            },
            "array": {
                "detail": "non_field_errors: Invalid data. Expected a dictionary, but got list.",
                "errors": {"non_field_errors": ["Invalid data. Expected a dictionary, but got list."]},
            },
        },
        schema="ValidationError",
    ),
    ("InvalidParameter", 422): error_response(
        "An invalid query parameter.",
        {
            "choice": {
                "detail": 'status: "done" is not a valid choice.',
                "errors": {"status": ['"done" is not a valid choice.']},
            },
        },
        schema="ValidationError",
    ),
    ("InternalServerError", 500): error_response("An error of the server.", {"internal": "Internal server error."}),
    ("Unavailable", 503): error_response(
        "The database, or Better Auth for its keys, cannot be reached, or too many bodies are being sent.",
        {
            "database": "The database cannot be reached.",
            "unknown": "The connection to the database broke; whether the change was made is unknown.",
            "keys": str(BetterAuthUnavailable.default_detail),
            "fetch": BEING_FETCHED,
            "bodies": str(TooManyBodies.default_detail),
        },
        "Retry-After",
    ),
}


class DateTimeFieldExtension(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]
    """Times as `DATETIME_FORMAT` writes them. A request may send any form of ISO 8601."""

    target_class = "rest_framework.fields.DateTimeField"

    def map_serializer_field(self, auto_schema: AutoSchema, direction: Direction) -> dict[str, Any]:
        return {
            "type": "string",
            "format": "date-time",
            **({"pattern": TIME_PATTERN} if direction == "response" else {}),
        }


def without_user_paths(endpoints: list[Any], **kwargs: object) -> list[Any]:
    """Leaves out `/api/{user_id}/tasks…`, which the introduction of the document mentions."""
    return [endpoint for endpoint in endpoints if "{user_id}" not in endpoint[0]]


def possible_errors(path: str, operation: dict[str, Any]) -> set[str]:
    """The names in `ERRORS` of an operation's errors.

    405, 403 and the 404 of a long path or query are missing, because no documented request gets them.
    """
    found = {"BadRequest", "Unauthorized", "LengthRequired", "ContentTooLarge", "InternalServerError", "Unavailable"}
    if "{id}" in path:
        found |= {"NotFound"}
    if "201" in operation["responses"]:
        found |= {"TooManyTasks"}
    if "requestBody" in operation:
        found |= {"UnsupportedMediaType", "Invalid"}
    if any(parameter["in"] == "query" for parameter in operation.get("parameters", [])):
        found |= {"InvalidParameter"}
    return found


def add_errors_and_headers(result: dict[str, Any], **kwargs: object) -> dict[str, Any]:
    """Adds the errors of every operation and the headers of every answer to the document.

    Errors are written out in each operation: from shared `components.responses`, orval makes types that its zod schemas
    lack.
    """
    components = result["components"]
    for name, schema in components["schemas"].items():
        # An answer has every member. Only a request may leave one out.
        if not name.endswith("Request"):
            schema["required"] = list(schema["properties"])
        for member in schema["properties"].values():
            # `readOnly` says nothing here, because requests have schemas of their own.
            member.pop("readOnly", None)
    components["schemas"] |= SCHEMAS
    components["headers"] = HEADERS
    for path, operations in result["paths"].items():
        for operation in operations.values():
            for parameter in operation.get("parameters", []):
                # drf-spectacular gives an enum a `minLength`, which client generators cannot read.
                parameter["schema"].pop("minLength", None)
            for response in operation["responses"].values():
                response.setdefault("headers", {})["X-Request-ID"] = reference("headers", "X-Request-ID")
            possible = possible_errors(path, operation)
            operation["responses"] |= {
                str(status): response for (name, status), response in ERRORS.items() if name in possible
            }
    return result
