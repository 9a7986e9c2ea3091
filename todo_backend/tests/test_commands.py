import base64
import codecs
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

from testing.key_server import PUBLISHING, SigningKey, key_server
from testing.processes import SECRET, manage, manage_on_terminal, run
from testing.tokens import claims, sign
from todo_backend import jwks

Explain: TypeAlias = Callable[[str | bytes], dict[str, str]]


def decoded(segment: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))


def test_dev_token_prints_one_token_with_better_auths_claims() -> None:
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


def test_dev_token_is_refused_in_one_line_without_debug() -> None:
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
def test_a_refused_dev_token_is_not_printed(changes: dict[str, Any], sub: str, message: str, settings: Any) -> None:
    for name, value in {"DEBUG": True, **changes}.items():
        setattr(settings, name, value)
    out = io.StringIO()
    with pytest.raises(CommandError, match=f"^.*{message}.*$"):
        call_command("dev_token", sub, stdout=out)
    assert out.getvalue() == ""


@pytest.fixture
def explain(monkeypatch: pytest.MonkeyPatch) -> Iterator[Explain]:
    """Returns the lines of `explain_token` about a token, by name."""

    def explained(raw_token: str | bytes) -> dict[str, str]:
        raw = raw_token if isinstance(raw_token, bytes) else raw_token.encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw), encoding="utf-8"))
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


# The input, the settings to change, and parts of the lines, by their names.
TOKENS: dict[str, tuple[str | bytes, dict[str, str], dict[str, str]]] = {
    "accepted": (sign(claims()), {}, {"Verdict": "accepted: the user is 'ada'", "Algorithm": "'HS256'"}),
    "with Bearer": ("Bearer " + sign(claims()) + "\n", {}, {"Verdict": "accepted: the user is 'ada'"}),
    "session token": (
        "KOGJWRsyXPQEYxPzaZAekKcFJsiHcOx7",
        {},
        {"Verdict": "refused: it is not a JWT", "To change": "/api/auth/token"},
    ),
    "encrypted": ("a.b.c.d.e", {}, {"Verdict": "refused: it is encrypted", "To change": "/api/auth/token"}),
    "empty": ("", {}, {"Verdict": 'refused: there is no token after "Bearer"', "To change": "/api/auth/token"}),
    "undefined": (
        "undefined",
        {},
        {"Verdict": "refused: it is undefined", "The client": 'in "Bearer undefined"', "To change": "wait for"},
    ),
    "Bearer null": ("Bearer null\n", {}, {"Verdict": "refused: it is null", "To change": "wait for"}),
    "header without a token": (
        "Authorization: Bearer",
        {},
        {"Verdict": 'refused: there is no token after "Bearer"', "The client": "is told: There is no token after"},
    ),
    "header without a scheme": (
        f"Authorization: {sign(claims())}",
        {},
        {"Verdict": "refused: its Authorization is not", "The client": "is told: Send the token", "To change": "once"},
    ),
    "header of another scheme": ("authorization: Basic YWRhOnB3", {}, {"To change": '"Bearer" once'}),
    "header without a value": (
        "Authorization:",
        {},
        {"Verdict": "refused: the header is empty", "The client": "is told: Authentication credentials were not"},
    ),
    "value of another scheme": ("Token a.b.c", {}, {"The client": "is told: Send the token as"}),
    "Bearer twice": (f"Bearer Bearer {sign(claims())}", {}, {"Verdict": "refused: its Authorization is not"}),
    "a token quoted inside of Bearer": (
        f'Bearer "{sign(claims())}"',
        {},
        {"Verdict": "refused: its payload is refused", "To change": "without quotes"},
    ),
    "not ASCII": (b"\xff\x00.\xfe.x", {}, {"Verdict": "refused: it is not ASCII"}),
    "too large": ("x" * 100_000, {}, {"Verdict": "refused: it is larger than 8192 bytes"}),
    "payload not JSON": (sign(b"x"), {}, {"Verdict": "refused: its payload", "To change": "three parts"}),
    "audience nested": (
        sign(claims(aud=["a", 1, ["b"]])),
        PUBLISHING,
        {"Audience": "nested JSON, expected", "To change": "aud"},
    ),
    "header empty": ("." * 2, {}, {"Verdict": "refused: its header is refused", "To change": "three parts"}),
    "padded": (sign(claims()) + "=", {}, {"Verdict": "refused: it is padded", "To change": "as it is"}),
    "other secret": (
        sign(claims(), secret="x"),
        {},
        {"Verdict": "refused: its HS256 signature", "To change": "BETTER_AUTH_SECRET"},
    ),
    "expired": (sign(claims(exp=3600)), {}, {"Expiry": "1970-01-01T01:00:00+00:00", "To change": "expirationTime"}),
    "expiry too late": (sign(claims(exp=10**300)), {}, {"Verdict": "refused: exp is", "To change": "exp in seconds"}),
    "no subject": (sign(claims(sub=...)), {}, {"Subject": "None", "To change": "sub"}),
    "subject not ASCII": (sign(claims("ü\n")), {}, {"Subject": r"'\xfc\n'", "Verdict": "refused: sub"}),
    "other issuer": (
        sign(claims(iss="http://other")),
        PUBLISHING,
        {"Issuer": "'http://other', expected 'http://localhost:3000'", "To change": "BETTER_AUTH_ISSUER"},
    ),
    "issuer not ASCII": (
        sign(claims(iss="http://é")),
        PUBLISHING,
        {"Issuer": r"'http://\xe9', expected", "Verdict": r"refused: issuer is 'http://\xe9', expected"},
    ),
    "audience not ASCII": (
        sign(claims(aud=["é", "ü"])),
        PUBLISHING,
        {"Audience": r"['\xe9', '\xfc'], expected", "Verdict": r"refused: audience is '\xe9, \xfc', expected"},
    ),
    "audience empty": (
        sign(claims(aud="")),
        PUBLISHING,
        {"Audience": "'', expected 'http://localhost:3000'", "To change": "BETTER_AUTH_AUDIENCE"},
    ),
    "other algorithm": (
        sign(claims(), {"alg": "HS512"}),
        {},
        {"Verdict": "refused: it is signed with HS512", "To change": "EdDSA"},
    ),
    "no URL": (
        sign(claims(), {"alg": "EdDSA"}),
        {},
        {"Verdict": "refused: it is signed with EdDSA, and BETTER_AUTH_URL"},
    ),
    "algorithm an array": (sign(claims(), {"alg": ["x"]}), {}, {"Algorithm": "['x']", "Verdict": "refused: its alg"}),
    "no key server": (
        sign(claims(), {"alg": "EdDSA", "kid": "k"}),
        PUBLISHING,
        {
            "Key": "'k', not found at http://127.0.0.1:9/jwks",
            "Verdict": "unknown",
            "To change": "start Better Auth, set BETTER_AUTH_URL to its address, which is the issuer above, or set "
            "BETTER_AUTH_JWKS_URL to the address of its keys, which is now http://127.0.0.1:9/jwks",
        },
    ),
}


@pytest.mark.requirement("SC-006")
@pytest.mark.parametrize(("raw_token", "changes", "lines"), TOKENS.values(), ids=TOKENS.keys())
def test_explain_token_describes_a_token_and_says_what_to_change(
    raw_token: str | bytes, changes: dict[str, str], lines: dict[str, str], settings: Any, explain: Explain
) -> None:
    for name, value in changes.items():
        setattr(settings, name, value)
    found = explain(raw_token)
    for name, part in lines.items():
        assert part in found[name]
    assert "HS256 under BETTER_AUTH_SECRET" in found["This API"]
    assert ("The server" in found) == found["Verdict"].startswith("accepted")
    assert ("To change" in found) == (not found["Verdict"].startswith("accepted"))


FORMS = {
    "header": "Authorization: Bearer {}",
    "lower case": "authorization:bearer {}\r\n",
    "Bearer": "bearer  {}",
    "quoted": '"{}"',
    "quoted Bearer": "'Bearer {}'",
    "quoted header": '"Authorization: Bearer {}"\n',
    "JSON": '  "Authorization": "Bearer {}",',
    "template": "Authorization: `Bearer {}`",
    "two lines": "{}\nAuthorization: Bearer x\n",
}
ENCODINGS = {
    "UTF-8": ("utf-8", b""),
    "UTF-8 with a mark": ("utf-8", codecs.BOM_UTF8),
    "UTF-16 LE": ("utf-16-le", codecs.BOM_UTF16_LE),
    "UTF-16 BE": ("utf-16-be", codecs.BOM_UTF16_BE),
}


@pytest.mark.parametrize(("encoding", "mark"), ENCODINGS.values(), ids=ENCODINGS.keys())
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_explain_token_reads_a_header_quotes_and_what_powershell_writes(
    form: str, encoding: str, mark: bytes, explain: Explain
) -> None:
    found = explain(mark + form.format(sign(claims())).encode(encoding))
    assert found["Verdict"] == "accepted: the user is 'ada'"


@pytest.mark.parametrize(
    ("status", "body"),
    [(404, b'{"message": "Not Found"}'), (200, b"<!DOCTYPE html>"), (200, b'{"keys": []}')],
    ids=["404", "HTML", "empty"],
)
def test_explain_token_names_the_address_of_keys_that_are_not_there(
    status: int, body: bytes, settings: Any, explain: Explain
) -> None:
    with key_server() as server:
        server.status, server.body = status, body
        for name, value in {**PUBLISHING, "BETTER_AUTH_JWKS_URL": server.url}.items():
            setattr(settings, name, value)
        found = explain(SigningKey("EdDSA", "k").sign(claims()))
    assert found["Verdict"] == "unknown: Better Auth's keys cannot be fetched now"
    assert "BETTER_AUTH_JWKS_URL" in found["To change"]
    assert server.url in found["To change"]


@pytest.mark.posix
def test_explain_token_asks_for_the_token_on_a_terminal() -> None:
    status, shown = manage_on_terminal("explain_token", keys=b"x\n", question=b"press Enter:")
    assert status == 0
    assert "Verdict:    refused: it is not a JWT" in shown


def test_explain_token_looks_up_the_key(settings: Any, explain: Explain) -> None:
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
            "The server": "has the settings and the keys of an earlier time, unless it was restarted",
            "This API": f"accepts EdDSA, Ed25519, ES256, ES512, RS256, PS256 under the keys at {server.url}",
        }
        settings.BETTER_AUTH_SECRET = SECRET
        forged = explain(SigningKey("EdDSA", "known").sign(claims()))
        assert forged["Verdict"] == "refused: its EdDSA signature does not hold"
        assert "BETTER_AUTH_JWKS_URL" in forged["To change"]
        unknown = explain(key.sign(claims(), kid="unknown"))
        assert unknown["Key"] == f"'unknown', not found at {server.url}"
        assert "BETTER_AUTH_JWKS_URL" in unknown["To change"]
        not_ascii = explain(key.sign(claims(), kid="\u00fc"))
        assert not_ascii["Verdict"] == r"refused: Better Auth publishes no EdDSA key with the id '\xfc'"
