"""Settings of the project, all from the environment or `.env`; `.env.example` lists them.

A value that cannot be used raises `ImproperlyConfigured` with the variable's name; `todo_backend.checks` reports what
is weak but usable.
"""

import ipaddress
import os
import re
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import dj_database_url
import psycopg
from django.core.exceptions import ImproperlyConfigured
from django.core.management.utils import get_random_secret_key
from dotenv import dotenv_values
from jwt.algorithms import HMACAlgorithm
from jwt.exceptions import InvalidKeyError
from pythonjsonlogger.core import RESERVED_ATTRS

BASE_DIR = Path(__file__).resolve().parent.parent

# Without interpolation, because a password or a secret may contain "${". The switch is python-dotenv's own.
try:
    dotenv = {} if os.environ.get("PYTHON_DOTENV_DISABLED") else dotenv_values(BASE_DIR / ".env", interpolate=False)
except UnicodeDecodeError:
    raise ImproperlyConfigured(".env is not UTF-8.") from None
# Empty counts as unset, in one as in the other.
environment = {name: value for name, value in [*dotenv.items(), *os.environ.items()] if value}

# What libpq would refuse with each connection (PostgreSQL, section 34.1.2).
LIBPQ_VALUES = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "channel_binding": ("disable", "prefer", "require"),
    "target_session_attrs": ("any", "read-write", "read-only", "primary", "standby", "prefer-standby"),
}


def env(name: str, default: str = "") -> str:
    """The variable without surrounding white space."""
    value = environment.get(name, "").strip() or default
    if not value.isprintable():  # which bytes that are not UTF-8 are not, either
        raise ImproperlyConfigured(f"{name} has characters that are not printable or not UTF-8.")
    return value


def env_bool(name: str, *, default: bool) -> bool:
    value = env(name, str(default)).lower()
    if value not in ("true", "false"):
        raise ImproperlyConfigured(f"{name} must be true or false, not {value!r}.")
    return value == "true"


def env_list(name: str, default: str) -> list[str]:
    return [item.strip() for item in env(name).split(",") if item.strip()] or default.split(",")


def split_http_url(name: str, value: str) -> SplitResult:
    """The parts of an http(s) URL that has a host, a port in range, and neither credentials nor a query."""
    try:
        url = urlsplit(value)
        host = re.fullmatch(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*|[0-9a-f:.]*:[0-9a-f:.]*", url.hostname or "")
        usable = url.scheme in ("http", "https") and host and url.port != 0 and url.netloc[-1] != ":"
    except ValueError:
        usable = False
    if not usable or url.username is not None or url.query or url.fragment or re.search(r"[^!-~]|\\", value):
        raise ImproperlyConfigured(
            f"{name} must be an address such as http://localhost:3000, without credentials or query."
        )
    return url


def origin(url: SplitResult) -> str:
    """The origin as browsers and Better Auth write it: lower case, without the scheme's default port (RFC 6454)."""
    host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
    default_port = {"http": 80, "https": 443}[url.scheme]
    return f"{url.scheme}://{host}" if url.port in (None, default_port) else f"{url.scheme}://{host}:{url.port}"


def cors_origin(value: str) -> str:
    url = split_http_url("Each of CORS_ALLOWED_ORIGINS, separated by commas,", value)
    if url.path:
        raise ImproperlyConfigured(
            f"CORS_ALLOWED_ORIGINS: {value!r} has a path or a trailing slash; an origin is {origin(url)!r}."
        )
    return origin(url)


def host_name(value: str) -> str:
    address = value[1:-1] if value.startswith("[") and value.endswith("]") else ""
    try:
        usable = bool(address and ipaddress.IPv6Address(address))
    except ValueError:
        usable = False
    if not usable and value != "*" and not re.fullmatch(r"\.?[\w-]+(\.[\w-]+)*\.?", value):
        raise ImproperlyConfigured("ALLOWED_HOSTS must be host names, without scheme, port and path.")
    return value


def database(url: str) -> dj_database_url.DBConfig:
    """Django's database settings for `DATABASE_URL`. No error repeats what could be a part of the password."""
    scheme = url.partition("://")[0]
    if scheme not in ("postgres", "postgresql", "sqlite"):
        raise ImproperlyConfigured(
            "DATABASE_URL must start with postgresql:// or sqlite:///, without quotes, psql or a driver's name."
        )
    try:
        # After the host an @ is the end of a password that has a / or a ? in it.
        if "@" in "".join(urlsplit(url)[2:]) or "%00" in url:
            raise ValueError
        config = dj_database_url.parse(url, conn_max_age=600, conn_health_checks=True, disable_server_side_cursors=True)
        config.get("HOST", "").encode("idna")
    except ValueError:
        raise ImproperlyConfigured(
            "DATABASE_URL is not a valid URL; percent-encode reserved characters in the user name and the password."
        ) from None
    options = config.setdefault("OPTIONS", {})
    if scheme == "sqlite":
        if options or config.get("HOST") or config["NAME"] == ":memory:":
            raise ImproperlyConfigured(
                "DATABASE_URL: for SQLite it is sqlite:/// and the path of a file, without parameters."
            )
        path = BASE_DIR / config["NAME"]
        if path.is_dir() or not path.parent.is_dir():
            raise ImproperlyConfigured("DATABASE_URL: the SQLite file is a folder, or there is no folder to put it in.")
        config["NAME"] = str(path)
        # Readers do not wait for the writer, and writers queue up: a transaction that turned from reading to writing
        # would fail at once.
        options.update(init_command="PRAGMA journal_mode=WAL", transaction_mode="IMMEDIATE", timeout=5)
        return config
    if not 1 <= len(config["NAME"].encode()) <= 63:
        raise ImproperlyConfigured("DATABASE_URL must name a database, in 1 to 63 bytes, after the host.")
    config["ENGINE"] = "todo_backend.postgresql"
    # psycopg's own default is 130 seconds for each address.
    options.setdefault("connect_timeout", 5)
    for name, values in LIBPQ_VALUES.items():
        if name in options and options[name] not in values:
            raise ImproperlyConfigured(f"DATABASE_URL: {name} must be one of {', '.join(values)}.")
    for name in ("connect_timeout", "port"):
        if not isinstance(options.get(name, 0), int):
            raise ImproperlyConfigured(f"DATABASE_URL: {name} must be a number.")
    try:
        psycopg.conninfo.make_conninfo("", **options)
    except psycopg.ProgrammingError:
        raise ImproperlyConfigured(
            "DATABASE_URL has a parameter that PostgreSQL does not take, as Prisma's schema and pgbouncer are."
        ) from None
    return config


DEBUG = env_bool("DEBUG", default=False)
# Nothing is signed with it, so a key that changes with each start breaks nothing.
SECRET_KEY = env("SECRET_KEY") or get_random_secret_key()
ALLOWED_HOSTS = [host_name(host) for host in env_list("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")]

# Who is asking

# Not stripped: Better Auth uses the string as it is.
BETTER_AUTH_SECRET = environment.get("BETTER_AUTH_SECRET", "")
BETTER_AUTH_URL = env("BETTER_AUTH_URL")
if not BETTER_AUTH_SECRET and not BETTER_AUTH_URL:
    raise ImproperlyConfigured(
        "Set BETTER_AUTH_SECRET, BETTER_AUTH_URL or both, or no token can be verified; see .env.example."
    )
try:
    if BETTER_AUTH_SECRET:
        HMACAlgorithm(HMACAlgorithm.SHA256).prepare_key(BETTER_AUTH_SECRET)
except (InvalidKeyError, UnicodeEncodeError):
    raise ImproperlyConfigured(
        "BETTER_AUTH_SECRET must be a secret in UTF-8, not a public key or a certificate."
    ) from None

BETTER_AUTH_JWKS_URL = env("BETTER_AUTH_JWKS_URL")
BETTER_AUTH_ORIGIN = ""
if BETTER_AUTH_URL:
    url = split_http_url("BETTER_AUTH_URL", BETTER_AUTH_URL)
    BETTER_AUTH_ORIGIN = origin(url)
    # Better Auth's own rule: a base URL with a path is the address of its API.
    BETTER_AUTH_JWKS_URL = BETTER_AUTH_JWKS_URL or f"{BETTER_AUTH_ORIGIN}{url.path.rstrip('/') or '/api/auth'}/jwks"
    split_http_url("BETTER_AUTH_JWKS_URL", BETTER_AUTH_JWKS_URL)
elif BETTER_AUTH_JWKS_URL:
    raise ImproperlyConfigured("BETTER_AUTH_JWKS_URL needs BETTER_AUTH_URL, whose origin tokens name.")
BETTER_AUTH_ISSUER = env("BETTER_AUTH_ISSUER", BETTER_AUTH_ORIGIN)
BETTER_AUTH_AUDIENCE = env("BETTER_AUTH_AUDIENCE", BETTER_AUTH_ORIGIN)

cors_origins = env_list("CORS_ALLOWED_ORIGINS", "http://localhost:3000")
CORS_ALLOW_ALL_ORIGINS = "*" in cors_origins
CORS_ALLOWED_ORIGINS = [cors_origin(value) for value in cors_origins if value != "*"]
CORS_ALLOW_CREDENTIALS = True
CORS_ALLOW_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
CORS_ALLOW_HEADERS = ["authorization", "content-type", "idempotency-key", "x-request-id"]
CORS_EXPOSE_HEADERS = ["Location", "Retry-After", "WWW-Authenticate", "X-Request-ID"]
CORS_PREFLIGHT_MAX_AGE = 86400

# Django

INSTALLED_APPS = [
    # Simple JWT imports the models of these two; they get no tables (DATABASE_ROUTERS, MIGRATION_MODULES).
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "corsheaders",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "todo_backend",
    "tasks",
]
MIDDLEWARE = [
    "todo_backend.log.log_request",
    "todo_backend.middleware.no_store",
    "todo_backend.middleware.HostFirstCorsMiddleware",
    "todo_backend.middleware.json_errors",
    "django.middleware.security.SecurityMiddleware",
    "todo_backend.middleware.optional_trailing_slash",
    "todo_backend.middleware.allowed_host",
    "todo_backend.middleware.database_timeout",
    "whitenoise.middleware.WhiteNoiseMiddleware",
]
ROOT_URLCONF = "todo_backend.urls"
WSGI_APPLICATION = "todo_backend.wsgi.application"
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
APPEND_SLASH = False
USE_I18N = False
TIME_ZONE = "UTC"

DATABASES = {"default": database(env("DATABASE_URL", "sqlite:///db.sqlite3"))}
DATABASE_ROUTERS = ["todo_backend.database_router.NoAuthTables"]
# The router alone would still record their migrations in django_migrations.
MIGRATION_MODULES = {"auth": None, "contenttypes": None}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# How many threads of the server may wait for the database at once: all but one, which answers probes when it hangs.
# Granian takes the number of its threads from the same variable.
try:
    DATABASE_SLOTS = max(1, int(os.environ.get("GRANIAN_BLOCKING_THREADS") or 16) - 1)
except ValueError:
    raise ImproperlyConfigured("GRANIAN_BLOCKING_THREADS must be a number.") from None
# Seconds for each statement of a request, the time to cancel it included. A request is one statement. Before it, the
# request may have to check its connection (0.6 s) and to connect anew, which takes 5 s, or up to 4 s where a pooler
# answers and lets `SET TIME ZONE` wait. So a request ends within 10 s while the database hangs.
DATABASE_TIMEOUT = 4

# Bytes of a request's body; todo_backend.bodies.BodyFits answers 413 beyond it.
DATA_UPLOAD_MAX_MEMORY_SIZE = 64 * 1024
# Unknown query parameters are ignored, however many; the server bounds the length of the URL.
DATA_UPLOAD_MAX_NUMBER_FIELDS = None

STATIC_URL = "/static/"
# The Swagger page's assets straight from their package, scanned once at the start, in development as in production.
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = False

SILENCED_SYSTEM_CHECKS = [
    "security.W002",  # X-Frame-Options: no page here acts for a user by cookie, so there is nothing to click-jack
    "security.W003",  # CSRF: a browser never adds a bearer token by itself
    "security.W004",  # HSTS: the proxy that ends TLS sends it
    "security.W008",  # redirect to HTTPS: the same proxy's, and health probes come over plain HTTP
    "security.W018",  # DEBUG: todo_backend.E005 says it
]

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["todo_backend.authentication.BetterAuthAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": [
        "rest_framework.permissions.IsAuthenticated",
        "todo_backend.permissions.IsUserInPath",
        "todo_backend.bodies.BodyFits",
    ],
    "DEFAULT_PARSER_CLASSES": ["todo_backend.bodies.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "todo_backend.bodies.JSONNegotiation",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    # drf-spectacular would put any `?version=` into the document and into a header.
    "ALLOWED_VERSIONS": [None],
    "EXCEPTION_HANDLER": "todo_backend.exceptions.exception_handler",
    # There is no user model to make an anonymous user of.
    "UNAUTHENTICATED_USER": None,
    # Always six digits: ISO 8601 as Python writes it drops a fraction of zero.
    "DATETIME_FORMAT": "%Y-%m-%dT%H:%M:%S.%fZ",
}
SIMPLE_JWT = {"USER_ID_CLAIM": "sub"}
SPECTACULAR_SETTINGS = {
    "TITLE": "todo_backend",
    "VERSION": "1.0.0",
    "DESCRIPTION": (BASE_DIR / "todo_backend" / "openapi.md").read_text(encoding="utf-8"),
    "LICENSE": {"name": "MIT", "url": "https://opensource.org/license/mit"},
    # Where the document is.
    "SERVERS": [{"url": "/"}],
    "TAGS": [{"name": "tasks", "description": "One user's tasks."}],
    "SCHEMA_PATH_PREFIX": "/api",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_AUTHENTICATION": [],
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "DEFAULT_GENERATOR_CLASS": "todo_backend.openapi.SchemaGenerator",
    "PREPROCESSING_HOOKS": ["todo_backend.openapi.without_user_paths"],
    "POSTPROCESSING_HOOKS": ["drf_spectacular.hooks.postprocess_schema_enums", "todo_backend.openapi.complete"],
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "PATH_CONVERTER_OVERRIDES": {"task_id": {"type": "integer", "format": "int64", "minimum": 1}},
    # What is sent has no id and no times.
    "COMPONENT_SPLIT_REQUEST": True,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    # In JavaScript, because only there can drf-spectacular's X-CSRFTOKEN be kept out of the requests and curl lines.
    "SWAGGER_UI_SETTINGS": "{deepLinking: true, requestInterceptor: (request) => request}",
}

LOG_LEVEL = env("LOG_LEVEL", "INFO").upper()
if LOG_LEVEL not in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"):
    raise ImproperlyConfigured(f"LOG_LEVEL must be DEBUG, INFO, WARNING, ERROR or CRITICAL, not {LOG_LEVEL!r}.")
LOG_FORMAT = env("LOG_FORMAT", "text").lower()
if LOG_FORMAT not in ("text", "json"):
    raise ImproperlyConfigured(f"LOG_FORMAT must be text or json, not {LOG_FORMAT!r}.")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {
        "request_id": {"()": "todo_backend.log.RequestIdFilter"},
        "database_error": {"()": "todo_backend.log.DatabaseErrorFilter"},
        "traceback": {"()": "django.utils.log.CallbackFilter", "callback": lambda record: record.exc_info},
        "no_request_line": {
            "()": "django.utils.log.CallbackFilter",
            "callback": lambda record: record.msg != '"%s" %s %s',  # http.server's
        },
    },
    "formatters": {
        "text": {
            "()": "logging.Formatter",
            "fmt": "%(asctime)s %(levelname)s %(name)s %(request_id)s: %(message)s",
            "defaults": {"request_id": "-"},
        },
        "json": {
            "()": "pythonjsonlogger.json.JsonFormatter",
            "fmt": "{levelname}{name}{message}",
            "style": "{",
            "timestamp": True,
            # A request in words has its query.
            "reserved_attrs": [*RESERVED_ATTRS, "request", "server_time"],
            "rename_fields": {"levelname": "level", "name": "logger"},
        },
    },
    "handlers": {
        "console": {
            "class": "logging.StreamHandler",
            "filters": ["request_id", "database_error"],
            "formatter": LOG_FORMAT,
        },
    },
    "root": {"handlers": ["console"], "level": LOG_LEVEL},
    # Django's own handlers would print a second time with DEBUG, and mail without it.
    "loggers": {
        "django": {"handlers": [], "level": "NOTSET"},
        # At DEBUG they would write down every statement, and what a page of an error shows, with what users wrote.
        "django.db.backends": {"level": "INFO"},
        "django.template": {"level": "INFO"},
        # These two have a line of their own for a request, runserver's with the query.
        "django.request": {"filters": ["traceback"]},
        "django.server": {"handlers": [], "level": "NOTSET", "propagate": True, "filters": ["no_request_line"]},
    },
}
