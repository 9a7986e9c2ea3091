import codecs
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import jwt
from django.conf import settings
from django.core.management.base import BaseCommand
from rest_framework.exceptions import NotAuthenticated

from todo_backend.authentication import BetterAuthAuthentication
from todo_backend.exceptions import BetterAuthUnavailable
from todo_backend.jwks import KEY_TYPE_BY_ALGORITHM, published_keys
from todo_backend.tokens import (
    SETTING_BY_ALGORITHM,
    TokenRefused,
    accepted_tokens,
    is_numeric_date,
    verify,
)

# The advice for each `TokenRefused.code`.
REMEDIES = {
    "missing": "wait for the answer of Better Auth's GET /api/auth/token, and send the token in it",
    "scheme": 'send the header "Authorization: Bearer <token>", with "Bearer" once',
    "not_a_jwt": "send the token that Better Auth's GET /api/auth/token returns, not the session's",
    "encrypted": "send the token that Better Auth's GET /api/auth/token returns, not the session's cookie",
    "malformed": "send the token as it is: three parts of base64url with a dot between, without quotes or line breaks",
    "size": "sign fewer claims; Better Auth's own tokens have less than 1000 bytes",
    "secret": "set exactly the same BETTER_AUTH_SECRET on both sides, and restart both",
    "critical": "sign without the header parameter crit",
    "algorithm": f"sign with one of {', '.join(SETTING_BY_ALGORITHM)}",
    "setting": "set the variable that the refusal names (see .env.example), and restart",
    "key": "set BETTER_AUTH_URL or BETTER_AUTH_JWKS_URL to the Better Auth that signed the token",
    "type": "send the token of GET /api/auth/token; this one has another purpose, such as Better Auth's cookie cache",
    "expired": "get a new token from GET /api/auth/token; Better Auth's expirationTime is a string such as '15m'",
    "expiry": "sign with exp in seconds since 1970, a number",
    "not_before": "compare the clocks of the two servers",
    "recipient": "sign with iss and aud, as Better Auth does",
    "issuer": "set BETTER_AUTH_URL to Better Auth's base URL, or BETTER_AUTH_ISSUER to its configured issuer",
    "audience": "set BETTER_AUTH_URL to Better Auth's base URL, or BETTER_AUTH_AUDIENCE to its configured audience",
    "subject": "sign with sub, the user's id; Better Auth's tokens without it are for Better Auth itself",
}
# The bytes around a token or a header that somebody has copied.
AROUND = b" \t\r\n\"'`,"


class Command(BaseCommand):
    help = (
        "Reads a token, or a line with an Authorization header, from standard input. Says what the token contains,"
        " whether it is accepted, and what to change if it is not."
    )
    # Warnings about settings would hide the answer.
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        if sys.stdin.isatty():
            self.stderr.write("Paste the token and press Enter:")
        for name, text in explain(authorization(in_utf_8(sys.stdin.buffer.readline()))):
            self.stdout.write(f"{name + ':':<11} {text}")


def in_utf_8(line: bytes) -> bytes:
    """The line without a byte order mark, in UTF-8. PowerShell writes UTF-16, whose last line feed `readline` cuts."""
    if line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return line.decode("utf-16", errors="ignore").encode()
    return line.removeprefix(codecs.BOM_UTF8)


def authorization(line: bytes) -> bytes:
    """The value of `Authorization` for a line that is the header, its value, or the token alone, maybe in quotes."""
    text = line.strip(AROUND)
    name, _, value = text.partition(b":")
    if name.strip(AROUND).lower() == b"authorization":
        return value.strip(AROUND)
    return text if b" " in text or text.lower() == b"bearer" else b"Bearer " + text


def explain(header: bytes) -> Iterator[tuple[str, str]]:
    """The lines about the value of an `Authorization` header, each with its name.

    They are ASCII and never contain the signature of its token.
    """
    try:
        token = BetterAuthAuthentication().get_raw_token(header)
        if token is None:
            raise TokenRefused("missing", "the header is empty", str(NotAuthenticated.default_detail))
        yield from explain_token(token)
        claims = verify(token)
    except TokenRefused as exc:
        yield "Verdict", f"refused: {exc.reason}"
        yield "The client", f"is told: {ascii(str(exc.detail))[1:-1]}"
        yield "To change", REMEDIES[exc.code]
    except BetterAuthUnavailable:
        yield "Verdict", "unknown: Better Auth's keys cannot be fetched now"
        yield (
            "To change",
            "start Better Auth, set BETTER_AUTH_URL to its address, which is the issuer above, or set "
            f"BETTER_AUTH_JWKS_URL to the address of its keys, which is now {settings.BETTER_AUTH_JWKS_URL}",
        )
    else:
        yield "Verdict", f"accepted: the user is {claims['sub']!a}"
        yield "The server", "has the settings and the keys of an earlier time, unless it was restarted"
    yield "This API", f"accepts {'; '.join(accepted_tokens())}"


def explain_token(token: bytes) -> Iterator[tuple[str, str]]:
    try:
        decoded = jwt.decode_complete(token, options={"verify_signature": False})
    except (jwt.InvalidTokenError, ValueError, RecursionError):
        yield "Token", f"{len(token)} bytes, {token.count(b'.') + 1} part(s), not a signed JWT that can be read"
    else:
        yield from explain_header(decoded["header"])
        yield from explain_claims(decoded["payload"])


def explain_header(header: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "Token", f"a signed JWT of type {shown(header.get('typ'))}"
    yield "Algorithm", shown(header.get("alg"))
    if header.get("alg") not in list(KEY_TYPE_BY_ALGORITHM) or not settings.BETTER_AUTH_URL or not header.get("kid"):
        yield "Key", shown(header.get("kid"))
        return
    try:
        found = next(published_keys(settings.BETTER_AUTH_JWKS_URL).candidates(header["kid"], header["alg"]), None)
    except BetterAuthUnavailable:
        found = None
    yield (
        "Key",
        f"{shown(header.get('kid'))}, {'published' if found else 'not found'} at {settings.BETTER_AUTH_JWKS_URL}",
    )


def explain_claims(claims: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, claim, expected in [
        ("Issuer", "iss", settings.BETTER_AUTH_ISSUER),
        ("Audience", "aud", settings.BETTER_AUTH_AUDIENCE),
    ]:
        yield name, f"{shown(claims.get(claim))}, expected {ascii(expected) if expected else 'nothing in particular'}"
    yield "Subject", shown(claims.get("sub"))
    expiry: Any = claims.get("exp")
    if is_numeric_date(expiry) and expiry >= 0:
        yield "Expiry", datetime.fromtimestamp(expiry, UTC).isoformat()
    else:
        yield "Expiry", shown(expiry)


def shown(value: object) -> str:
    """A value of a token in ASCII, cut to 80 characters."""
    strings = isinstance(value, list) and all(isinstance(item, str) for item in value)
    # `ascii()` fails for deeply nested values.
    return "nested JSON" if isinstance(value, list | dict) and not strings else ascii(value)[:80]
