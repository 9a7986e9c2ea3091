import base64
import json
import sys
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from django.test import Client

from testing.key_server import SigningKey, key_server
from testing.processes import SECRET, manage, manage_on_terminal, run
from testing.tokens import claims, sign


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


@pytest.mark.requirement("SC-007")
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


SIGNED = {"secret": SECRET}
PUBLISHING = {"BETTER_AUTH_URL": "http://localhost:3000"}


def explained(raw_token: str | bytes, **variables: str) -> dict[str, str]:
    """The lines of `explain_token`, by name."""
    raw = raw_token if isinstance(raw_token, bytes) else raw_token.encode()
    result = run([sys.executable, "manage.py", "explain_token"], variables, stdin=raw)
    assert result.returncode == 0
    assert result.stdout.isascii()
    assert "Traceback" not in result.stderr
    signature = raw.strip().rpartition(b".")[2]
    assert len(signature) < 20 or signature.decode() not in result.stdout
    return {name: text.strip() for name, _, text in (line.partition(":") for line in result.stdout.splitlines())}


@pytest.mark.requirement("SC-006")
@pytest.mark.parametrize(
    ("raw_token", "variables", "lines"),
    [
        (sign(claims(), **SIGNED), {}, {"Verdict": "accepted: the user is 'ada'", "Algorithm": "'HS256'"}),
        ("Bearer " + sign(claims(), **SIGNED) + "\n", {}, {"Verdict": "accepted: the user is 'ada'"}),
        (
            "KOGJWRsyXPQEYxPzaZAekKcFJsiHcOx7",
            {},
            {"Verdict": "refused: it is not a JWT", "To change": "/api/auth/token"},
        ),
        ("a.b.c.d.e", {}, {"Verdict": "refused: it is encrypted", "To change": "/api/auth/token"}),
        ("", {}, {"Verdict": "refused: it is not a JWT"}),
        (b"\xff\x00.\xfe.x", {}, {"Verdict": "refused: it is not ASCII"}),
        ("x" * 100_000, {}, {"Verdict": "refused: it is larger than 8192 bytes"}),
        (sign(b"x", **SIGNED), {}, {"Verdict": "refused: its payload", "To change": "three parts"}),
        (
            sign(claims(aud=["a", 1, ["b"]]), **SIGNED),
            PUBLISHING,
            {"Audience": "nested JSON, expected", "To change": "aud"},
        ),
        ("." * 2, {}, {"Verdict": "refused: its header is refused", "To change": "three parts"}),
        (sign(claims(), **SIGNED) + "=", {}, {"Verdict": "refused: it is padded", "To change": "as it is"}),
        (
            sign(claims(), secret="x"),
            {},
            {"Verdict": "refused: its HS256 signature", "To change": "BETTER_AUTH_SECRET"},
        ),
        (sign(claims(exp=3600), **SIGNED), {}, {"Expiry": "1970-01-01T01:00:00+00:00", "To change": "expirationTime"}),
        (sign(claims(exp=10**300), **SIGNED), {}, {"Verdict": "refused: exp is", "To change": "exp in seconds"}),
        (sign(claims(sub=...), **SIGNED), {}, {"Subject": "None", "To change": "sub"}),
        (sign(claims("ü\n"), **SIGNED), {}, {"Subject": r"'\xfc\n'", "Verdict": "refused: sub"}),
        (
            sign(claims(iss="http://other"), **SIGNED),
            PUBLISHING,
            {"Issuer": "'http://other', expected 'http://localhost:3000'", "To change": "BETTER_AUTH_ISSUER"},
        ),
        (
            sign(claims(aud=""), **SIGNED),
            PUBLISHING,
            {"Audience": "'', expected 'http://localhost:3000'", "To change": "BETTER_AUTH_AUDIENCE"},
        ),
        (sign(claims(), {"alg": "HS512"}), {}, {"Verdict": "refused: it is signed with HS512", "To change": "EdDSA"}),
        (sign(claims(), {"alg": "EdDSA"}), {}, {"Verdict": "refused: it is signed with EdDSA, and BETTER_AUTH_URL"}),
        (sign(claims(), {"alg": ["x"]}), {}, {"Algorithm": "['x']", "Verdict": "refused: its alg"}),
        (
            sign(claims(), {"alg": "EdDSA", "kid": "k"}),
            {**PUBLISHING, "BETTER_AUTH_JWKS_URL": "http://127.0.0.1:9/jwks"},
            {
                "Key": "'k', not found at http://127.0.0.1:9/jwks",
                "Verdict": "not known",
                "To change": "start Better Auth",
            },
        ),
    ],
    ids=range(22),
)
def test_explain_token_says_what_it_is_and_what_to_change(
    raw_token: str | bytes, variables: dict[str, str], lines: dict[str, str]
) -> None:
    found = explained(raw_token, **variables)
    for name, part in lines.items():
        assert part in found[name]
    assert "HS256 under BETTER_AUTH_SECRET" in found["This API"]
    assert ("To change" in found) == (not found["Verdict"].startswith("accepted"))


def test_explain_token_asks_for_the_token_on_a_terminal() -> None:
    status, shown = manage_on_terminal("explain_token", keys=b"x\n", question=b"press Enter:")
    assert status == 0
    assert "Verdict:    refused: it is not a JWT" in shown


def test_explain_token_looks_the_key_up() -> None:
    key = SigningKey("EdDSA", "known")
    with key_server(key) as server:
        variables = {**PUBLISHING, "BETTER_AUTH_SECRET": "", "BETTER_AUTH_JWKS_URL": server.url}
        expiry = int(time.time()) + 900
        assert explained(key.sign(claims(exp=expiry)), **variables) == {
            "Token": "a signed JWT of type None",
            "Algorithm": "'EdDSA'",
            "Key": f"'known', published at {server.url}",
            "Issuer": "'http://localhost:3000', expected 'http://localhost:3000'",
            "Audience": "'http://localhost:3000', expected 'http://localhost:3000'",
            "Subject": "'ada'",
            "Expiry": datetime.fromtimestamp(expiry, UTC).isoformat(),
            "Verdict": "accepted: the user is 'ada'",
            "This API": f"accepts EdDSA, ES256, ES512, RS256, PS256 under the keys at {server.url}",
        }
        forged = explained(SigningKey("EdDSA", "known").sign(claims()), **{**variables, "BETTER_AUTH_SECRET": SECRET})
        assert forged["Verdict"] == "refused: its EdDSA signature does not hold"
        assert "BETTER_AUTH_JWKS_URL" in forged["To change"]
        unknown = explained(key.sign(claims(), kid="unknown"), **variables)
        assert unknown["Key"] == f"'unknown', not found at {server.url}"
        assert "BETTER_AUTH_JWKS_URL" in unknown["To change"]
