"""Verifies tokens: the header, the signature and the claims of a JWT (RFC 7519)."""

import time
import unicodedata
from base64 import urlsafe_b64decode
from collections.abc import Iterable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import jwt
from django.conf import settings
from jwt.algorithms import HMACAlgorithm, OKPAlgorithm
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.utils import json

from .jwks import KEY_TYPE_BY_ALGORITHM, published_keys

# Bytes. Verifying takes CPU time in proportion to the size, and Better Auth's own tokens have less than 1000 bytes.
MAX_TOKEN_SIZE = 8192
# The last second of the year 9999, and the last one that `datetime` can represent.
MAX_NUMERIC_DATE = 253402300799
# Seconds by which a token may be ahead of this server's clock.
NBF_LEEWAY = 10
MAX_SUBJECT_LENGTH = 255
# Characters of a refused issuer or audience in the answer and in the log.
MAX_NAMED = 200
# The accepted values of `typ`, in lower case and without the prefix that RFC 7515, section 4.1.9, lets a sender omit.
# Better Auth signs its session cookie cache with the same key and another `typ` (RFC 8725, section 3.11).
ACCEPTED_TYPES = ("jwt", "at+jwt")
# The parameters of a header that decide whether a token is accepted.
HEADER_PARAMETERS = ("alg", "kid", "typ", "crit")

# The setting that makes this API accept an algorithm.
SETTING_BY_ALGORITHM = {"HS256": "BETTER_AUTH_SECRET", **dict.fromkeys(KEY_TYPE_BY_ALGORITHM, "BETTER_AUTH_URL")}
# The other signature algorithms in IANA's registry (RFC 7518, section 7.1). No setting enables them.
OTHER_ALGORITHMS = {
    *("none", "HS384", "HS512", "RS384", "RS512", "PS384", "PS512", "ES384", "ES256K", "Ed448"),
    *("ML-DSA-44", "ML-DSA-65", "ML-DSA-87"),
}


class CheckedSecretAlgorithm(HMACAlgorithm):
    """HMAC with a secret that `environment.py` checked when the process started.

    PyJWT would check with each token that the secret is not a public key: a tenth of the time of a refusal.
    """

    def prepare_key(self, key: str | bytes) -> bytes:
        return key.encode() if isinstance(key, str) else key


# Verifies signatures only; `accepted_claims` validates the claims.
jws = jwt.PyJWS()
jws.unregister_algorithm("HS256")
jws.register_algorithm("HS256", CheckedSecretAlgorithm(HMACAlgorithm.SHA256))
jws.register_algorithm("Ed25519", OKPAlgorithm())

INVALID = "Token is invalid."
EXPIRED = "Token has expired."
NOT_A_JWT = "This is not a JWT. If it is a Better Auth session token, get a JWT from /api/auth/token."
ENCRYPTED = "This token is encrypted. Get a signed JWT from /api/auth/token."
PLACEHOLDER = 'There is no token in "Bearer {}": get one from /api/auth/token first.'
# What JavaScript makes of a token that is not there.
PLACEHOLDERS = (b"undefined", b"null", b"[object Object]")


class TokenRefused(AuthenticationFailed):
    """401. `detail` is for the client. `reason` is for the log: it explains more, and never repeats the token.

    `code` names the kind of refusal, for `explain_token`.
    """

    def __init__(self, code: str, reason: str, detail: str = INVALID) -> None:
        super().__init__(detail)
        self.code = code
        self.reason = reason


def accepted_tokens() -> list[str]:
    """The algorithms that this configuration accepts, and their keys, as a text for each kind of key."""
    accepted = []
    if settings.BETTER_AUTH_SECRET:
        accepted.append("HS256 under BETTER_AUTH_SECRET")
    if settings.BETTER_AUTH_URL:
        accepted.append(f"{', '.join(KEY_TYPE_BY_ALGORITHM)} under the keys at {settings.BETTER_AUTH_JWKS_URL}")
    return accepted


def verify(token: bytes) -> Mapping[str, Any]:
    """The claims `sub`, `exp` and, if it is there, `nbf` of an accepted token.

    Raises `TokenRefused`, or `BetterAuthUnavailable` if Better Auth may have a key for it that is not known yet.
    """
    claims = verified_claims(token, read_header(token))
    validate_times(claims)
    return claims


def verified_claims(token: bytes, header: Mapping[str, str]) -> Mapping[str, Any]:
    """The claims `sub`, `exp` and `nbf`, if one of the keys for the header verifies the signature."""
    algorithm = header["alg"]
    reason = ""
    for key in verification_keys(header):
        try:
            return accepted_claims(token, algorithm, key, settings.BETTER_AUTH_ISSUER, settings.BETTER_AUTH_AUDIENCE)
        except jwt.InvalidSignatureError:
            reason = f"its {algorithm} signature does not hold"
        except (jwt.InvalidTokenError, ValueError, RecursionError) as exc:
            raise TokenRefused("malformed", f"its payload is refused: {str(exc)!a}") from exc
    if uses_published_key(header):
        unknown = f"Better Auth publishes no {algorithm} key with the id {header['kid'][:80]!a}"
        raise TokenRefused("key", reason or unknown)
    raise TokenRefused("secret", reason)


def read_header(token: bytes) -> Mapping[str, str]:
    """The header of a JWS in compact form (RFC 7515, section 7.1), as far as `parse_header` returns it.

    Checks everything that needs no key.
    """
    if len(token) > MAX_TOKEN_SIZE:
        raise TokenRefused("size", f"it is larger than {MAX_TOKEN_SIZE} bytes")
    if not token.isascii():
        raise TokenRefused("malformed", "it is not ASCII")
    segments = token.count(b".") + 1
    if token in PLACEHOLDERS:
        raise TokenRefused("missing", f"it is {token.decode()}", PLACEHOLDER.format(token.decode()))
    if segments < 3:
        raise TokenRefused("not_a_jwt", "it is not a JWT", NOT_A_JWT)
    if segments == 5:
        raise TokenRefused("encrypted", "it is encrypted", ENCRYPTED)
    # PyJWT accepts padding, which RFC 7515, section 2, does not allow.
    if b"=" in token:
        raise TokenRefused("malformed", "it is padded")
    try:
        header = parse_header(token.partition(b".")[0])
    except (ValueError, RecursionError) as exc:
        raise TokenRefused("malformed", f"its header is refused: {str(exc)!a}") from exc
    check_algorithm(header.get("alg", ""))
    if "crit" in header:
        raise TokenRefused("critical", "it has critical extensions")
    if uses_published_key(header) and not is_accepted_type(header.get("typ", "JWT")):
        raise TokenRefused("type", "its typ is not JWT or at+jwt")
    if uses_published_key(header) and not header.get("kid"):
        raise TokenRefused("key", "it names no key")
    return header


def is_accepted_type(typ: str) -> bool:
    return typ.lower().removeprefix("application/") in ACCEPTED_TYPES


def check_algorithm(algorithm: str) -> None:
    if algorithm in OTHER_ALGORITHMS:
        raise TokenRefused(
            "algorithm", f"it is signed with {algorithm}", f"Token is signed with {algorithm}, which is not accepted."
        )
    if algorithm not in SETTING_BY_ALGORITHM:
        raise TokenRefused("algorithm", "its alg is not a registered signature algorithm")
    setting = SETTING_BY_ALGORITHM[algorithm]
    if not getattr(settings, setting):
        raise TokenRefused(
            "setting",
            f"it is signed with {algorithm}, and {setting} is not set",
            f"Token is signed with {algorithm}, which is accepted only when {setting} is set.",
        )


def uses_published_key(header: Mapping[str, str]) -> bool:
    """Whether a published key verifies the token, and not the secret."""
    return header["alg"] in KEY_TYPE_BY_ALGORITHM


def json_object(data: bytes) -> dict[str, Any]:
    """A JSON object in UTF-8. Without `decode()`, UTF-16, UTF-32 and a byte order mark would be accepted, too.

    Raises `ValueError` or `RecursionError`.
    """
    # Unlike Python's own `loads`, this one refuses NaN and Infinity.
    value = json.loads(data.decode())
    if not isinstance(value, dict):
        raise ValueError("it is not an object")
    return value


@lru_cache(maxsize=64)
def parse_header(segment: bytes) -> Mapping[str, str]:
    """The parameters of `HEADER_PARAMETERS` in the first segment of a token, with "" for a value that is no string.

    They are cached, because most tokens have the same header, and read-only, because requests share them.
    """
    header = json_object(urlsafe_b64decode(segment + b"=="))
    if not isinstance(header.get("kid", ""), str):
        raise ValueError("its kid is not a string")
    parameters = {name: header[name] for name in HEADER_PARAMETERS if name in header}
    return MappingProxyType({name: value if isinstance(value, str) else "" for name, value in parameters.items()})


def verification_keys(header: Mapping[str, str]) -> Iterable[str | jwt.PyJWK]:
    """The keys that may verify the token. The later ones may have to be fetched."""
    if uses_published_key(header):
        return published_keys(settings.BETTER_AUTH_JWKS_URL).candidates(header["kid"], header["alg"])
    return [str(settings.BETTER_AUTH_SECRET)]


# A client sends the same token with every request until it expires. Exceptions are not cached. The issuer and the
# audience are arguments, so that the cache distinguishes them.
@lru_cache(maxsize=1024)
def accepted_claims(
    token: bytes, algorithm: str, key: str | jwt.PyJWK, issuer: str, audience: str
) -> Mapping[str, Any]:
    """The claims `sub`, `exp` and `nbf` of a token that the key has signed for this API. They are read-only.

    The cache keeps no other claims: a token of 8 KB can have claims that take 280 KB of memory.

    Raises `TokenRefused` for claims that are not accepted, and `jwt.InvalidTokenError`, `ValueError` or
    `RecursionError` for a token that is not signed or cannot be read.
    """
    # PyJWT would compare the algorithm with the name in the JWK, but Ed25519 and EdDSA are two names of one.
    public_or_secret = key.key if isinstance(key, jwt.PyJWK) else key
    claims = json_object(jws.decode(token, public_or_secret, algorithms=[algorithm]))
    # Here as well, so that an expired token is not cached, and its expiry is named before its issuer.
    validate_times(claims)
    if isinstance(key, jwt.PyJWK) and not {"iss", "aud"} <= claims.keys():
        raise TokenRefused("recipient", "iss or aud is missing")
    if "iss" in claims and issuer:
        validate_issuer_or_audience("issuer", [claims["iss"]], issuer)
    if "aud" in claims and audience:
        audiences = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
        validate_issuer_or_audience("audience", audiences, audience)
    if not is_user_id(claims.get("sub")):
        raise TokenRefused("subject", "sub is missing, or is not a user id")
    return MappingProxyType({name: claims[name] for name in ("sub", "exp", "nbf") if name in claims})


def validate_times(claims: Mapping[str, Any]) -> None:
    """Raises `TokenRefused` unless the token is valid now. `iat` is not checked, because clocks differ by seconds."""
    now = time.time()
    if not is_numeric_date(claims.get("exp")):
        raise TokenRefused("expiry", "exp is missing, or is not a time before the year 10000")
    if claims["exp"] <= now:
        raise TokenRefused("expired", "it has expired", EXPIRED)
    if "nbf" in claims and not (is_numeric_date(claims["nbf"]) and claims["nbf"] <= now + NBF_LEEWAY):
        raise TokenRefused("not_before", "nbf is in the future, or is not a time")


def validate_issuer_or_audience(name: str, values: list[Any], expected: str) -> None:
    if expected in values:
        return
    if not all(isinstance(value, str) for value in values):
        raise TokenRefused(name, f"{name} is not a string")
    named = ", ".join(values)[:MAX_NAMED]
    raise TokenRefused(
        name, f"{name} is {named!a}, expected {expected!a}", f"Token {name} is '{named}', expected '{expected}'."
    )


def is_numeric_date(value: object) -> bool:
    """Whether this is a `NumericDate` (RFC 7519, section 2) up to the year 9999."""
    return isinstance(value, int | float) and not isinstance(value, bool) and value <= MAX_NUMERIC_DATE


def is_user_id(value: object) -> bool:
    """Whether this has 1 to 255 characters, is not blank, and has no control character and no lone surrogate."""
    return (
        isinstance(value, str)
        and len(value) <= MAX_SUBJECT_LENGTH
        and bool(value.strip())
        and not any(unicodedata.category(character) in ("Cc", "Cs") for character in value)
    )
