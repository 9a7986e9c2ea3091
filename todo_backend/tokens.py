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
# The accepted values of `typ`, in lower case and without the prefix that RFC 7515, section 4.1.9, lets a sender omit.
# Better Auth signs its session cookie cache with the same key and another `typ` (RFC 8725, section 3.11).
ACCEPTED_TYPES = ("jwt", "at+jwt")

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


# Verifies signatures only; `validate_claims` checks the claims.
jws = jwt.PyJWS()
jws.unregister_algorithm("HS256")
jws.register_algorithm("HS256", CheckedSecretAlgorithm(HMACAlgorithm.SHA256))
jws.register_algorithm("Ed25519", OKPAlgorithm())

INVALID = "Token is invalid."
EXPIRED = "Token has expired."
NOT_A_JWT = "This is not a JWT. If it is a Better Auth session token, get a JWT from /api/auth/token."
ENCRYPTED = "This token is encrypted. Get a signed JWT from /api/auth/token."


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
    """The claims of an accepted token.

    Raises `TokenRefused`, or `BetterAuthUnavailable` if Better Auth may have a key for it that is not known yet.
    """
    header = read_header(token)
    claims = verified_claims(token, header)
    validate_claims(claims, published=uses_published_key(header))
    return claims


def verified_claims(token: bytes, header: Mapping[str, Any]) -> Mapping[str, Any]:
    """The claims, if one of the keys for the header verifies the signature."""
    algorithm = header["alg"]
    reason = ""
    for key in verification_keys(header):
        try:
            return verify_signature(token, algorithm, key)
        except jwt.InvalidSignatureError:
            reason = f"its {algorithm} signature does not hold"
        except (jwt.InvalidTokenError, ValueError, RecursionError) as exc:
            raise TokenRefused("malformed", f"its payload is refused: {str(exc)!a}") from exc
    if uses_published_key(header):
        unknown = f"Better Auth publishes no {algorithm} key with the id {header['kid'][:80]!a}"
        raise TokenRefused("key", reason or unknown)
    raise TokenRefused("secret", reason)


def read_header(token: bytes) -> Mapping[str, Any]:
    """The header of a JWS in compact form (RFC 7515, section 7.1). Checks everything that needs no key."""
    if len(token) > MAX_TOKEN_SIZE:
        raise TokenRefused("size", f"it is larger than {MAX_TOKEN_SIZE} bytes")
    if not token.isascii():
        raise TokenRefused("malformed", "it is not ASCII")
    segments = token.count(b".") + 1
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
    check_algorithm(header.get("alg"))
    if "crit" in header:
        raise TokenRefused("critical", "it has critical extensions")
    if uses_published_key(header) and not is_accepted_type(header.get("typ", "JWT")):
        raise TokenRefused("type", "its typ is not JWT or at+jwt")
    if uses_published_key(header) and not header.get("kid"):
        raise TokenRefused("key", "it names no key")
    return header


def is_accepted_type(typ: object) -> bool:
    return isinstance(typ, str) and typ.lower().removeprefix("application/") in ACCEPTED_TYPES


def check_algorithm(algorithm: object) -> None:
    if isinstance(algorithm, str) and algorithm in OTHER_ALGORITHMS:
        raise TokenRefused(
            "algorithm", f"it is signed with {algorithm}", f"Token is signed with {algorithm}, which is not accepted."
        )
    if not isinstance(algorithm, str) or algorithm not in SETTING_BY_ALGORITHM:
        raise TokenRefused("algorithm", "its alg is not a registered signature algorithm")
    setting = SETTING_BY_ALGORITHM[algorithm]
    if not getattr(settings, setting):
        raise TokenRefused(
            "setting",
            f"it is signed with {algorithm}, and {setting} is not set",
            f"Token is signed with {algorithm}, which is accepted only when {setting} is set.",
        )


def uses_published_key(header: Mapping[str, Any]) -> bool:
    """Whether a published key verifies the token, and not the secret."""
    return header["alg"] in KEY_TYPE_BY_ALGORITHM


def json_object(data: bytes) -> Mapping[str, Any]:
    """A JSON object in UTF-8. Without `decode()`, UTF-16, UTF-32 and a byte order mark would be accepted, too.

    It is read-only, because requests share it. Raises `ValueError` or `RecursionError`.
    """
    # Unlike Python's own `loads`, this one refuses NaN and Infinity.
    value = json.loads(data.decode())
    if not isinstance(value, dict):
        raise ValueError("it is not an object")
    return MappingProxyType(value)


@lru_cache(maxsize=64)
def parse_header(segment: bytes) -> Mapping[str, Any]:
    """The header in the first segment of a token. It is cached, because most tokens have the same header."""
    header = json_object(urlsafe_b64decode(segment + b"=="))
    if not isinstance(header.get("kid", ""), str):
        raise ValueError("its kid is not a string")
    return header


def verification_keys(header: Mapping[str, Any]) -> Iterable[str | jwt.PyJWK]:
    """The keys that may verify the token. The later ones may have to be fetched."""
    if uses_published_key(header):
        return published_keys(settings.BETTER_AUTH_JWKS_URL).candidates(header["kid"], header["alg"])
    return [str(settings.BETTER_AUTH_SECRET)]


# A client sends the same token with every request until it expires. Exceptions are not cached.
@lru_cache(maxsize=1024)
def verify_signature(token: bytes, algorithm: str, key: str | jwt.PyJWK) -> Mapping[str, Any]:
    """The claims of a token that the key has signed.

    Raises `jwt.InvalidTokenError`, `ValueError` or `RecursionError`.
    """
    # PyJWT would compare the algorithm with the name in the JWK, but Ed25519 and EdDSA are two names of one.
    public_or_secret = key.key if isinstance(key, jwt.PyJWK) else key
    return json_object(jws.decode(token, public_or_secret, algorithms=[algorithm]))


def validate_claims(claims: Mapping[str, Any], *, published: bool) -> None:
    """Raises `TokenRefused` unless the token is for this API, has not expired, and names a user.

    A token that a published key verifies must have `iss` and `aud`. `iat` is not checked, because clocks differ by
    seconds and a new token has to be accepted.
    """
    now = time.time()
    if not is_numeric_date(claims.get("exp")):
        raise TokenRefused("expiry", "exp is missing, or is not a time before the year 10000")
    if claims["exp"] <= now:
        raise TokenRefused("expired", "it has expired", EXPIRED)
    if "nbf" in claims and not (is_numeric_date(claims["nbf"]) and claims["nbf"] <= now + NBF_LEEWAY):
        raise TokenRefused("not_before", "nbf is in the future, or is not a time")
    if published and not {"iss", "aud"} <= claims.keys():
        raise TokenRefused("recipient", "iss or aud is missing")
    if "iss" in claims and settings.BETTER_AUTH_ISSUER:
        validate_issuer_or_audience("issuer", [claims["iss"]], settings.BETTER_AUTH_ISSUER)
    if "aud" in claims and settings.BETTER_AUTH_AUDIENCE:
        audiences = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
        validate_issuer_or_audience("audience", audiences, settings.BETTER_AUTH_AUDIENCE)
    if not is_user_id(claims.get("sub")):
        raise TokenRefused("subject", "sub is missing, or is not a user id")


def validate_issuer_or_audience(name: str, values: list[Any], expected: str) -> None:
    if expected in values:
        return
    if not all(isinstance(value, str) for value in values):
        raise TokenRefused(name, f"{name} is not a string")
    named = ", ".join(values)
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
