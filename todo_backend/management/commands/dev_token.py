import time
from argparse import ArgumentParser
from datetime import UTC, datetime
from typing import Any

import jwt
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from todo_backend.tokens import is_user_id

# Seconds.
LIFETIME = 15 * 60


class Command(BaseCommand):
    help = (
        "Prints a token like those that Better Auth signs with BETTER_AUTH_SECRET, valid for 15 minutes."
        " Works only with DEBUG=true."
    )

    # Warnings about settings would hide the token on a terminal.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("sub", help="the user's id")

    def handle(self, *args: Any, sub: str, **options: Any) -> None:
        if not settings.DEBUG:
            raise CommandError("DEBUG is off: only Better Auth issues tokens. In development, set DEBUG=true.")
        if not settings.BETTER_AUTH_SECRET:
            raise CommandError("BETTER_AUTH_SECRET is not set: there is nothing to sign with.")
        if not is_user_id(sub):
            raise CommandError("SUB must be 1 to 255 characters, not blank and without control characters.")
        now = int(time.time())
        moment = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        claims = {
            "iat": now,
            "name": sub,
            "email": "dev@example.com",
            "emailVerified": False,
            "createdAt": moment,
            "updatedAt": moment,
            "id": sub,
            "sub": sub,
            "exp": now + LIFETIME,
            "iss": settings.BETTER_AUTH_ISSUER or "http://localhost:3000",
            "aud": settings.BETTER_AUTH_AUDIENCE or "http://localhost:3000",
        }
        self.stdout.write(jwt.encode(claims, settings.BETTER_AUTH_SECRET, algorithm="HS256"))
