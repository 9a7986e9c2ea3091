"""The floor: the same API as a WSGI function with psycopg and SQL, without a framework.

Nobody should write an API like this. It shows the cost of Python, the server and the database alone.
"""

import binascii
import hashlib
import hmac
import json
import logging
import os
import re
import secrets
import time
from base64 import urlsafe_b64decode
from collections.abc import Callable
from http.client import responses
from threading import local
from typing import Any
from urllib.parse import parse_qs

import psycopg

Headers = list[tuple[str, str]]

SECRET = os.environ["BETTER_AUTH_SECRET"].encode()
ORIGIN = "http://localhost:3000"
CORS = [
    ("access-control-allow-origin", ORIGIN),
    ("access-control-allow-credentials", "true"),
    ("access-control-expose-headers", "Location, Retry-After, WWW-Authenticate, X-Request-ID"),
]
PATH = re.compile(r"/api/(?:(?P<user>.+)/)?tasks(?:/(?P<pk>[1-9][0-9]{0,18})(?P<toggle>/complete)?)?/?")
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")

# PostgreSQL writes the JSON, which costs this process least. The core of PostgreSQL then limits the long list.
TEXT = "coalesce(to_json({0})::text, 'null')"
TIME = """'"' || to_char({0} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || '"'"""
TEMPLATES = {"id": "{0}", "completed": "{0}", "created_at": TIME, "updated_at": TIME}
FIELDS = ["id", "user_id", "title", "description", "completed", "created_at", "updated_at"]
MEMBERS = [f"""'"{field}":' || {TEMPLATES.get(field, TEXT).format(f"tasks_task.{field}")}""" for field in FIELDS]
AS_JSON = "'{' || " + " || ',' || ".join(MEMBERS) + " || '}'"
LISTS = {
    status: f"SELECT {AS_JSON} FROM tasks_task WHERE user_id = %s {condition} ORDER BY created_at DESC, id DESC"
    for status, condition in {"all": "", "pending": "AND NOT completed", "completed": "AND completed"}.items()
}
ONE = "WHERE user_id = %s AND id = %s"
CREATE = f"""INSERT INTO tasks_task (user_id, title, description, completed, idempotency_key)
    VALUES (%s, %s, %s, %s, %s) ON CONFLICT (user_id, idempotency_key)
    DO UPDATE SET idempotency_key = excluded.idempotency_key RETURNING {AS_JSON}, id"""

logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
logger = logging.getLogger(__name__)
thread = local()


class RequestError(Exception):
    """An error that is answered with a status and a JSON body."""

    def __init__(self, status: int, detail: str, headers: Headers | None = None, **members: object) -> None:
        self.status = status
        self.headers = headers or []
        self.body = json.dumps({"detail": detail, **members}, separators=(",", ":"), ensure_ascii=False)


def execute(statement: str, *params: object) -> "psycopg.Cursor[Any]":
    connection: psycopg.Connection[Any] | None = getattr(thread, "connection", None)
    if connection is None:
        connection = thread.connection = psycopg.connect(os.environ["DATABASE_URL"], autocommit=True)
    return connection.execute(statement.encode(), params)


def fetch(statement: str, *params: object) -> str:
    """The JSON of a task. Raises a `RequestError` if there is no row."""
    row = execute(statement, *params).fetchone()
    if row is None:
        raise RequestError(404, "Not found.")
    return str(row[0])


def decode(part: str) -> bytes:
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))


def verify(header: str) -> str:
    """Verifies the token in an `Authorization` header. Returns its `sub`."""
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise RequestError(401, "Authentication credentials were not provided.", [("WWW-Authenticate", "Bearer")])
    challenge = [("WWW-Authenticate", 'Bearer error="invalid_token"')]
    try:
        message, _, signature = token.rpartition(".")
        head, _, payload = message.partition(".")
        if not hmac.compare_digest(decode(signature), hmac.digest(SECRET, message.encode(), hashlib.sha256)):
            raise ValueError
        claims = json.loads(decode(payload))
        expired = claims["exp"] <= time.time()
        user = claims["sub"]
        if json.loads(decode(head))["alg"] != "HS256" or claims.get("nbf", 0) > time.time() + 10:
            raise ValueError
        if not (user.strip() and len(user) <= 255 and user.isprintable()):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error):
        raise RequestError(401, "Token is invalid.", challenge) from None
    if expired:
        raise RequestError(401, "Token has expired.", challenge)
    return str(user)


def read_body(environ: dict[str, Any]) -> dict[str, Any]:
    """The validated fields of the body. Raises a `RequestError` if it is not valid."""
    if "HTTP_TRANSFER_ENCODING" in environ:
        raise RequestError(411, "Send a Content-Length with the body.")
    length = int(environ.get("CONTENT_LENGTH") or 0)
    if length > 64 * 1024:
        raise RequestError(413, "The body is too large.")
    if not length:
        return {}
    content_type = environ.get("CONTENT_TYPE", "")
    if not content_type.startswith("application/json"):
        raise RequestError(415, f'Unsupported media type "{content_type}" in request.')
    try:
        values = json.loads(environ["wsgi.input"].read())
    except ValueError:
        raise RequestError(400, "The body is not JSON.") from None
    if not isinstance(values, dict):
        kind = type(values).__name__
        raise invalid({"non_field_errors": f"Invalid data. Expected a dictionary, but got {kind}."})
    errors = {}
    if "title" in values:
        values["title"], error = text(values["title"], 200, strip=True)
        errors["title"] = error if error or values["title"] else "This field may not be blank."
    if values.get("description") is not None:
        values["description"], errors["description"] = text(values["description"], 1000)
    if not isinstance(values.get("completed", False), bool):
        errors["completed"] = "Must be a valid boolean."
    if any(errors.values()):
        raise invalid({field: error for field, error in errors.items() if error})
    return {field: values[field] for field in ("title", "description", "completed") if field in values}


def text(value: object, max_length: int, *, strip: bool = False) -> tuple[str, str]:
    """Validates a text. Returns it and an error message, which is empty for a valid text."""
    if not isinstance(value, str):
        return "", "This field may not be null." if value is None else "Not a valid string."
    if len(value) > max_length:
        return value, f"Ensure this field has no more than {max_length} characters."
    value = value.strip() if strip else value
    return value, "Null characters are not allowed." if "\0" in value else ""


def invalid(errors: dict[str, str]) -> RequestError:
    field, error = next(iter(errors.items()))
    return RequestError(422, f"{field}: {error}", errors={field: [error] for field, error in errors.items()})


def change(user: str, pk: int, values: dict[str, Any]) -> str:
    sets = ", ".join(f"{field} = %s" for field in values) or "completed = NOT completed"
    statement = f"UPDATE tasks_task SET {sets}, updated_at = statement_timestamp() {ONE} RETURNING {AS_JSON}"
    return fetch(statement, *values.values(), user, pk)


def answer(environ: dict[str, Any], log: dict[str, Any]) -> tuple[int, str, Headers]:
    path = PATH.fullmatch(environ["PATH_INFO"])
    if not path:
        raise RequestError(404, "Not found.")
    user = log["user"] = verify(environ.get("HTTP_AUTHORIZATION", ""))
    if path["user"] not in (None, user):
        raise RequestError(403, f"The user in the path is '{path['user']}', not the token's.")
    method, pk = environ["REQUEST_METHOD"], int(path["pk"] or 0)
    if pk >= 2**63:
        raise RequestError(404, "Not found.")
    match method, bool(pk), bool(path["toggle"]):
        case "GET", False, False:
            return 200, list_tasks(user, environ["QUERY_STRING"]), []
        case "POST", False, False:
            return create(user, read_body(environ), environ.get("HTTP_IDEMPOTENCY_KEY"))
        case "GET", True, False:
            return 200, fetch(f"SELECT {AS_JSON} FROM tasks_task {ONE}", user, pk), []
        case (("PUT" | "PATCH"), True, False):
            values = read_body(environ)
            if not values:
                return 200, fetch(f"SELECT {AS_JSON} FROM tasks_task {ONE}", user, pk), []
            return 200, change(user, pk, values), []
        case "PATCH", True, True:
            sent = read_body(environ)
            return 200, change(user, pk, {field: sent[field] for field in sent if field == "completed"}), []
        case "DELETE", True, False:
            if not execute(f"DELETE FROM tasks_task {ONE}", user, pk).rowcount:
                raise RequestError(404, "Not found.")
            return 204, "", []
    raise RequestError(405, f'Method "{method}" not allowed.')


def list_tasks(user: str, query: str) -> str:
    status = parse_qs(query, keep_blank_values=True).get("status", ["all"])[-1]
    if status not in LISTS:
        raise invalid({"status": f'"{status}" is not a valid choice.'})
    rows = execute(LISTS[status], user).fetchall()
    return f"[{','.join(task for (task,) in rows)}]"


def create(user: str, values: dict[str, Any], key: str | None) -> tuple[int, str, Headers]:
    if "title" not in values:
        raise invalid({"title": "This field is required."})
    if key is not None and not re.fullmatch("[!-~]{1,255}", key):
        raise invalid({"Idempotency-Key": "Send 1 to 255 visible ASCII characters."})
    params = (user, values["title"], values.get("description"), values.get("completed", False), key)
    body, pk = execute(CREATE, *params).fetchone() or ("", 0)
    return 201, body, [("Location", f"/api/tasks/{pk}")]


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    start = time.perf_counter()
    if environ["PATH_INFO"] == "/healthz":
        start_response("200 OK", [("Content-Type", "application/json")])
        return [b'{"status":"ok"}']
    sent = environ.get("HTTP_X_REQUEST_ID", "")
    request_id = sent if REQUEST_ID.fullmatch(sent) else secrets.token_hex(16)
    log: dict[str, Any] = {"user": None}
    try:
        status, body, headers = answer(environ, log)
    except RequestError as exc:
        status, body, headers = exc.status, exc.body, exc.headers
    data = body.encode()
    headers = [*headers, ("X-Request-ID", request_id), ("Cache-Control", "no-store"), ("Vary", "origin")]
    if status != 204:
        headers += [("Content-Type", "application/json"), ("Content-Length", str(len(data)))]
    if environ.get("HTTP_ORIGIN") == ORIGIN:
        headers += CORS
    start_response(f"{status} {responses[status]}", headers)
    milliseconds = (time.perf_counter() - start) * 1000
    line = (request_id, environ["REQUEST_METHOD"], environ["PATH_INFO"], status, milliseconds, log["user"])
    logger.info("%s: %s %s %d in %.1f ms, user %r", *line)
    return [data]
