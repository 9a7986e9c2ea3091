"""Django's settings; `todo_backend.environment` reads what depends on the environment.

A value that cannot be used raises `ImproperlyConfigured` with the variable's name. `todo_backend.checks` reports values
that work but are insecure.
"""

import os
import tomllib
from pathlib import Path

from django.core.management.utils import get_random_secret_key

from todo_backend import environment
from todo_backend.log import logging_config

BASE_DIR = Path(__file__).resolve().parent.parent

env = environment.read(os.environ, BASE_DIR / ".env")

# A new key with each start does no harm, because nothing is signed with it.
SECRET_KEY = environment.text(env, "SECRET_KEY") or get_random_secret_key()
DEBUG = environment.boolean(env, "DEBUG", default=False)
ALLOWED_HOSTS = environment.allowed_hosts(env)
SERVER = environment.server(env)
TASKS_PER_USER = environment.number(env, "TASKS_PER_USER", 10_000, maximum=999_999_999)

INSTALLED_APPS = [
    # Simple JWT imports the models of these two; they get no tables (DATABASE_ROUTERS, MIGRATION_MODULES).
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "corsheaders",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "todo_backend",
    "tasks",
    # After todo_backend, which has its own `runserver`.
    "django.contrib.staticfiles",
]
MIDDLEWARE = [
    "todo_backend.log.log_request",
    "todo_backend.middleware.api_conventions",
    "todo_backend.middleware.HostAndCorsMiddleware",
    "django.middleware.security.SecurityMiddleware",
]
ROOT_URLCONF = "todo_backend.urls"
WSGI_APPLICATION = "todo_backend.wsgi.application"
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
APPEND_SLASH = False

DATABASES = {"default": environment.database(env, BASE_DIR)}
DATABASE_ROUTERS = ["todo_backend.database_router.NoAuthTables"]
# The router alone would still record their migrations in django_migrations.
MIGRATION_MODULES = {"auth": None, "contenttypes": None}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
# The number of threads that may wait for the database at the same time. One thread stays free for health probes.
DATABASE_SLOTS = max(1, SERVER.threads - 1)
# Seconds for each statement of a request, its cancellation included. Together with the check of the connection
# (CHECK_TIMEOUT) and a new connection (`connect_timeout`), a request ends within 10 s while the database hangs.
DATABASE_TIMEOUT = 4

USE_I18N = False
TIME_ZONE = "UTC"

STATIC_URL = "/static/"
# For `collectstatic`, which platforms run by themselves. Nothing is served from this folder.
STORAGES = {
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage",
        "OPTIONS": {"location": BASE_DIR / "staticfiles"},
    },
}

# Bytes of a request's body; a larger body is answered with 413 by todo_backend.bodies.BodyLengthAllowed.
DATA_UPLOAD_MAX_MEMORY_SIZE = 64 * 1024
# Unknown query parameters are ignored, however many; todo_backend.wsgi bounds the query.
DATA_UPLOAD_MAX_NUMBER_FIELDS = None

SILENCED_SYSTEM_CHECKS = [
    "security.W002",  # X-Frame-Options: the Content-Security-Policy of /api/docs, the only page, forbids frames
    "security.W003",  # CSRF: a browser never adds a bearer token by itself
    "security.W004",  # HSTS: the proxy that ends TLS sends it
    "security.W008",  # redirect to HTTPS: the proxy does that, and health probes come over plain HTTP
    "security.W018",  # DEBUG: todo_backend.E005 reports it
]

better_auth = environment.better_auth(env)
BETTER_AUTH_SECRET = better_auth.secret
BETTER_AUTH_URL = better_auth.url
BETTER_AUTH_JWKS_URL = better_auth.jwks_url
BETTER_AUTH_ISSUER = better_auth.issuer
BETTER_AUTH_AUDIENCE = better_auth.audience

CORS_ORIGINS = environment.cors_origins(env)
CORS_ALLOW_ALL_ORIGINS = "*" in CORS_ORIGINS
CORS_ALLOWED_ORIGINS = [origin for origin in CORS_ORIGINS if "*" not in origin]
CORS_ALLOWED_ORIGIN_REGEXES = environment.origin_regexes(CORS_ORIGINS)
CORS_ALLOW_CREDENTIALS = not CORS_ALLOW_ALL_ORIGINS
CORS_ALLOW_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
# Tracing and HTTP libraries add the headers after the first four.
CORS_ALLOW_HEADERS = [
    *("authorization", "content-type", "idempotency-key", "x-request-id", "traceparent", "tracestate", "baggage"),
    *("sentry-trace", "x-requested-with", "cache-control", "pragma", "ngrok-skip-browser-warning"),
]
CORS_EXPOSE_HEADERS = ["Location", "Retry-After", "WWW-Authenticate", "X-Request-ID"]
CORS_PREFLIGHT_MAX_AGE = 86400

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["todo_backend.authentication.BetterAuthAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": [
        "rest_framework.permissions.IsAuthenticated",
        "todo_backend.permissions.IsUserInPath",
        "todo_backend.bodies.BodyLengthAllowed",
    ],
    "DEFAULT_PARSER_CLASSES": ["todo_backend.bodies.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "todo_backend.bodies.JSONNegotiation",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "todo_backend.exceptions.exception_handler",
    # There is no user model, and so no anonymous user.
    "UNAUTHENTICATED_USER": None,
    # Always six digits. Python's own ISO 8601 omits a fraction of zero.
    "DATETIME_FORMAT": "%Y-%m-%dT%H:%M:%S.%fZ",
}
SIMPLE_JWT = {"USER_ID_CLAIM": "sub"}
SPECTACULAR_SETTINGS = {
    "TITLE": "todo_backend",
    "VERSION": tomllib.loads((BASE_DIR / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"],
    "DESCRIPTION": (BASE_DIR / "todo_backend" / "openapi.md").read_text(encoding="utf-8"),
    "LICENSE": {"name": "MIT", "url": "https://opensource.org/license/mit"},
    # The document is for the server that sends it.
    "SERVERS": [{"url": "/"}],
    "TAGS": [{"name": "tasks", "description": "One user's tasks."}],
    "SCHEMA_PATH_PREFIX": "/api",
    "PREPROCESSING_HOOKS": ["todo_backend.openapi.without_user_paths"],
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "tasks.openapi.refine_schemas",
        "todo_backend.openapi.add_errors_and_headers",
        "tasks.openapi.name_requests",
    ],
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "PATH_CONVERTER_OVERRIDES": {"task_id": {"type": "integer", "minimum": 1, "maximum": 2**53 - 1}},
    # Requests get schemas of their own, without the read-only fields.
    "COMPONENT_SPLIT_REQUEST": True,
}

LOGGING = logging_config(
    level=environment.choice(env, "LOG_LEVEL", ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"), "INFO"),
    formatter=environment.choice(env, "LOG_FORMAT", ("text", "json"), "text"),
)
