"""Who is asking: the `sub` of a JWT that Better Auth signed. There is no user table."""

import time
import unicodedata
from functools import cache
from typing import Any

import jwt
from django.conf import settings
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from jwt.types import Options
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request
from rest_framework_simplejwt.authentication import JWTStatelessUserAuthentication
from rest_framework_simplejwt.backends import TokenBackend

# Bytes; verification costs CPU in proportion, and Better Auth's own tokens stay under 1000.
MAX_TOKEN_SIZE = 8192
# The last second of year 9999, so that nothing downstream overflows.
MAX_NUMERIC_DATE = 253402300799
NBF_LEEWAY = 10
MAX_SUBJECT_LENGTH = 255

# The setting under which Better Auth's tokens of an algorithm are accepted.
SETTING_BY_ALGORITHM = {
    "HS256": "BETTER_AUTH_SECRET",
    "EdDSA": "BETTER_AUTH_URL",
    "ES256": "BETTER_AUTH_URL",
    "ES512": "BETTER_AUTH_URL",
    "RS256": "BETTER_AUTH_URL",
    "PS256": "BETTER_AUTH_URL",
}
# Names of signature algorithms in IANA's registry (RFC 7518, section 7.1) that are accepted under no setting.
OTHER_ALGORITHMS = {
    *("none", "HS384", "HS512", "RS384", "RS512", "PS384", "PS512", "ES384", "ES256K", "Ed25519", "Ed448"),
    *("ML-DSA-44", "ML-DSA-65", "ML-DSA-87"),
}

INVALID = "Token is invalid."
EXPIRED = "Token has expired."
NOT_A_JWT = "This is not a JWT. If it is a Better Auth session token, get a JWT from /api/auth/token."
ENCRYPTED = "This token is encrypted. Get a signed JWT from /api/auth/token."


def accepted_tokens() -> list[str]:
    """The families of tokens that this configuration accepts, by algorithm."""
    return ["HS256"] if settings.BETTER_AUTH_SECRET else []


class SecretBackend(TokenBackend):
    """Verifies the HS256 signature and no claim: `TokenBackend` has a single leeway for all of them."""

    def decode(self, token: Any, verify: bool = True) -> dict[str, Any]:
        options: Options = {
            "verify_signature": verify,
            "verify_exp": False,
            "verify_nbf": False,
            "verify_iat": False,
            "verify_iss": False,
            "verify_aud": False,
            "verify_sub": False,
            "verify_jti": False,
        }
        return jwt.decode(token, self.prepared_signing_key, algorithms=[self.algorithm], options=options)


@cache
def secret_backend(secret: str) -> SecretBackend:
    return SecretBackend("HS256", signing_key=secret)


class BetterAuthAuthentication(JWTStatelessUserAuthentication):
    """`Authorization: Bearer <JWT>` (RFC 6750, section 2.1); the user is a `TokenUser` whose `pk` is the token's `sub`.

    Raises `AuthenticationFailed` for a bearer token that is not accepted, whatever it is made of.
    """

    def authenticate_header(self, request: Request) -> str:
        token_sent = self.get_raw_token(self.get_header(request) or b"")
        return 'Bearer error="invalid_token"' if token_sent else "Bearer"

    def get_raw_token(self, header: bytes) -> bytes | None:
        scheme, _, token = header.strip().partition(b" ")
        return token.strip() or None if scheme.lower() == b"bearer" else None

    def get_validated_token(self, raw_token: bytes) -> Any:
        """The claims of a token that is accepted, as a dictionary."""
        if len(raw_token) > MAX_TOKEN_SIZE or not raw_token.isascii():
            raise AuthenticationFailed(INVALID)
        segments = raw_token.count(b".") + 1
        if segments < 3:
            raise AuthenticationFailed(NOT_A_JWT)
        if segments == 5:
            raise AuthenticationFailed(ENCRYPTED)
        # PyJWT takes padding, which RFC 7515, section 2, leaves no room for.
        if b"=" in raw_token:
            raise AuthenticationFailed(INVALID)
        try:
            claims = self.verify_signature(raw_token)
        except (jwt.InvalidTokenError, ValueError, RecursionError) as exc:
            raise AuthenticationFailed(INVALID) from exc
        validate_claims(claims)
        return claims

    def verify_signature(self, token: bytes) -> dict[str, Any]:
        """The claims of a token whose signature holds under the key that its algorithm calls for."""
        header = jwt.get_unverified_header(token)
        algorithm = header.get("alg")
        if not isinstance(algorithm, str) or "crit" in header:
            raise AuthenticationFailed(INVALID)
        if algorithm in OTHER_ALGORITHMS:
            raise AuthenticationFailed(f"Token is signed with {algorithm}, which is not accepted.")
        setting = SETTING_BY_ALGORITHM.get(algorithm)
        if setting and not getattr(settings, setting):
            raise AuthenticationFailed(
                f"Token is signed with {algorithm}, which is accepted only when {setting} is set."
            )
        if setting != "BETTER_AUTH_SECRET":
            raise AuthenticationFailed(INVALID)
        return secret_backend(settings.BETTER_AUTH_SECRET).decode(token)


def validate_claims(claims: dict[str, Any]) -> None:
    """Raises `AuthenticationFailed` unless the claims of a signed token name a user, a time still to come, and us.

    `iat` rejects nothing: clocks differ by seconds, and a fresh token has to work.
    """
    now = time.time()
    if not is_numeric_date(claims.get("exp")):
        raise AuthenticationFailed(INVALID)
    if claims["exp"] <= now:
        raise AuthenticationFailed(EXPIRED)
    if "nbf" in claims and not (is_numeric_date(claims["nbf"]) and claims["nbf"] <= now + NBF_LEEWAY):
        raise AuthenticationFailed(INVALID)
    validate_recipient("issuer", claims.get("iss", ...), settings.BETTER_AUTH_ISSUER)
    validate_recipient("audience", claims.get("aud", ...), settings.BETTER_AUTH_AUDIENCE)
    if not is_user_id(claims.get("sub")):
        raise AuthenticationFailed(INVALID)


def is_numeric_date(value: object) -> bool:
    """Whether it is a `NumericDate` (RFC 7519, section 2) up to the year 9999; NaN, which Python parses, is not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and value <= MAX_NUMERIC_DATE


def is_user_id(value: object) -> bool:
    """Whether it can be a user: 1 to 255 characters, not blank, without control characters and lone surrogates."""
    return (
        isinstance(value, str)
        and 1 <= len(value) <= MAX_SUBJECT_LENGTH
        and bool(value.strip())
        and not any(unicodedata.category(character) in ("Cc", "Cs") for character in value)
    )


def validate_recipient(name: str, value: object, expected: str) -> None:
    """Raises `AuthenticationFailed` where a claim that is present does not name what it should; `aud` may be a list."""
    if value is ... or not expected:
        return
    values = value if name == "audience" and isinstance(value, list) else [value]
    if expected in values:
        return
    if not all(isinstance(item, str) for item in values):
        raise AuthenticationFailed(INVALID)
    raise AuthenticationFailed(f"Token {name} is '{', '.join(map(str, values))}', expected '{expected}'.")


class BetterAuthScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "todo_backend.authentication.BetterAuthAuthentication"
    name = "BetterAuth"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
