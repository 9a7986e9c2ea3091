import base64
import json
import time
from typing import Any

import pytest
from django.test import Client

from todo_backend.tests.processes import SECRET, manage


def decoded(segment: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))


def test_dev_token_prints_a_token_as_better_auth_shapes_one_alone_on_stdout() -> None:
    before = int(time.time())
    result = manage("dev_token", "KOGJWRsy", DEBUG="true", BETTER_AUTH_URL="http://localhost:3000/app")
    assert (result.returncode, result.stderr) == (0, "")
    header, payload, _ = result.stdout.removesuffix("\n").split(".")
    assert decoded(header) == {"alg": "HS256", "typ": "JWT"}
    claims = decoded(payload)
    assert list(claims) == [
        *("iat", "name", "email", "emailVerified", "createdAt", "updatedAt", "id", "sub", "exp", "iss", "aud")
    ]
    assert claims["sub"] == claims["id"] == "KOGJWRsy"
    assert before <= claims["iat"] <= int(time.time())
    assert claims["exp"] == claims["iat"] + 900
    assert claims["iss"] == claims["aud"] == "http://localhost:3000"


@pytest.mark.django_db
def test_dev_tokens_are_accepted(settings: Any) -> None:
    settings.BETTER_AUTH_SECRET = SECRET
    raw_token = manage("dev_token", "ada", DEBUG="true").stdout.strip()
    response = Client().post(
        "/api/tasks", {"title": "x"}, "application/json", headers={"Authorization": f"Bearer {raw_token}"}
    )
    assert (response.status_code, response.json()["user_id"]) == (201, "ada")


@pytest.mark.parametrize(
    ("variables", "sub", "message"),
    [
        ({"DEBUG": "false"}, "ada", "DEBUG is off"),
        ({}, "ada", "DEBUG is off"),
        ({"DEBUG": "true", "BETTER_AUTH_SECRET": "", "BETTER_AUTH_URL": "http://a"}, "ada", "BETTER_AUTH_SECRET"),
        ({"DEBUG": "true"}, "", "SUB"),
        ({"DEBUG": "true"}, " ", "SUB"),
        ({"DEBUG": "true"}, "a\nb", "SUB"),
        ({"DEBUG": "true"}, "a" * 256, "SUB"),
    ],
)
def test_dev_token_refuses_in_one_line_and_prints_no_token(variables: dict[str, str], sub: str, message: str) -> None:
    result = manage("dev_token", sub, **variables)
    assert result.returncode == 1
    assert result.stdout == ""
    [line] = result.stderr.splitlines()
    assert message in line
