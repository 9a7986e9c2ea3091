"""Reads environment variables and refuses values that cannot be used; `.env.example` lists the variables.

Each function takes the variables as a mapping. It raises `ImproperlyConfigured` with a message that names the variable
and never contains a password.
"""

import re
from collections.abc import Mapping, Sequence
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

import dj_database_url
import psycopg
from django.core.exceptions import ImproperlyConfigured
from django.http.request import split_domain_port, validate_host
from dotenv import dotenv_values
from jwt.algorithms import HMACAlgorithm
from jwt.exceptions import InvalidKeyError

Environment = Mapping[str, str]

HOST_NAME = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")
# A host name with one `*`, in the first of at least three labels
HOST_PATTERN = re.compile(r"[a-z0-9_-]*\*[a-z0-9_-]*(\.[a-z0-9_-]+){2,}")
HOST_LIKE = re.compile(r"[\w.*-]+")
# The visible characters of ASCII without the backslash, which browsers read as a slash.
URL_CHARACTERS = re.compile(r"[!-\[\]-~]+")
DEFAULT_PORTS = {"http": 80, "https": 443}

# libpq checks these values only when it connects (PostgreSQL, section 34.1.2).
LIBPQ_CHOICES = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "channel_binding": ("disable", "prefer", "require"),
    "target_session_attrs": ("any", "read-write", "read-only", "primary", "standby", "prefer-standby"),
}
LIBPQ_NUMBERS = ("connect_timeout", "port")


def read(environ: Environment, env_file: Path) -> dict[str, str]:
    """The variables of `environ` and of the `.env` file; `environ` wins, and an empty value counts as unset.

    Values are taken literally, because a password or a secret may contain `${`. `PYTHON_DOTENV_DISABLED`,
    python-dotenv's own switch, turns the file off.
    """
    in_file: Mapping[str, str | None] = {}
    if not environ.get("PYTHON_DOTENV_DISABLED"):
        try:
            # python-dotenv itself would ignore a folder, and a file in a folder that may not be entered.
            with env_file.open(encoding="utf-8") as stream:
                in_file = dotenv_values(stream=stream, interpolate=False)
        except FileNotFoundError:
            pass
        except UnicodeDecodeError:
            raise ImproperlyConfigured(".env is not UTF-8.") from None
        except OSError as exc:
            raise ImproperlyConfigured(f".env cannot be read: {exc.strerror}.") from None
    return {name: value for name, value in [*in_file.items(), *environ.items()] if value}


def text(env: Environment, name: str, default: str = "") -> str:
    """The variable without surrounding white space."""
    value = env.get(name, "").strip() or default
    # Python decodes bytes that are not UTF-8 to surrogates, which are not printable.
    if not value.isprintable():
        raise ImproperlyConfigured(f"{name} has characters that are not printable or not UTF-8.")
    return value


def choice(env: Environment, name: str, choices: Sequence[str], default: str) -> str:
    """The choice that the variable names, in upper or lower case."""
    value = text(env, name, default)
    for candidate in choices:
        if candidate.lower() == value.lower():
            return candidate
    raise ImproperlyConfigured(f"{name} must be {', '.join(choices[:-1])} or {choices[-1]}, not {value!r}.")


def boolean(env: Environment, name: str, *, default: bool) -> bool:
    return choice(env, name, ("true", "false"), str(default)) == "true"


def number(env: Environment, name: str, default: int, *, maximum: int = 10_000) -> int:
    """A whole number from 1 to `maximum`."""
    value = text(env, name, str(default))
    if not re.fullmatch("[0-9]{1,9}", value) or not 1 <= int(value) <= maximum:
        raise ImproperlyConfigured(f"{name} must be a number from 1 to {maximum}, not {value!r}.")
    return int(value)


def items(env: Environment, name: str, default: list[str]) -> list[str]:
    """The comma-separated items of the variable."""
    found = [item.strip() for item in text(env, name).split(",")]
    return [item for item in found if item] or default


def http_url(name: str, value: str, host_pattern: re.Pattern[str] = HOST_NAME) -> SplitResult:
    """The parts of an http(s) URL with a host and without credentials, query and fragment. Errors start with `name`."""
    try:
        url = urlsplit(value)
        host = url.hostname or ""
        usable = (
            url.scheme in DEFAULT_PORTS
            and (host_pattern.fullmatch(host) or is_ipv6(host))
            and url.port != 0
            and not url.netloc.endswith(":")
            and url.username is None
            and not url.query
            and not url.fragment
            and URL_CHARACTERS.fullmatch(value)
        )
    except ValueError:
        usable = False
    if not usable:
        raise ImproperlyConfigured(
            f"{name} must be an address such as http://localhost:3000, without credentials or query."
        )
    return url


def is_ipv6(address: str) -> bool:
    """Whether this is an IPv6 address without a zone, which an origin may not have."""
    try:
        return IPv6Address(address).scope_id is None
    except ValueError:
        return False


def origin(url: SplitResult) -> str:
    """The URL's origin as browsers and Better Auth write it: lower case, without a default port (RFC 6454)."""
    host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
    port = "" if url.port in (None, DEFAULT_PORTS[url.scheme]) else f":{url.port}"
    return f"{url.scheme}://{host}{port}"


def allowed_hosts(env: Environment) -> list[str]:
    """Host names and bracketed IPv6 addresses for Django's `ALLOWED_HOSTS`. Refuses those that Django never matches."""
    hosts = items(env, "ALLOWED_HOSTS", ["localhost", "127.0.0.1", "[::1]"])
    for host in hosts:
        # A leading dot matches the domain and its subdomains.
        name, _ = split_domain_port(host.removeprefix("."))
        if host == "*" or (name and validate_host(name, [host])):
            continue
        # A URL may contain a password.
        if not HOST_LIKE.fullmatch(host):
            raise ImproperlyConfigured(
                "ALLOWED_HOSTS must be host names and IPv6 addresses in brackets, without scheme, port and path."
            )
        raise ImproperlyConfigured(
            f"ALLOWED_HOSTS: Django never matches {host!r}. A name has ASCII letters, digits, hyphens and dots only, "
            "and no dot at its end; write an international name in Punycode, and .example.com to include subdomains."
        )
    return hosts


def cors_origins(env: Environment) -> list[str]:
    """Origins as browsers write them, patterns of origins, and `*` for every origin."""
    origins = items(env, "CORS_ALLOWED_ORIGINS", ["http://localhost:3000"])
    return [value if value == "*" else cors_origin(value) for value in origins]


def cors_origin(value: str) -> str:
    name = "Each of the comma-separated CORS_ALLOWED_ORIGINS"
    try:
        url = http_url(name, value, HOST_PATTERN if "*" in value else HOST_NAME)
    except ImproperlyConfigured:
        if "*" not in value:
            raise
        raise ImproperlyConfigured(
            "CORS_ALLOWED_ORIGINS: a * may stand once in the first of at least three labels of a host, as in "
            "https://todo-*.vercel.app, or alone for every origin."
        ) from None
    if url.path:
        raise ImproperlyConfigured(
            f"CORS_ALLOWED_ORIGINS: {value!r} has a path or a trailing slash; an origin is {origin(url)!r}."
        )
    return origin(url)


def origin_regexes(origins: list[str]) -> list[re.Pattern[str]]:
    """A regular expression for each pattern among the origins.

    Each ends in `\\Z`, because django-cors-headers calls its `match`, which would accept a longer origin.
    """
    patterns = [value for value in origins if "*" in value and value != "*"]
    return [re.compile(re.escape(pattern).replace(r"\*", "[A-Za-z0-9-]+") + r"\Z") for pattern in patterns]


class BetterAuth(NamedTuple):
    """The settings for verifying Better Auth's tokens. A setting without a value is empty."""

    secret: str
    url: str
    jwks_url: str
    issuer: str
    audience: str


def better_auth(env: Environment) -> BetterAuth:
    """The `BETTER_AUTH_` variables and their defaults. The secret keeps its white space, as it does in Better Auth."""
    secret = env.get("BETTER_AUTH_SECRET", "")
    url = text(env, "BETTER_AUTH_URL")
    jwks_url = text(env, "BETTER_AUTH_JWKS_URL")
    if not secret and not url:
        raise ImproperlyConfigured(
            "Set BETTER_AUTH_SECRET, BETTER_AUTH_URL or both, or no token can be verified; see .env.example."
        )
    if jwks_url and not url:
        raise ImproperlyConfigured(
            "BETTER_AUTH_JWKS_URL needs BETTER_AUTH_URL, which gives the issuer and the audience that tokens must name."
        )
    if secret:
        refuse_public_key(secret)
    url_origin = ""
    if url:
        parts = http_url("BETTER_AUTH_URL", url)
        url_origin = origin(parts)
        # Better Auth's own rule: a base URL with a path is the address of its API.
        jwks_url = jwks_url or f"{url_origin}{parts.path.rstrip('/') or '/api/auth'}/jwks"
        http_url("BETTER_AUTH_JWKS_URL", jwks_url)
    return BetterAuth(
        secret=secret,
        url=url,
        jwks_url=jwks_url,
        issuer=text(env, "BETTER_AUTH_ISSUER", url_origin),
        audience=text(env, "BETTER_AUTH_AUDIENCE", url_origin),
    )


def refuse_public_key(secret: str) -> None:
    """Raises if the secret is a public key, with which everybody could sign HS256 tokens."""
    try:
        HMACAlgorithm(HMACAlgorithm.SHA256).prepare_key(secret)
    except (InvalidKeyError, UnicodeEncodeError):
        raise ImproperlyConfigured(
            "BETTER_AUTH_SECRET must be a secret in UTF-8, not a public key or a certificate."
        ) from None


def database(env: Environment, base_dir: Path) -> dj_database_url.DBConfig:
    """Django's settings for `DATABASE_URL`; a relative SQLite path starts at `base_dir`."""
    url = text(env, "DATABASE_URL", "sqlite:///db.sqlite3")
    scheme = url.partition("://")[0]
    if scheme not in ("postgres", "postgresql", "sqlite"):
        raise ImproperlyConfigured(
            "DATABASE_URL must start with postgresql:// or sqlite:///, without quotes, psql or a driver's name."
        )
    config = parse_database_url(url)
    return sqlite_config(config, base_dir) if scheme == "sqlite" else postgresql_config(config)


def parse_database_url(url: str) -> dj_database_url.DBConfig:
    try:
        config = dj_database_url.parse(url, conn_max_age=600, conn_health_checks=True, disable_server_side_cursors=True)
        config.setdefault("OPTIONS", {})
        # Resolving a name raises UnicodeError for a label that is empty or has more than 63 characters.
        config.get("HOST", "").encode("idna")
        # An unescaped "/", "?" or "#" in the password ends the host too early, and leaves the "@" in a later part.
        _, _, *after_host = urlsplit(url)
        usable = "@" not in "".join(after_host) and "%00" not in url
    except ValueError:
        usable = False
    if not usable:
        raise ImproperlyConfigured(
            "DATABASE_URL is not a valid URL; percent-encode reserved characters in the user name and the password."
        )
    return config


def sqlite_config(config: dj_database_url.DBConfig, base_dir: Path) -> dj_database_url.DBConfig:
    if config["OPTIONS"] or config.get("HOST") or config["NAME"] == ":memory:":
        raise ImproperlyConfigured(
            "DATABASE_URL: for SQLite it is sqlite:/// and the path of a file, without parameters."
        )
    path = base_dir / config["NAME"]
    if path.is_dir() or not path.parent.is_dir():
        raise ImproperlyConfigured("DATABASE_URL: the SQLite file is a folder, or there is no folder to put it in.")
    config["NAME"] = str(path)
    # With WAL, readers do not wait for a writer. With IMMEDIATE, writers wait at the start of a transaction; a
    # transaction that began with a read would fail at its first write.
    config["OPTIONS"] = {"init_command": "PRAGMA journal_mode=WAL", "transaction_mode": "IMMEDIATE", "timeout": 5}
    return config


def postgresql_config(config: dj_database_url.DBConfig) -> dj_database_url.DBConfig:
    if not 1 <= len(config["NAME"].encode()) <= 63:
        raise ImproperlyConfigured("DATABASE_URL must name a database, in 1 to 63 bytes, after the host.")
    config["ENGINE"] = "todo_backend.postgresql"
    options = config["OPTIONS"]
    # Seconds; psycopg's default is 130 for each address.
    options.setdefault("connect_timeout", 5)
    for name, choices in LIBPQ_CHOICES.items():
        if name in options and options[name] not in choices:
            raise ImproperlyConfigured(f"DATABASE_URL: {name} must be one of {', '.join(choices)}.")
    for name in LIBPQ_NUMBERS:
        # dj-database-url makes a bool of "true", and a bool is an int.
        if name in options and type(options[name]) is not int:
            raise ImproperlyConfigured(f"DATABASE_URL: {name} must be a number.")
    try:
        psycopg.conninfo.make_conninfo(**options)
    except psycopg.ProgrammingError:
        raise ImproperlyConfigured(
            "DATABASE_URL has a parameter that PostgreSQL does not take, such as Prisma's schema or pgbouncer."
        ) from None
    return config


class Server(NamedTuple):
    """The settings of `manage.py serve`. A `threads` of 16 means that each worker answers 16 requests at a time."""

    host: str
    port: int
    workers: int
    threads: int


def server(env: Environment) -> Server:
    host = text(env, "HOST", "0.0.0.0")  # noqa: S104  A platform reaches the server from another machine.
    try:
        ip_address(host)
    except ValueError:
        raise ImproperlyConfigured(
            f"HOST must be an IP address of this machine, 0.0.0.0 or ::, not {host!r}."
        ) from None
    return Server(
        host=host,
        port=number(env, "PORT", 8000, maximum=65535),
        workers=number(env, "WORKERS", 1),
        threads=number(env, "THREADS", 16),
    )
