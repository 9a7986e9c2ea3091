import base64
import io
import json
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, TypeAlias

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from testing.key_server import SigningKey, key_server
from testing.processes import SECRET, manage, manage_on_terminal, run
from testing.tokens import claims, sign
from todo_backend import jwks

Explain: TypeAlias = Callable[[str | bytes], dict[str, str]]


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
    settings.DEBUG = True
    out = io.StringIO()
    call_command("dev_token", "ada", stdout=out)
    response = Client().post(
        "/api/tasks", {"title": "x"}, "application/json", headers={"Authorization": f"Bearer {out.getvalue().strip()}"}
    )
    assert (response.status_code, response.json()["user_id"]) == (201, "ada")


def test_dev_token_refuses_in_one_line_on_stderr() -> None:
    result = manage("dev_token", "ada")
    assert (result.returncode, result.stdout) == (1, "")
    [line] = result.stderr.splitlines()
    assert "DEBUG is off" in line


@pytest.mark.parametrize(
    ("changes", "sub", "message"),
    [
        ({"DEBUG": False}, "ada", "DEBUG is off"),
        ({"BETTER_AUTH_SECRET": ""}, "ada", "BETTER_AUTH_SECRET"),
        *(({}, sub, "SUB") for sub in ["", " ", "a\nb", "a" * 256]),
    ],
)
def test_dev_token_refuses_and_prints_no_token(changes: dict[str, Any], sub: str, message: str, settings: Any) -> None:
    for name, value in {"DEBUG": True, **changes}.items():
        setattr(settings, name, value)
    out = io.StringIO()
    with pytest.raises(CommandError, match=f"^.*{message}.*$"):
        call_command("dev_token", sub, stdout=out)
    assert out.getvalue() == ""


PUBLISHING = {
    "BETTER_AUTH_URL": "http://localhost:3000",
    "BETTER_AUTH_JWKS_URL": "http://localhost:3000/api/auth/jwks",
    "BETTER_AUTH_ISSUER": "http://localhost:3000",
    "BETTER_AUTH_AUDIENCE": "http://localhost:3000",
}


@pytest.fixture
def explain(monkeypatch: pytest.MonkeyPatch) -> Iterator[Explain]:
    """Returns the lines of `explain_token` about a token, by name."""

    def explained(raw_token: str | bytes) -> dict[str, str]:
        raw = raw_token if isinstance(raw_token, bytes) else raw_token.encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw)))
        out = io.StringIO()
        call_command("explain_token", stdout=out)
        assert out.getvalue().isascii()
        signature = raw.strip().rpartition(b".")[2]
        assert len(signature) < 20 or signature.decode() not in out.getvalue()
        return {name: text.strip() for name, _, text in (line.partition(":") for line in out.getvalue().splitlines())}

    yield explained
    jwks.published_keys.cache_clear()


def test_explain_token_reads_standard_input() -> None:
    result = run([sys.executable, "manage.py", "explain_token"], {}, stdin=sign(claims(), secret=SECRET).encode())
    assert (result.returncode, result.stderr) == (0, "")
    assert "Verdict:    accepted: the user is 'ada'" in result.stdout.splitlines()


@pytest.mark.requirement("SC-006")
@pytest.mark.parametrize(
    ("raw_token", "changes", "lines"),
    [
        (sign(claims()), {}, {"Verdict": "accepted: the user is 'ada'", "Algorithm": "'HS256'"}),
        ("Bearer " + sign(claims()) + "\n", {}, {"Verdict": "accepted: the user is 'ada'"}),
        (
            "KOGJWRsyXPQEYxPzaZAekKcFJsiHcOx7",
            {},
            {"Verdict": "refused: it is not a JWT", "To change": "/api/auth/token"},
        ),
        ("a.b.c.d.e", {}, {"Verdict": "refused: it is encrypted", "To change": "/api/auth/token"}),
        ("", {}, {"Verdict": "refused: it is not a JWT"}),
        (b"\xff\x00.\xfe.x", {}, {"Verdict": "refused: it is not ASCII"}),
        ("x" * 100_000, {}, {"Verdict": "refused: it is larger than 8192 bytes"}),
        (sign(b"x"), {}, {"Verdict": "refused: its payload", "To change": "three parts"}),
        (
            sign(claims(aud=["a", 1, ["b"]])),
            PUBLISHING,
            {"Audience": "nested JSON, expected", "To change": "aud"},
        ),
        ("." * 2, {}, {"Verdict": "refused: its header is refused", "To change": "three parts"}),
        (sign(claims()) + "=", {}, {"Verdict": "refused: it is padded", "To change": "as it is"}),
        (
            sign(claims(), secret="x"),
            {},
            {"Verdict": "refused: its HS256 signature", "To change": "BETTER_AUTH_SECRET"},
        ),
        (sign(claims(exp=3600)), {}, {"Expiry": "1970-01-01T01:00:00+00:00", "To change": "expirationTime"}),
        (sign(claims(exp=10**300)), {}, {"Verdict": "refused: exp is", "To change": "exp in seconds"}),
        (sign(claims(sub=...)), {}, {"Subject": "None", "To change": "sub"}),
        (sign(claims("ü\n")), {}, {"Subject": r"'\xfc\n'", "Verdict": "refused: sub"}),
        (
            sign(claims(iss="http://other")),
            PUBLISHING,
            {"Issuer": "'http://other', expected 'http://localhost:3000'", "To change": "BETTER_AUTH_ISSUER"},
        ),
        (
            sign(claims(aud="")),
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
    raw_token: str | bytes, changes: dict[str, str], lines: dict[str, str], settings: Any, explain: Explain
) -> None:
    for name, value in changes.items():
        setattr(settings, name, value)
    found = explain(raw_token)
    for name, part in lines.items():
        assert part in found[name]
    assert "HS256 under BETTER_AUTH_SECRET" in found["This API"]
    assert ("To change" in found) == (not found["Verdict"].startswith("accepted"))


def test_explain_token_asks_for_the_token_on_a_terminal() -> None:
    status, shown = manage_on_terminal("explain_token", keys=b"x\n", question=b"press Enter:")
    assert status == 0
    assert "Verdict:    refused: it is not a JWT" in shown


def test_explain_token_looks_the_key_up(settings: Any, explain: Explain) -> None:
    key = SigningKey("EdDSA", "known")
    with key_server(key) as server:
        for name, value in {**PUBLISHING, "BETTER_AUTH_SECRET": "", "BETTER_AUTH_JWKS_URL": server.url}.items():
            setattr(settings, name, value)
        expiry = int(time.time()) + 900
        assert explain(key.sign(claims(exp=expiry))) == {
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
        settings.BETTER_AUTH_SECRET = SECRET
        forged = explain(SigningKey("EdDSA", "known").sign(claims()))
        assert forged["Verdict"] == "refused: its EdDSA signature does not hold"
        assert "BETTER_AUTH_JWKS_URL" in forged["To change"]
        unknown = explain(key.sign(claims(), kid="unknown"))
        assert unknown["Key"] == f"'unknown', not found at {server.url}"
        assert "BETTER_AUTH_JWKS_URL" in unknown["To change"]
