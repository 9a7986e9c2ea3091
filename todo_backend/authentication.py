"""Authentication by a JWT of Better Auth. Its `sub` is the user, and there is no user table."""

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.request import Request
from rest_framework_simplejwt.authentication import JWTStatelessUserAuthentication

from .tokens import verify


class BetterAuthAuthentication(JWTStatelessUserAuthentication):
    """`Authorization: Bearer <JWT>` (RFC 6750, section 2.1). The user is a `TokenUser` whose `pk` is the token's `sub`.

    Raises `TokenRefused` for a bearer token that is not accepted, and `BetterAuthUnavailable` if it cannot be verified
    now.
    """

    def __init__(self) -> None:
        """Does not call the base class, which would look up a user model. There is none."""

    def authenticate_header(self, request: Request) -> str:
        token_sent = self.get_raw_token(self.get_header(request) or b"")
        return 'Bearer error="invalid_token"' if token_sent else "Bearer"

    def get_raw_token(self, header: bytes) -> bytes | None:
        scheme, _, token = header.strip().partition(b" ")
        return token.strip() or None if scheme.lower() == b"bearer" else None

    def get_validated_token(self, raw_token: bytes) -> Any:
        return verify(raw_token)


class BetterAuthScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "todo_backend.authentication.BetterAuthAuthentication"
    name = "BetterAuth"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        description = "A JWT from Better Auth. On the Swagger page, paste the token alone, without `Bearer`."
        return {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": description}
