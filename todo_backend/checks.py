"""System checks for settings that work but are insecure: warnings, and with `check --deploy` errors, too."""

from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

from django.conf import settings
from django.core import checks
from django.db import connection
from psycopg.pq import Conninfo

# RFC 7518, section 3.2: a key for HS256 is at least as long as the hash.
MIN_SECRET_BYTES = 32
BETTER_AUTH_DEFAULT_SECRET = "better-auth-secret-12345678901234567890"  # noqa: S105
EXAMPLE_SECRET = "change-me-to-the-secret-of-your-better-auth"  # noqa: S105
# The values of libpq's `sslmode` that accept no unencrypted connection.
ENCRYPTED = ("require", "verify-ca", "verify-full")


def weak_settings() -> Iterator[tuple[int, str]]:
    """Yields a number and a sentence for each insecure setting. A number never changes: it is part of a check's id."""
    secret = settings.BETTER_AUTH_SECRET
    if secret and len(secret.encode()) < MIN_SECRET_BYTES:
        yield 1, f"BETTER_AUTH_SECRET is shorter than {MIN_SECRET_BYTES} bytes."
    if secret != secret.strip():
        yield 2, "BETTER_AUTH_SECRET has surrounding white space, which is part of the secret."
    if secret == BETTER_AUTH_DEFAULT_SECRET:
        yield 3, "BETTER_AUTH_SECRET is Better Auth's public default."
    if secret == EXAMPLE_SECRET:
        yield 4, "BETTER_AUTH_SECRET is the value in .env.example."
    if settings.DEBUG:
        yield 5, "DEBUG is on."
    if "*" in settings.ALLOWED_HOSTS:
        yield 6, "ALLOWED_HOSTS has a wildcard."
    if settings.CORS_ALLOW_ALL_ORIGINS:
        yield 7, "CORS_ALLOWED_ORIGINS has a wildcard."
    if connection.vendor == "sqlite":
        yield 8, "DATABASE_URL is SQLite, a file that is lost with the machine."
    if all(is_this_machine(host) for host in settings.ALLOWED_HOSTS):
        yield 9, "ALLOWED_HOSTS has only names of this machine."
    database = connection.settings_dict
    if sslmode(database) not in ENCRYPTED and any(is_public(host) for host in database_hosts(database)):
        yield 10, "DATABASE_URL has a public host, and no sslmode=require, verify-ca or verify-full."


def is_this_machine(host: str) -> bool:
    """Whether the item of ALLOWED_HOSTS is a name or an address of the loopback interface."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower().rpartition(".")[2] == "localhost"


def sslmode(database: dict[str, Any]) -> str:
    """The `sslmode` of DATABASE_URL, or libpq's default, which the variable PGSSLMODE changes."""
    [default] = [option.val for option in Conninfo.get_defaults() if option.keyword == b"sslmode"]
    return database["OPTIONS"].get("sslmode") or (default or b"").decode()


def database_hosts(database: dict[str, Any]) -> list[str]:
    options = database["OPTIONS"]
    named = [database["HOST"], options.get("host"), options.get("hostaddr")]
    return [host for item in named if item for host in str(item).split(",")]


def is_public(host: str) -> bool:
    """Whether a host of a database is a public address, or a name that may have one. A path is a socket's."""
    try:
        return ip_address(host).is_global
    except ValueError:
        name = host.lower().rstrip(".")
        return "." in name and not name.startswith("/") and not name.endswith(".internal")


@checks.register()
def warn_of_weak_settings(**kwargs: object) -> list[checks.CheckMessage]:
    return [checks.Warning(message, id=f"todo_backend.W{number:03}") for number, message in weak_settings()]


@checks.register(deploy=True)
def refuse_weak_settings(**kwargs: object) -> list[checks.CheckMessage]:
    return [checks.Error(message, id=f"todo_backend.E{number:03}") for number, message in weak_settings()]
