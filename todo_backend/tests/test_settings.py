"""Each variable of the environment, through `manage.py check` as an administrator would try it."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from dotenv import dotenv_values

from testing.processes import SECRET, free_port, manage, run, serve_command
from todo_backend import settings as project_settings
from todo_backend.checks import BETTER_AUTH_DEFAULT_SECRET, EXAMPLE_SECRET

STRONG = {"DATABASE_URL": "postgresql://u:pw@127.0.0.1/todo"}
PASSWORD = "pass-word"
URL = {"BETTER_AUTH_URL": "http://localhost:3000"}

UNUSABLE: dict[str, tuple[str, dict[str, str]]] = {
    "a DEBUG of maybe": ("DEBUG", {"DEBUG": "maybe"}),
    "a DEBUG of 1": ("DEBUG", {"DEBUG": "1"}),
    "an unknown LOG_LEVEL": ("LOG_LEVEL", {"LOG_LEVEL": "LOUD"}),
    "threads that are no number": ("GRANIAN_BLOCKING_THREADS", {"GRANIAN_BLOCKING_THREADS": "many"}),
    "an unknown LOG_FORMAT": ("LOG_FORMAT", {"LOG_FORMAT": "xml"}),
    "a secret that is a public key": (
        "BETTER_AUTH_SECRET",
        {"BETTER_AUTH_SECRET": "-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----"},
    ),
    "a URL without scheme": ("BETTER_AUTH_URL", {"BETTER_AUTH_URL": "localhost:3000"}),
    "a URL of another scheme": ("BETTER_AUTH_URL", {"BETTER_AUTH_URL": "ftp://localhost"}),
    "a URL without host": ("BETTER_AUTH_URL", {"BETTER_AUTH_URL": "http://"}),
    "a URL with a bad port": ("BETTER_AUTH_URL", {"BETTER_AUTH_URL": "http://localhost:99999"}),
    "a URL with a password": ("BETTER_AUTH_URL", {"BETTER_AUTH_URL": f"http://u:{PASSWORD}@localhost"}),
    "a URL beyond ASCII": ("BETTER_AUTH_URL", {"BETTER_AUTH_URL": "http://localhost:3000/\u00fc"}),
    "a URL with a space": ("BETTER_AUTH_URL", {"BETTER_AUTH_URL": "http://local host"}),
    "a key address that is none": ("BETTER_AUTH_JWKS_URL", {**URL, "BETTER_AUTH_JWKS_URL": "file:///etc/passwd"}),
    "a key address without a URL": ("BETTER_AUTH_URL", {"BETTER_AUTH_JWKS_URL": "http://localhost:3000/jwks"}),
    "an origin with a slash": ("CORS_ALLOWED_ORIGINS", {"CORS_ALLOWED_ORIGINS": "http://a,http://localhost:3000/"}),
    "an origin with a path": ("CORS_ALLOWED_ORIGINS", {"CORS_ALLOWED_ORIGINS": "http://localhost:3000/app"}),
    "an origin without scheme": ("CORS_ALLOWED_ORIGINS", {"CORS_ALLOWED_ORIGINS": "localhost:3000"}),
    "an origin beyond ASCII": ("CORS_ALLOWED_ORIGINS", {"CORS_ALLOWED_ORIGINS": "http://b\u00fccher.de"}),
    "an origin of markup": ("CORS_ALLOWED_ORIGINS", {"CORS_ALLOWED_ORIGINS": "http://x<y"}),
    "an origin with a wildcard": ("CORS_ALLOWED_ORIGINS", {"CORS_ALLOWED_ORIGINS": "https://*.example.com"}),
    "a host with a scheme": ("ALLOWED_HOSTS", {"ALLOWED_HOSTS": "https://api.example.com"}),
    "a host with a password": ("ALLOWED_HOSTS", {"ALLOWED_HOSTS": f"https://u:{PASSWORD}@api.example.com"}),
    "a host with a port": ("ALLOWED_HOSTS", {"ALLOWED_HOSTS": "localhost,api.example.com:8000"}),
    "a host with a path": ("ALLOWED_HOSTS", {"ALLOWED_HOSTS": "api.example.com/"}),
    "a broken IPv6 address": ("ALLOWED_HOSTS", {"ALLOWED_HOSTS": "[::zz]"}),
    **{
        f"DATABASE_URL {url}": ("DATABASE_URL", {"DATABASE_URL": url})
        for url in [
            f'"postgresql://u:{PASSWORD}@h/d"',
            f"psql 'postgresql://u:{PASSWORD}@h/d'",
            f"mysql://u:{PASSWORD}@h/d",
            f"postgresql+asyncpg://u:{PASSWORD}@h/d",
            f"u:{PASSWORD}@h/d",
            f"postgresql://u:{PASSWORD}/x@h/d",
            f"postgresql://u:{PASSWORD}@[h/d",
            f"postgresql://u:{PASSWORD}@h:port/d",
            f"postgresql://u:{PASSWORD}@h",
            f"postgresql://u:{PASSWORD}@h/",
            f"postgresql://u:{PASSWORD}@h/d?schema=public",
            f"postgresql://u:{PASSWORD}@h/d?sslmode=require&pgbouncer=true",
            f"postgresql://u:{PASSWORD}@h/d?conn_max_age=60",
            f"postgresql://h/d?user=u&password=abc&{PASSWORD}=1",
            f"postgresql://u:{PASSWORD}@h/d?connect_timeout=abc",
            f"postgresql://u:{PASSWORD}@h/d?sslmode=required",
            f"postgresql://u:{PASSWORD}@h/d?channel_binding=yes",
            f"postgresql://u:12/b?{PASSWORD}=1@h/d",
            f"postgresql://u:12#{PASSWORD}@h/d",
            "sqlite://:memory:",
            "sqlite://",
            "sqlite:///",
            "sqlite://host/x",
            "sqlite:///x?timeout=20",
            "sqlite:///.",
            "sqlite:////no/such/folder/todo.sqlite3",
            "sqlite:///a%00b",
            f"postgresql://u:{PASSWORD}@a..b/d",
            f"postgresql://u:{PASSWORD}@{'h' * 64}/d",
            f"postgresql://u:{PASSWORD}@h/{'d' * 64}",
            f"postgresql://u:{PASSWORD}@h/d%00",
            f"postgresql://u:{PASSWORD}\udcff@h/d",
            f"postgresql://u:{PASSWORD}@h/d?port=abc",
            f"postgresql://u:{PASSWORD}@h/d?target_session_attrs=bogus",
            "db.sqlite3",
        ]
    },
}


@pytest.mark.parametrize(("name", "variables"), UNUSABLE.values(), ids=UNUSABLE.keys())
def test_a_value_that_cannot_be_used_stops_the_process_with_one_line_that_names_the_variable(
    name: str, variables: dict[str, str]
) -> None:
    result = manage("check", **variables)
    assert result.returncode == 1
    assert result.stdout == ""
    [line] = result.stderr.splitlines()
    assert line.startswith("Configuration error: ")
    assert name in line
    assert PASSWORD not in line


@pytest.mark.parametrize("variables", [{}, {"BETTER_AUTH_URL": " "}])
def test_without_secret_and_url_it_refuses_to_start_and_names_both(variables: dict[str, str]) -> None:
    result = manage("check", **{"BETTER_AUTH_SECRET": "", **variables})
    assert result.returncode == 1
    assert "BETTER_AUTH_SECRET" in result.stderr
    assert "BETTER_AUTH_URL" in result.stderr


def test_the_server_stops_with_one_line_that_names_the_variable_too() -> None:
    result = run(serve_command(free_port()), {"DEBUG": "maybe"})
    assert result.returncode == 1
    # The line of the worker, and of the one that takes its place; then Granian gives up.
    assert result.stderr.splitlines() == ["Configuration error: DEBUG must be true or false, not 'maybe'."] * 2


USABLE: list[dict[str, str]] = [
    {},
    {"BETTER_AUTH_SECRET": "", "BETTER_AUTH_URL": "https://app.example.com/auth"},
    {"DEBUG": "", "LOG_LEVEL": "", "LOG_FORMAT": "", "ALLOWED_HOSTS": "", "CORS_ALLOWED_ORIGINS": "", "SECRET_KEY": ""},
    {"DEBUG": "FALSE", "LOG_LEVEL": "warning"},
    {"ALLOWED_HOSTS": "api.example.com, .example.com ,[::1],10.0.0.1"},
    {"CORS_ALLOWED_ORIGINS": "https://a.example.com, http://[::1]:3000 ,HTTP://B.example.com:80"},
    {"DATABASE_URL": "postgres://u:p%40%2F%3A%23@ep-x-pooler.neon.tech/d?sslmode=require&channel_binding=require"},
    {"DATABASE_URL": "postgresql:///d"},
]


@pytest.mark.parametrize("variables", USABLE, ids=str)
def test_a_good_value_passes_the_deployment_check(variables: dict[str, str]) -> None:
    result = manage("check", "--deploy", "--fail-level", "WARNING", **{**STRONG, **variables})
    assert result.returncode == 0, result.stderr


WEAK: list[tuple[str, dict[str, str]]] = [
    ("001", {"BETTER_AUTH_SECRET": "x" * 31}),
    ("001", {"BETTER_AUTH_SECRET": "ü" * 15}),
    ("002", {"BETTER_AUTH_SECRET": SECRET + " "}),
    ("002", {"BETTER_AUTH_SECRET": "\t" + SECRET}),
    ("003", {"BETTER_AUTH_SECRET": BETTER_AUTH_DEFAULT_SECRET}),
    ("004", {"BETTER_AUTH_SECRET": EXAMPLE_SECRET}),
    ("005", {"DEBUG": "True"}),
    ("006", {"ALLOWED_HOSTS": "localhost,*"}),
    ("007", {"CORS_ALLOWED_ORIGINS": "*"}),
    ("008", {"DATABASE_URL": ""}),
    ("008", {"DATABASE_URL": "sqlite:///x.sqlite3"}),
]


@pytest.mark.parametrize(("number", "variables"), WEAK)
def test_a_weak_value_is_a_warning_and_an_error_of_the_deployment_check(number: str, variables: dict[str, str]) -> None:
    everyday = manage("check", **{**STRONG, **variables})
    assert everyday.returncode == 0
    assert [line for line in everyday.stderr.splitlines() if "todo_backend." in line] == [
        line for line in everyday.stderr.splitlines() if f"todo_backend.W{number}" in line
    ]
    assert f"todo_backend.W{number}" in everyday.stderr
    deployment = manage("check", "--deploy", **{**STRONG, **variables})
    assert deployment.returncode == 1
    assert f"todo_backend.E{number}" in deployment.stderr
    for result in (everyday, deployment):
        assert variables.get("BETTER_AUTH_SECRET", SECRET).strip() not in result.stderr


def test_better_auths_default_secret_is_known_by_its_published_value() -> None:
    assert BETTER_AUTH_DEFAULT_SECRET == "better-auth-secret-12345678901234567890"


def test_env_example_lists_every_variable_that_the_settings_read() -> None:
    source = (project_settings.BASE_DIR / "todo_backend" / "settings.py").read_text()
    example = dotenv_values(project_settings.BASE_DIR / ".env.example")
    read = re.findall(r'(?:env|env_bool|env_list|environment\.get)\("([A-Z_]+)"', source)
    assert sorted(read) == sorted(example)
    assert example["BETTER_AUTH_SECRET"] == EXAMPLE_SECRET
    assert example["BETTER_AUTH_URL"] == "http://localhost:3000"


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("http://localhost:3000", "http://localhost:3000"),
        ("https://App.Example.com/api/auth/", "https://app.example.com"),
        ("https://app.example.com:443", "https://app.example.com"),
        ("http://app.example.com:80/x", "http://app.example.com"),
        ("http://app.example.com:443", "http://app.example.com:443"),
        ("http://[::1]:3000", "http://[::1]:3000"),
    ],
)
def test_the_origin_is_written_as_better_auth_writes_it(url: str, origin: str) -> None:
    assert project_settings.origin(project_settings.split_http_url("BETTER_AUTH_URL", url)) == origin


def setting(name: str, **variables: str) -> Any:
    """What becomes of one of Django's settings, in a process with those variables."""
    command = f"import json; from django.conf import settings; print(json.dumps(settings.{name}))"
    result = manage("shell", "--verbosity", "0", "--command", command, **variables)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


SETTINGS: list[tuple[str, Any, dict[str, str]]] = [
    ("BETTER_AUTH_SECRET", " ${x} ", {"BETTER_AUTH_SECRET": " ${x} "}),
    ("BETTER_AUTH_JWKS_URL", "http://localhost:3000/api/auth/jwks", URL),
    ("BETTER_AUTH_JWKS_URL", "http://localhost:3000/api/auth/jwks", {"BETTER_AUTH_URL": "http://localhost:3000/"}),
    ("BETTER_AUTH_JWKS_URL", "https://example.com/auth/v1/jwks", {"BETTER_AUTH_URL": "https://Example.com/auth/v1"}),
    ("BETTER_AUTH_JWKS_URL", "https://example.com/auth/v1/jwks", {"BETTER_AUTH_URL": "https://example.com/auth/v1/"}),
    ("BETTER_AUTH_JWKS_URL", "http://frontend/keys", {**URL, "BETTER_AUTH_JWKS_URL": "http://frontend/keys"}),
    ("BETTER_AUTH_ISSUER", "https://example.com", {"BETTER_AUTH_URL": "https://example.com/auth"}),
    ("BETTER_AUTH_AUDIENCE", "https://example.com", {"BETTER_AUTH_URL": "https://example.com/auth"}),
    ("BETTER_AUTH_ISSUER", "other", {**URL, "BETTER_AUTH_ISSUER": "other"}),
    ("BETTER_AUTH_AUDIENCE", "other", {**URL, "BETTER_AUTH_AUDIENCE": "other"}),
    ("BETTER_AUTH_ISSUER", "", {}),
    ("CORS_ALLOWED_ORIGINS", ["http://localhost:3000"], {}),
    ("CORS_ALLOWED_ORIGINS", ["http://localhost:3000"], {"CORS_ALLOWED_ORIGINS": " , "}),
    (
        "CORS_ALLOWED_ORIGINS",
        ["https://a.example.com", "http://[::1]:3000", "http://b.example.com"],
        {"CORS_ALLOWED_ORIGINS": "https://a.example.com, http://[::1]:3000 ,HTTP://B.example.com:80"},
    ),
    ("CORS_ALLOW_ALL_ORIGINS", False, {}),
    ("CORS_ALLOW_ALL_ORIGINS", True, {"CORS_ALLOWED_ORIGINS": "*"}),
    ("ALLOWED_HOSTS", ["localhost", "127.0.0.1", "[::1]"], {}),
    ("ALLOWED_HOSTS", ["localhost", "127.0.0.1", "[::1]"], {"ALLOWED_HOSTS": ","}),
    ("ALLOWED_HOSTS", ["api.example.com", ".example.org"], {"ALLOWED_HOSTS": "api.example.com, .example.org"}),
    ("DEBUG", False, {}),
    ("DEBUG", True, {"DEBUG": "TRUE"}),
    ("DEBUG", False, {"DEBUG": "False"}),
    ("SECRET_KEY", "x", {"SECRET_KEY": "x"}),
    ("LOGGING['root']['level']", "INFO", {}),
    ("LOGGING['root']['level']", "WARNING", {"LOG_LEVEL": "warning"}),
    ("DATABASE_SLOTS", 15, {}),
    ("DATABASE_SLOTS", 3, {"GRANIAN_BLOCKING_THREADS": "4"}),
    ("DATABASE_SLOTS", 1, {"GRANIAN_BLOCKING_THREADS": "1"}),
    ("LOGGING['handlers']['console']['formatter']", "text", {}),
    ("LOGGING['handlers']['console']['formatter']", "json", {"LOG_FORMAT": "JSON"}),
    ("DATABASES['default']['ENGINE']", "django.db.backends.sqlite3", {}),
    ("DATABASES['default']['NAME']", str(project_settings.BASE_DIR / "db.sqlite3"), {}),
    ("DATABASES['default']['ENGINE']", "todo_backend.postgresql", STRONG),
]


@pytest.mark.parametrize(("name", "value", "variables"), SETTINGS)
def test_what_a_variable_sets(name: str, value: Any, variables: dict[str, str]) -> None:
    assert setting(name, **variables) == value


def test_the_secret_key_is_random_for_each_process() -> None:
    first, second = setting("SECRET_KEY"), setting("SECRET_KEY")
    assert first != second
    assert len(first) >= 50


@pytest.fixture
def copied_project(tmp_path: Path) -> Path:
    """The project in another folder, where it may have a `.env`."""
    for name in ["manage.py", ".env.example", "todo_backend", "tasks"]:
        source = project_settings.BASE_DIR / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tmp_path / name)
    return tmp_path


def check_in(project: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    variables = {"PYTHON_DOTENV_DISABLED": "", "BETTER_AUTH_SECRET": "", **variables}
    return run([sys.executable, "manage.py", "check"], variables, folder=project)


def test_env_example_copied_to_env_works_with_warnings(copied_project: Path) -> None:
    shutil.copy(copied_project / ".env.example", copied_project / ".env")
    result = check_in(copied_project)
    assert result.returncode == 0
    assert "todo_backend.W004" in result.stderr
    assert "todo_backend.W008" in result.stderr


def test_env_is_read_raw_and_the_environment_wins_unless_empty(copied_project: Path) -> None:
    (copied_project / ".env").write_text("BETTER_AUTH_SECRET=$x-${HOME}-and-this-makes-it-32-bytes\nDEBUG=true\n")
    result = check_in(copied_project, HOME="/")
    assert "W005" in result.stderr
    assert "W001" not in result.stderr
    assert "W005" not in check_in(copied_project, DEBUG="false").stderr
    assert "W005" in check_in(copied_project, DEBUG="").stderr
    assert "W001" in check_in(copied_project, BETTER_AUTH_SECRET="short").stderr


def test_an_env_that_is_not_utf_8_is_one_line(copied_project: Path) -> None:
    (copied_project / ".env").write_bytes(b"BETTER_AUTH_SECRET=\xff\n")
    result = check_in(copied_project)
    assert (result.returncode, result.stderr) == (1, "Configuration error: .env is not UTF-8.\n")


def test_a_neon_url_becomes_djangos_settings() -> None:
    config: Any = project_settings.database(
        "postgresql://owner:p%40ss%2Fw%3A%25@ep-x-pooler.eu.neon.tech/neondb?sslmode=require&channel_binding=require"
    )
    assert config == {
        "ENGINE": "todo_backend.postgresql",
        "USER": "owner",
        "PASSWORD": "p@ss/w:%",
        "HOST": "ep-x-pooler.eu.neon.tech",
        "PORT": "",
        "NAME": "neondb",
        "OPTIONS": {"sslmode": "require", "channel_binding": "require", "connect_timeout": 5},
        "CONN_MAX_AGE": 600,
        "CONN_HEALTH_CHECKS": True,
        "DISABLE_SERVER_SIDE_CURSORS": True,
    }
    assert project_settings.database("postgresql://h/d?connect_timeout=9")["OPTIONS"]["connect_timeout"] == 9


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("sqlite:///db.sqlite3", str(project_settings.BASE_DIR / "db.sqlite3")),
        ("sqlite:////tmp/todo.sqlite3", "/tmp/todo.sqlite3"),
        ("sqlite:///a%20b.sqlite3", str(project_settings.BASE_DIR / "a b.sqlite3")),
    ],
)
def test_a_sqlite_path_is_relative_to_the_project(url: str, name: str) -> None:
    config: Any = project_settings.database(url)
    assert config["NAME"] == name
    assert config["OPTIONS"]["transaction_mode"] == "IMMEDIATE"
