"""Authentication by a JWT of Better Auth. Its `sub` is the user, and there is no user table."""

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.request import Request
from rest_framework_simplejwt.authentication import JWTStatelessUserAuthentication

from .tokens import TokenRefused, verify

EMPTY = 'There is no token after "Bearer": get one from /api/auth/token first.'
NOT_BEARER = 'Send the token as "Authorization: Bearer <token>".'


class BetterAuthAuthentication(JWTStatelessUserAuthentication):
    """`Authorization: Bearer <JWT>` (RFC 6750, section 2.1). The user is a `TokenUser` whose `pk` is the token's `sub`.

    Raises `TokenRefused` for a bearer token that is not accepted, and `BetterAuthUnavailable` if it cannot be verified
    now.
    """

    def __init__(self) -> None:
        """Does not call the base class, which would look up a user model. There is none."""

    def authenticate_header(self, request: Request) -> str:
        scheme, token = scheme_and_token(self.get_header(request) or b"")
        return 'Bearer error="invalid_token"' if scheme == b"bearer" and token else "Bearer"

    def get_raw_token(self, header: bytes) -> bytes | None:
        """The token, or `None` if the header is empty. Raises `TokenRefused` if the header has no bearer token."""
        scheme, token = scheme_and_token(header)
        if not scheme:
            return None
        # A client that adds "Bearer" to what has it already sends it twice.
        if scheme != b"bearer" or scheme_and_token(token)[0] == b"bearer":
            raise TokenRefused("scheme", 'its Authorization is not "Bearer" and a token', NOT_BEARER)
        if not token:
            raise TokenRefused("missing", 'there is no token after "Bearer"', EMPTY)
        return token

    def get_validated_token(self, raw_token: bytes) -> Any:
        return verify(raw_token)


def scheme_and_token(header: bytes) -> tuple[bytes, bytes]:
    """The scheme of an `Authorization` header in lower case, and the rest. Either may be empty."""
    scheme, _, token = header.strip().partition(b" ")
    return scheme.lower(), token.strip()


class BetterAuthScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "todo_backend.authentication.BetterAuthAuthentication"
    name = "BetterAuth"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        description = (
            "A JWT from Better Auth. A signed-in user gets one from `/api/auth/token` of the frontend. In development, "
            "`python manage.py dev_token SUB` prints one for the user SUB.\n\n"
            "On the Swagger page, paste the token alone, without `Bearer`. The browser keeps it until *Logout*."
        )
        return {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": description}
