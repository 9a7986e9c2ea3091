"""The settings that variables make, and processes that start with them or refuse to."""

import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from dotenv import dotenv_values

from testing.environment import SECRET, settings_from
from testing.http import raw_request
from testing.processes import free_port, manage, run, serve_command, serving
from testing.tokens import claims, sign
from todo_backend import environment
from todo_backend.checks import EXAMPLE_SECRET

PASSWORD = "pass-word"
URL = {"BETTER_AUTH_URL": "http://localhost:3000"}
ORIGINS = "https://a.example.com, http://[::1]:3000 ,HTTP://B.example.com:80"

# The path to a setting, the variables, and the setting's value.
SETTINGS: dict[str, tuple[str, dict[str, str], Any]] = {
    "secret": ("BETTER_AUTH_SECRET", {}, SECRET),
    "secret as it is": ("BETTER_AUTH_SECRET", {"BETTER_AUTH_SECRET": " ${x} "}, " ${x} "),
    "url": ("BETTER_AUTH_URL", URL, "http://localhost:3000"),
    "keys": ("BETTER_AUTH_JWKS_URL", URL, "http://localhost:3000/api/auth/jwks"),
    "keys, slash": (
        "BETTER_AUTH_JWKS_URL",
        {"BETTER_AUTH_URL": "http://localhost:3000/"},
        "http://localhost:3000/api/auth/jwks",
    ),
    "keys, path": (
        "BETTER_AUTH_JWKS_URL",
        {"BETTER_AUTH_URL": "https://Example.com/auth/v1"},
        "https://example.com/auth/v1/jwks",
    ),
    "keys, path and slash": (
        "BETTER_AUTH_JWKS_URL",
        {"BETTER_AUTH_URL": "https://example.com/auth/v1/"},
        "https://example.com/auth/v1/jwks",
    ),
    "keys elsewhere": (
        "BETTER_AUTH_JWKS_URL",
        {**URL, "BETTER_AUTH_JWKS_URL": "http://frontend/keys"},
        "http://frontend/keys",
    ),
    "no keys": ("BETTER_AUTH_JWKS_URL", {}, ""),
    "issuer": ("BETTER_AUTH_ISSUER", {"BETTER_AUTH_URL": "https://example.com/auth"}, "https://example.com"),
    "audience": ("BETTER_AUTH_AUDIENCE", {"BETTER_AUTH_URL": "https://example.com/auth"}, "https://example.com"),
    "other issuer": ("BETTER_AUTH_ISSUER", {**URL, "BETTER_AUTH_ISSUER": "other"}, "other"),
    "other audience": ("BETTER_AUTH_AUDIENCE", {**URL, "BETTER_AUTH_AUDIENCE": "other"}, "other"),
    "no issuer": ("BETTER_AUTH_ISSUER", {}, ""),
    "origins unset": ("CORS_ALLOWED_ORIGINS", {}, ["http://localhost:3000"]),
    "origins blank": ("CORS_ALLOWED_ORIGINS", {"CORS_ALLOWED_ORIGINS": " , "}, ["http://localhost:3000"]),
    "origins": (
        "CORS_ALLOWED_ORIGINS",
        {"CORS_ALLOWED_ORIGINS": ORIGINS},
        ["https://a.example.com", "http://[::1]:3000", "http://b.example.com"],
    ),
    "no pattern": ("CORS_ALLOWED_ORIGIN_REGEXES", {"CORS_ALLOWED_ORIGINS": f"*,{ORIGINS}"}, []),
    "origins beside a pattern": (
        "CORS_ALLOWED_ORIGINS",
        {"CORS_ALLOWED_ORIGINS": f"https://*.example.com,{ORIGINS}"},
        ["https://a.example.com", "http://[::1]:3000", "http://b.example.com"],
    ),
    "a pattern is not any origin": ("CORS_ALLOW_ALL_ORIGINS", {"CORS_ALLOWED_ORIGINS": "https://*.example.com"}, False),
    "not any origin": ("CORS_ALLOW_ALL_ORIGINS", {}, False),
    "credentials": ("CORS_ALLOW_CREDENTIALS", {}, True),
    "any origin without credentials": ("CORS_ALLOW_CREDENTIALS", {"CORS_ALLOWED_ORIGINS": f"*,{ORIGINS}"}, False),
    "any origin": ("CORS_ALLOW_ALL_ORIGINS", {"CORS_ALLOWED_ORIGINS": "*"}, True),
    "hosts unset": ("ALLOWED_HOSTS", {}, ["localhost", "127.0.0.1", "[::1]"]),
    "hosts blank": ("ALLOWED_HOSTS", {"ALLOWED_HOSTS": ","}, ["localhost", "127.0.0.1", "[::1]"]),
    "hosts": (
        "ALLOWED_HOSTS",
        {"ALLOWED_HOSTS": "api.example.com, .example.org"},
        ["api.example.com", ".example.org"],
    ),
    "debug unset": ("DEBUG", {}, False),
    "debug": ("DEBUG", {"DEBUG": "TRUE"}, True),
    "no debug": ("DEBUG", {"DEBUG": "False"}, False),
    "secret key": ("SECRET_KEY", {"SECRET_KEY": "x"}, "x"),
    "level unset": ("LOGGING/root/level", {}, "INFO"),
    "level": ("LOGGING/root/level", {"LOG_LEVEL": "warning"}, "WARNING"),
    "format unset": ("LOGGING/handlers/console/formatter", {}, "text"),
    "format": ("LOGGING/handlers/console/formatter", {"LOG_FORMAT": "JSON"}, "json"),
    "slots unset": ("DATABASE_SLOTS", {}, 15),
    "slots": ("DATABASE_SLOTS", {"THREADS": "4"}, 3),
    "one thread": ("DATABASE_SLOTS", {"THREADS": "1"}, 1),
    "tasks unset": ("TASKS_PER_USER", {}, 10_000),
    "tasks": ("TASKS_PER_USER", {"TASKS_PER_USER": "1"}, 1),
    "serve unset": ("SERVER", {}, ("0.0.0.0", 8000, 1, 16)),
    "serve": ("SERVER", {"HOST": "::", "PORT": "80", "WORKERS": "2", "THREADS": "4"}, ("::", 80, 2, 4)),
    "database unset": ("DATABASES/default/ENGINE", {}, "django.db.backends.sqlite3"),
    "file": ("DATABASES/default/NAME", {}, str(settings.BASE_DIR / "db.sqlite3")),
    "postgresql": (
        "DATABASES/default/ENGINE",
        {"DATABASE_URL": "postgresql://u:pw@127.0.0.1/todo"},
        "todo_backend.postgresql",
    ),
}


@pytest.mark.requirement("FR-010")
@pytest.mark.parametrize(("path", "variables", "value"), SETTINGS.values(), ids=SETTINGS.keys())
def test_a_variable_sets_a_setting(path: str, variables: dict[str, str], value: Any) -> None:
    found: Any = settings_from(**variables)
    for key in path.split("/"):
        found = found[key]
    assert found == value


@pytest.mark.requirement("FR-010", "SC-004")
def test_a_neon_url_becomes_djangos_settings() -> None:
    url = "postgresql://owner:p%40ss%2Fw%3A%25@ep-x-pooler.eu.neon.tech/neondb?sslmode=require&channel_binding=require"
    assert settings_from(DATABASE_URL=url)["DATABASES"]["default"] == {
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


def test_each_start_has_a_random_secret_key() -> None:
    first, second = settings_from()["SECRET_KEY"], settings_from()["SECRET_KEY"]
    assert first != second
    assert len(first) >= 50


class RecordingEnvironment(Mapping[str, str]):
    """An environment that has only BETTER_AUTH_URL, and records the names that are read."""

    def __init__(self) -> None:
        self.read_names: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.read_names.add(name)
        return URL[name]

    def __iter__(self) -> Iterator[str]:
        raise NotImplementedError("a variable is read by its name")

    def __len__(self) -> int:
        raise NotImplementedError("a variable is read by its name")


def test_env_example_lists_every_variable_that_the_settings_read(monkeypatch: pytest.MonkeyPatch) -> None:
    recording = RecordingEnvironment()
    monkeypatch.setattr(environment, "read", lambda _environ, _env_file: recording)
    settings_from()
    # CONTRIBUTING.md writes it as ASCII on Windows.
    example = dotenv_values(settings.BASE_DIR / ".env.example", encoding="ascii")
    assert recording.read_names == example.keys()
    assert example["BETTER_AUTH_SECRET"] == EXAMPLE_SECRET
    assert example["BETTER_AUTH_URL"] == "http://localhost:3000"


def test_a_value_that_cannot_be_used_stops_manage_py_with_one_line() -> None:
    result = manage("check", DATABASE_URL=f"mysql://u:{PASSWORD}@h/d")
    assert (result.returncode, result.stdout) == (1, "")
    [line] = result.stderr.splitlines()
    assert line.startswith("Configuration error: DATABASE_URL ")
    assert PASSWORD not in line


def test_a_value_that_cannot_be_used_stops_every_wsgi_server() -> None:
    result = run([sys.executable, "-c", "import todo_backend.wsgi"], {"DEBUG": "maybe"})
    # gunicorn ends after this status, and would replace the worker after any other.
    assert result.returncode == 3
    assert result.stderr.splitlines() == ["Configuration error: DEBUG must be true or false, not 'maybe'."]


def test_a_value_that_cannot_be_used_stops_the_server() -> None:
    result = run(serve_command(port=free_port()), {"DEBUG": "maybe"})
    assert result.returncode == 1
    assert result.stderr.splitlines() == ["Configuration error: DEBUG must be true or false, not 'maybe'."]


@pytest.fixture
def copied_project(tmp_path: Path) -> Path:
    """The project in another folder, where it may have a `.env`. No code page of Windows has the folder's name."""
    project = tmp_path / "\u03c3\u79c1"
    project.mkdir()
    for name in ["manage.py", "pyproject.toml", ".env.example", "todo_backend", "tasks"]:
        source = settings.BASE_DIR / name
        if source.is_dir():
            shutil.copytree(source, project / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, project / name)
    return project


def check_in(project: Path) -> "subprocess.CompletedProcess[str]":
    variables = {"PYTHON_DOTENV_DISABLED": "", "BETTER_AUTH_SECRET": ""}
    return run([sys.executable, "manage.py", "check"], variables, folder=project)


@pytest.mark.requirement("SC-007")
def test_env_example_copied_to_env_works_with_warnings(copied_project: Path) -> None:
    shutil.copy(copied_project / ".env.example", copied_project / ".env")
    result = check_in(copied_project)
    assert result.returncode == 0
    assert "todo_backend.W004" in result.stderr
    assert "todo_backend.W008" in result.stderr


@pytest.mark.parametrize("command", ["check", "collectstatic --noinput", "dev_token ada", "explain_token"])
def test_a_command_works_in_a_folder_whose_name_the_code_page_lacks(command: str, copied_project: Path) -> None:
    variables = {"DEBUG": "true", "PYTHONIOENCODING": "cp1252"}
    assert run([sys.executable, "manage.py", "migrate"], variables, folder=copied_project).returncode == 0
    token = sign(claims(), {"alg": "EdDSA"})
    result = run(
        [sys.executable, "manage.py", *command.split()], variables, folder=copied_project, stdin=token.encode()
    )
    assert result.returncode == 0, result.stderr


def test_dumpdata_writes_what_loaddata_reads_whatever_the_code_page(tmp_path: Path) -> None:
    variables = {"DATABASE_URL": f"sqlite:///{tmp_path / 'todo.sqlite3'}", "PYTHONIOENCODING": "cp1252"}
    assert manage("migrate", **variables).returncode == 0
    fields = '"user_id": "ada", "created_at": "2026-02-07T09:30:00Z", "updated_at": "2026-02-07T09:30:00Z"'
    tasks = tmp_path / "tasks.json"
    tasks.write_text(f'[{{"model": "tasks.task", "pk": 1, "fields": {{"title": "é 😀", {fields}}}}}]', encoding="utf-8")
    assert manage("loaddata", str(tasks), **variables).returncode == 0
    dumped = manage("dumpdata", "tasks", **variables).stdout
    assert "é 😀" in dumped
    tasks.write_text(dumped, encoding="utf-8")
    assert manage("loaddata", str(tasks), **variables).returncode == 0


def test_an_env_that_is_not_utf_8_is_an_error_of_one_line(copied_project: Path) -> None:
    (copied_project / ".env").write_bytes(b"BETTER_AUTH_SECRET=\xff\n")
    result = check_in(copied_project)
    assert (result.returncode, result.stderr) == (1, "Configuration error: .env is not UTF-8.\n")


def test_an_env_that_cannot_be_read_stops_manage_py_with_one_line(copied_project: Path) -> None:
    # Root may read a file without permissions.
    (copied_project / ".env").mkdir()
    result = check_in(copied_project)
    assert (result.returncode, result.stdout) == (1, "")
    [line] = result.stderr.splitlines()
    assert line.startswith("Configuration error: .env cannot be read: ")


@pytest.mark.parametrize("debug", ["false", "true"])
def test_the_pages_assets_are_served_from_their_package_before_and_after_collectstatic(
    debug: str, copied_project: Path, tmp_path: Path
) -> None:
    manage_py = [sys.executable, str(copied_project / "manage.py")]
    port = free_port()

    def get(path: bytes) -> tuple[bytes, bytes]:
        """The status and the body, from a server that would not start with a warning."""
        command = [*manage_py, "runserver", "--noreload", str(port)]
        with serving(command, port, tmp_path / "log", {"DEBUG": debug}) as address:
            head, _, body = raw_request(address, b"GET " + path + b" HTTP/1.1\r\nHost: localhost").partition(
                b"\r\n\r\n"
            )
        return head.split(b" ")[1], body

    asset = b"/static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js"
    before = get(asset)
    assert before[0] == b"200"
    collected = run([*manage_py, "collectstatic", "--noinput"], {"DEBUG": debug})
    assert (collected.returncode, collected.stderr) == (0, "")
    assert get(asset) == before
    # Nothing is served from the folder of the collected files, where those of an older version stay.
    [copy] = (copied_project / "staticfiles").glob("**/swagger-ui-bundle.js")
    copy.rename(copy.with_name("old.js"))
    assert get(asset.replace(b"swagger-ui-bundle", b"old"))[0] == b"404"
