"""Each variable of the environment, through `manage.py check` as an administrator would try it."""

import re
import subprocess
from typing import Any

import pytest
from dotenv import dotenv_values

from todo_backend import settings as project_settings
from todo_backend.checks import BETTER_AUTH_DEFAULT_SECRET, EXAMPLE_SECRET
from todo_backend.tests.processes import SECRET, environment, free_port, manage, serve_command

STRONG = {"DATABASE_URL": "postgresql://u:pw@127.0.0.1/todo"}
PASSWORD = "pass-word"
URL = {"BETTER_AUTH_URL": "http://localhost:3000"}

UNUSABLE: dict[str, tuple[str, dict[str, str]]] = {
    "a DEBUG of maybe": ("DEBUG", {"DEBUG": "maybe"}),
    "a DEBUG of 1": ("DEBUG", {"DEBUG": "1"}),
    "an unknown LOG_LEVEL": ("LOG_LEVEL", {"LOG_LEVEL": "LOUD"}),
    "a secret that is a public key": (
        "BETTER_AUTH_SECRET",
        {"BETTER_AUTH_SECRET": "-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----"},
    ),
    "a URL without scheme": ("BETTER_AUTH_URL", {"BETTER_AUTH_URL": "localhost:3000"}),
    "a URL of another scheme": ("BETTER_AUTH_URL", {"BETTER_AUTH_URL": "ftp://localhost"}),
    "a URL without host": ("BETTER_AUTH_URL", {"BETTER_AUTH_URL": "http://"}),
    "a URL with a bad port": ("BETTER_AUTH_URL", {"BETTER_AUTH_URL": "http://localhost:99999"}),
    "a URL with a password": ("BETTER_AUTH_URL", {"BETTER_AUTH_URL": f"http://u:{PASSWORD}@localhost"}),
    "a URL with a space": ("BETTER_AUTH_URL", {"BETTER_AUTH_URL": "http://local host"}),
    "a key address that is none": ("BETTER_AUTH_JWKS_URL", {**URL, "BETTER_AUTH_JWKS_URL": "file:///etc/passwd"}),
    "a key address without a URL": ("BETTER_AUTH_URL", {"BETTER_AUTH_JWKS_URL": "http://localhost:3000/jwks"}),
    "an origin with a slash": ("CORS_ALLOWED_ORIGINS", {"CORS_ALLOWED_ORIGINS": "http://a,http://localhost:3000/"}),
    "an origin with a path": ("CORS_ALLOWED_ORIGINS", {"CORS_ALLOWED_ORIGINS": "http://localhost:3000/app"}),
    "an origin without scheme": ("CORS_ALLOWED_ORIGINS", {"CORS_ALLOWED_ORIGINS": "localhost:3000"}),
    "an origin with a wildcard": ("CORS_ALLOWED_ORIGINS", {"CORS_ALLOWED_ORIGINS": "https://*.example.com"}),
    "a host with a scheme": ("ALLOWED_HOSTS", {"ALLOWED_HOSTS": "https://api.example.com"}),
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
            "sqlite://:memory:",
            "sqlite://",
            "sqlite:///",
            "sqlite://host/x",
            "sqlite:///x?timeout=20",
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
    command = serve_command(free_port())
    result = subprocess.run(
        command,
        cwd=project_settings.BASE_DIR,
        env=environment(DEBUG="maybe"),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert result.returncode == 1
    assert result.stderr.splitlines() == ["Configuration error: DEBUG must be true or false, not 'maybe'."]


USABLE: list[dict[str, str]] = [
    {},
    {"BETTER_AUTH_SECRET": "", "BETTER_AUTH_URL": "https://app.example.com/auth"},
    {"DEBUG": "", "LOG_LEVEL": "", "ALLOWED_HOSTS": "", "CORS_ALLOWED_ORIGINS": "", "SECRET_KEY": ""},
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
    read = re.findall(r'(?:env|env_bool|env_list|environ\.get)\("([A-Z_]+)"', source)
    assert sorted(read) == sorted(example)
    assert example["BETTER_AUTH_SECRET"] == EXAMPLE_SECRET
    assert example["BETTER_AUTH_URL"] == "http://localhost:3000"


def test_env_example_works_as_it_is_with_weak_settings() -> None:
    example = dotenv_values(project_settings.BASE_DIR / ".env.example")
    result = manage("check", **{name: value or "" for name, value in example.items()})
    assert result.returncode == 0
    assert "todo_backend.W004" in result.stderr
    assert "todo_backend.W008" in result.stderr


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


@pytest.mark.parametrize(
    ("variables", "keys"),
    [
        ({"BETTER_AUTH_URL": "http://localhost:3000"}, "http://localhost:3000/api/auth/jwks"),
        ({"BETTER_AUTH_URL": "http://localhost:3000/"}, "http://localhost:3000/api/auth/jwks"),
        ({"BETTER_AUTH_URL": "https://Example.com/auth/v1"}, "https://example.com/auth/v1/jwks"),
        ({"BETTER_AUTH_URL": "https://example.com/auth/v1/"}, "https://example.com/auth/v1/jwks"),
        ({**URL, "BETTER_AUTH_JWKS_URL": "http://frontend:3000/keys"}, "http://frontend:3000/keys"),
    ],
)
def test_where_the_published_keys_are(variables: dict[str, str], keys: str) -> None:
    result = manage(
        "shell", "-v0", "-c", "from django.conf import settings; print(settings.BETTER_AUTH_JWKS_URL)", **variables
    )
    assert result.stdout.strip() == keys


def test_a_neon_url_becomes_djangos_settings() -> None:
    config: Any = project_settings.database(
        "postgresql://owner:p%40ss%2Fw%3A%25@ep-x-pooler.eu.neon.tech/neondb?sslmode=require&channel_binding=require"
    )
    assert config == {
        "ENGINE": "django.db.backends.postgresql",
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
        ("sqlite:////var/lib/todo.sqlite3", "/var/lib/todo.sqlite3"),
        ("sqlite:///a%20b.sqlite3", str(project_settings.BASE_DIR / "a b.sqlite3")),
    ],
)
def test_a_sqlite_path_is_relative_to_the_project(url: str, name: str) -> None:
    config: Any = project_settings.database(url)
    assert config["NAME"] == name
    assert config["OPTIONS"]["transaction_mode"] == "IMMEDIATE"
