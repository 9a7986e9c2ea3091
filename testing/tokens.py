"""Tokens as Better Auth signs them, and forged ones."""

import base64
import hashlib
import hmac
import json
import time
from typing import Any

from django.conf import settings

HEADER = {"alg": "HS256", "typ": "JWT"}


def claims(sub: object = "ada", **changes: object) -> dict[str, Any]:
    """The claims of a token that Better Auth signs. A claim with the value `...` is left out."""
    now = int(time.time())
    payload = {
        "iat": now,
        "name": "Ada",
        "email": "ada@example.com",
        "emailVerified": False,
        "id": sub,
        "sub": sub,
        # Better Auth gives 900 seconds. Some tokens are made at collection and used much later.
        "exp": now + 86_400,
        "iss": "http://localhost:3000",
        "aud": "http://localhost:3000",
    }
    return {name: value for name, value in {**payload, **changes}.items() if value is not ...}


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def as_bytes(part: Any) -> bytes:
    return part if isinstance(part, bytes) else json.dumps(part).encode()


def sign(payload: Any, header: Any = HEADER, secret: str | bytes | None = None, digest: Any = hashlib.sha256) -> str:
    """A compact token with an HMAC signature, whatever its header says. Header and payload may be any bytes."""
    message = f"{base64url(as_bytes(header))}.{base64url(as_bytes(payload))}"
    secret = settings.BETTER_AUTH_SECRET if secret is None else secret
    key = secret if isinstance(secret, bytes) else secret.encode()
    return f"{message}.{base64url(hmac.new(key, message.encode(), digest).digest())}"


def token(sub: object = "ada", **changes: object) -> str:
    return sign(claims(sub, **changes))
