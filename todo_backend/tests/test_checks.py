"""`check` and `check --deploy` report settings that work but are insecure."""

import io
from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db.utils import ConnectionHandler

from testing.environment import SECRET, settings_from
from testing.processes import manage
from todo_backend.checks import EXAMPLE_SECRET

DEPLOYED = {"DATABASE_URL": "postgresql://u:pw@127.0.0.1/todo", "ALLOWED_HOSTS": "api.example.com"}
# The settings that depend on the environment and that a check reads.
CHECKED = [
    "ALLOWED_HOSTS",
    "BETTER_AUTH_SECRET",
    "CORS_ALLOWED_ORIGINS",
    "CORS_ALLOWED_ORIGIN_REGEXES",
    "CORS_ALLOW_ALL_ORIGINS",
    "DEBUG",
    "SECRET_KEY",
]

Check = Callable[..., tuple[int, str]]


@pytest.fixture
def check(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Check:
    """Runs `check` with the settings that the variables make. Returns its exit code and its output."""
    monkeypatch.delenv("PGSSLMODE", raising=False)

    def check(*options: str, **variables: str) -> tuple[int, str]:
        values = settings_from(**{**DEPLOYED, **variables})
        for name in CHECKED:
            setattr(settings, name, values[name])
        monkeypatch.setattr("todo_backend.checks.connection", ConnectionHandler(values["DATABASES"])["default"])
        output = io.StringIO()
        try:
            call_command("check", *options, stdout=output, stderr=output)
        except SystemCheckError as exc:
            return exc.returncode, output.getvalue() + str(exc)
        return 0, output.getvalue()

    return check


STRONG: dict[str, dict[str, str]] = {
    "defaults": {},
    "keys alone": {"BETTER_AUTH_SECRET": "", "BETTER_AUTH_URL": "https://app.example.com/auth"},
    "empty": dict.fromkeys(["DEBUG", "LOG_LEVEL", "LOG_FORMAT", "CORS_ALLOWED_ORIGINS", "SECRET_KEY"], ""),
    "cases": {"DEBUG": "FALSE", "LOG_LEVEL": "warning"},
    "hosts": {"ALLOWED_HOSTS": "api.example.com, .example.com ,[::1],10.0.0.1"},
    "origins": {"CORS_ALLOWED_ORIGINS": "https://a.example.com, http://[::1]:3000 ,HTTP://B.example.com:80"},
    "a pattern": {"CORS_ALLOWED_ORIGINS": "https://todo-*.vercel.app"},
    "Neon": {
        "DATABASE_URL": "postgres://u:p%40%2F%3A%23@ep-x-pooler.neon.tech/d?sslmode=require&channel_binding=require"
    },
    "socket": {"DATABASE_URL": "postgresql:///d"},
    "a private host as a parameter": {"DATABASE_URL": "postgresql://u:pw@/d?host=db.INTERNAL"},
    "a host that is a number": {"DATABASE_URL": "postgresql://u:pw@/d?host=5"},
    **{
        f"host {host}": {"DATABASE_URL": f"postgresql://u:pw@{host}/d"}
        for host in (
            *("", "db", "localhost", "db.internal", "db.flycast.INTERNAL.", "10.0.0.1", "192.168.1.1", "172.16.0.1"),
            *("127.0.0.1", "[::1]", "[fd00::1]", "[fe80::1]", "100.64.0.1", "%2Fvar%2Frun%2Fpg.d", "a,10.0.0.1"),
        )
    },
    **{
        f"{mode} at a public host": {"DATABASE_URL": f"postgresql://u:pw@db.example.com/d?sslmode={mode}"}
        for mode in ("require", "verify-ca", "verify-full")
    },
}


@pytest.mark.parametrize("variables", STRONG.values(), ids=STRONG.keys())
def test_a_strong_value_passes_check_deploy(variables: dict[str, str], check: Check) -> None:
    code, output = check("--deploy", "--fail-level", "WARNING", **variables)
    assert code == 0, output
    assert "no issues" in output


WEAK: dict[str, tuple[str, dict[str, str]]] = {
    "short": ("001", {"BETTER_AUTH_SECRET": "x" * 31}),
    "short in bytes": ("001", {"BETTER_AUTH_SECRET": "ü" * 15}),
    "space after": ("002", {"BETTER_AUTH_SECRET": f"{SECRET} "}),
    "tab before": ("002", {"BETTER_AUTH_SECRET": f"\t{SECRET}"}),
    "default": ("003", {"BETTER_AUTH_SECRET": "better-auth-secret-12345678901234567890"}),
    "example": ("004", {"BETTER_AUTH_SECRET": EXAMPLE_SECRET}),
    "debug": ("005", {"DEBUG": "True"}),
    "any host": ("006", {"ALLOWED_HOSTS": "localhost,*"}),
    "any origin": ("007", {"CORS_ALLOWED_ORIGINS": "*"}),
    "no database": ("008", {"DATABASE_URL": ""}),
    "sqlite": ("008", {"DATABASE_URL": "sqlite:///x.sqlite3"}),
    "default hosts": ("009", {"ALLOWED_HOSTS": ""}),
    "only this machine's names": ("009", {"ALLOWED_HOSTS": "LOCALHOST,.localhost,todo.localhost,127.0.1.1,[::1]"}),
    **{
        f"database at {host}": ("010", {"DATABASE_URL": f"postgresql://u:pw@{host}/d"})
        for host in ("db.example.com", "8.8.8.8", "[2606:4700::1111]", "10.0.0.1,db.example.com", "internal.example")
    },
    "host as a parameter": ("010", {"DATABASE_URL": "postgresql://u:pw@/d?host=db.example.com"}),
    "address as a parameter": ("010", {"DATABASE_URL": "postgresql://u:pw@db/d?hostaddr=8.8.8.8"}),
    **{
        f"sslmode {mode}": ("010", {"DATABASE_URL": f"postgresql://u:pw@db.example.com/d?sslmode={mode}"})
        for mode in ("disable", "allow", "prefer")
    },
}


@pytest.mark.parametrize(("number", "variables"), WEAK.values(), ids=WEAK.keys())
def test_a_weak_value_is_a_warning_of_check_and_an_error_of_check_deploy(
    number: str, variables: dict[str, str], check: Check
) -> None:
    code, everyday = check(**variables)
    assert code == 0
    [warning] = [line for line in everyday.splitlines() if "todo_backend." in line]
    assert f"todo_backend.W{number}" in warning
    code, deployment = check("--deploy", **variables)
    assert code == 1
    assert f"todo_backend.E{number}" in deployment
    assert variables.get("BETTER_AUTH_SECRET", SECRET).strip() not in everyday + deployment


@pytest.mark.parametrize(("sslmode", "code"), [("require", 0), ("prefer", 1)])
def test_the_sslmode_may_be_libpqs_own_variable(
    sslmode: str, code: int, check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGSSLMODE", sslmode)
    assert check("--deploy", DATABASE_URL="postgresql://u:pw@db.example.com/d")[0] == code


def test_manage_py_check_deploy_fails_on_a_weak_value() -> None:
    result = manage("check", "--deploy", **DEPLOYED, DEBUG="true")
    assert result.returncode == 1
    assert "todo_backend.E005" in result.stderr
