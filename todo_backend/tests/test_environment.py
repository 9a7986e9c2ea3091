"""Environment variables: their values, and the values that are refused."""

from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from testing.environment import settings_from
from todo_backend import environment

PASSWORD = "pass-word"
URL = {"BETTER_AUTH_URL": "http://localhost:3000"}

# The first variable of each row cannot be used.
UNUSABLE: dict[str, dict[str, str]] = {
    "maybe": {"DEBUG": "maybe"},
    "1": {"DEBUG": "1"},
    "level": {"LOG_LEVEL": "LOUD"},
    "format": {"LOG_FORMAT": "xml"},
    "threads": {"THREADS": "many"},
    "no threads": {"THREADS": "0"},
    "no tasks": {"TASKS_PER_USER": "0"},
    "no workers": {"WORKERS": "-1"},
    "too many workers": {"WORKERS": "10001"},
    "port 65536": {"PORT": "65536"},
    "port of a fraction": {"PORT": "80.5"},
    "port in other digits": {"PORT": "\u0668\u0660"},
    "host name": {"HOST": "localhost"},
    "bracketed host": {"HOST": "[::1]"},
    "control character": {"SECRET_KEY": "a\tb"},
    "public key": {"BETTER_AUTH_SECRET": "-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----"},
    "secret not UTF-8": {"BETTER_AUTH_SECRET": f"{PASSWORD}\udcff"},
    "no scheme": {"BETTER_AUTH_URL": "localhost:3000"},
    "ftp": {"BETTER_AUTH_URL": "ftp://localhost"},
    "no host": {"BETTER_AUTH_URL": "http://"},
    "port": {"BETTER_AUTH_URL": "http://localhost:99999"},
    "port 0": {"BETTER_AUTH_URL": "http://localhost:0"},
    "no port": {"BETTER_AUTH_URL": "http://localhost:"},
    "password": {"BETTER_AUTH_URL": f"http://u:{PASSWORD}@localhost"},
    "query": {"BETTER_AUTH_URL": "http://localhost:3000/?a=b"},
    "fragment": {"BETTER_AUTH_URL": "http://localhost:3000/#a"},
    "not ASCII": {"BETTER_AUTH_URL": "http://localhost:3000/\u00fc"},
    "space": {"BETTER_AUTH_URL": "http://local host"},
    "backslash": {"BETTER_AUTH_URL": "http://localhost:3000/\\a"},
    "zone": {"BETTER_AUTH_URL": "http://[fe80::1%eth0]:3000"},
    "file": {"BETTER_AUTH_JWKS_URL": "file:///etc/passwd", **URL},
    "keys without URL": {"BETTER_AUTH_JWKS_URL": "http://localhost:3000/jwks"},
    "origin slash": {"CORS_ALLOWED_ORIGINS": "http://a,http://localhost:3000/"},
    "origin path": {"CORS_ALLOWED_ORIGINS": "http://localhost:3000/app"},
    "origin no scheme": {"CORS_ALLOWED_ORIGINS": "localhost:3000"},
    "origin not ASCII": {"CORS_ALLOWED_ORIGINS": "http://b\u00fccher.de"},
    "origin markup": {"CORS_ALLOWED_ORIGINS": "http://x<y"},
    "origin password": {"CORS_ALLOWED_ORIGINS": f"https://u:{PASSWORD}@example.com"},
    "host scheme": {"ALLOWED_HOSTS": "https://api.example.com"},
    "host password": {"ALLOWED_HOSTS": f"https://u:{PASSWORD}@api.example.com"},
    "host port": {"ALLOWED_HOSTS": "localhost,api.example.com:8000"},
    "host path": {"ALLOWED_HOSTS": "api.example.com/"},
    "host IPv6": {"ALLOWED_HOSTS": "[::zz]"},
    "host zone": {"ALLOWED_HOSTS": "[fe80::1%eth0]"},
    "host bracket": {"ALLOWED_HOSTS": "[::1"},
    "host without brackets": {"ALLOWED_HOSTS": "::1"},
}
UNUSABLE_DATABASE_URLS = {
    "quotes": f'"postgresql://u:{PASSWORD}@h/d"',
    "psql": f"psql 'postgresql://u:{PASSWORD}@h/d'",
    "mysql": f"mysql://u:{PASSWORD}@h/d",
    "driver": f"postgresql+asyncpg://u:{PASSWORD}@h/d",
    "no scheme": f"u:{PASSWORD}@h/d",
    "slash in password": f"postgresql://u:{PASSWORD}/x@h/d",
    "slash after digits": f"postgresql://u:12/b?{PASSWORD}=1@h/d",
    "hash in password": f"postgresql://u:12#{PASSWORD}@h/d",
    "not UTF-8": f"postgresql://u:{PASSWORD}\udcff@h/d",
    "bracket": f"postgresql://u:{PASSWORD}@[h/d",
    "empty label": f"postgresql://u:{PASSWORD}@a..b/d",
    "long label": f"postgresql://u:{PASSWORD}@{'h' * 64}/d",
    "port": f"postgresql://u:{PASSWORD}@h:port/d",
    "no name": f"postgresql://u:{PASSWORD}@h",
    "empty name": f"postgresql://u:{PASSWORD}@h/",
    "long name": f"postgresql://u:{PASSWORD}@h/{'d' * 64}",
    "NUL in name": f"postgresql://u:{PASSWORD}@h/d%00",
    "schema": f"postgresql://u:{PASSWORD}@h/d?schema=public",
    "pgbouncer": f"postgresql://u:{PASSWORD}@h/d?sslmode=require&pgbouncer=true",
    "conn_max_age": f"postgresql://u:{PASSWORD}@h/d?conn_max_age=60",
    "password as parameter": f"postgresql://h/d?user=u&password=abc&{PASSWORD}=1",
    "connect_timeout": f"postgresql://u:{PASSWORD}@h/d?connect_timeout=abc",
    "connect_timeout true": f"postgresql://u:{PASSWORD}@h/d?connect_timeout=true",
    "port parameter": f"postgresql://u:{PASSWORD}@h/d?port=abc",
    "sslmode": f"postgresql://u:{PASSWORD}@h/d?sslmode=required",
    "channel_binding": f"postgresql://u:{PASSWORD}@h/d?channel_binding=yes",
    "target_session_attrs": f"postgresql://u:{PASSWORD}@h/d?target_session_attrs=bogus",
    "path": "db.sqlite3",
    "memory": "sqlite://:memory:",
    "memory path": "sqlite:///:memory:",
    "sqlite": "sqlite://",
    "sqlite slash": "sqlite:///",
    "sqlite host": "sqlite://host/x",
    "sqlite timeout": "sqlite:///x?timeout=20",
    "sqlite folder": "sqlite:///.",
    "sqlite no folder": "sqlite:////no/such/folder/todo.sqlite3",
    "sqlite NUL": "sqlite:///a%00b",
}


def refusal(**variables: str) -> str:
    with pytest.raises(ImproperlyConfigured) as caught:
        settings_from(**variables)
    return str(caught.value)


@pytest.mark.parametrize("variables", UNUSABLE.values(), ids=UNUSABLE.keys())
def test_a_value_that_cannot_be_used_is_refused_in_one_line_that_names_the_variable(variables: dict[str, str]) -> None:
    message = refusal(**variables)
    assert next(iter(variables)) in message
    assert len(message.splitlines()) == 1
    assert PASSWORD not in message


@pytest.mark.parametrize("url", UNUSABLE_DATABASE_URLS.values(), ids=UNUSABLE_DATABASE_URLS.keys())
def test_a_database_url_that_cannot_be_used_is_refused_in_one_line_without_its_password(url: str) -> None:
    message = refusal(DATABASE_URL=url)
    assert message.startswith("DATABASE_URL")
    assert len(message.splitlines()) == 1
    assert PASSWORD not in message


@pytest.mark.parametrize(
    "host", ["todo_backend", "b\u00fccher.de", "example.com.", ".example.com.", "*.example.com", "."]
)
def test_a_host_that_django_never_matches_is_refused_by_name(host: str) -> None:
    assert refusal(ALLOWED_HOSTS=f"localhost,{host}").startswith(f"ALLOWED_HOSTS: Django never matches {host!r}.")


@pytest.mark.parametrize(
    "origin",
    [
        *("https://*.com", "https://*", "http://*:3000", "http://*.localhost:3000", "http://localhost:*", "*:3000"),
        *("https://a.*.example.com", "https://example.*", "https://example.com.*", "https://*.*.example.com"),
        *("https://a-*-*.example.com", "https://**.example.com", "https://*..example.com", "https://*.example.com."),
        *("*.example.com", "*://a.example.com", "http*://a.example.com", "https://example.com/*", "**"),
        *("https://*.example.com:*", "https://*.example.com:99999", "https://*.ex ample.com", "ftp://*.example.com"),
        *(f"https://u:{PASSWORD}*@a.example.com", f"https://u:{PASSWORD}@*.example.com", "https://[*::1]"),
        *("https://*.example.com?a", "https://*.b\u00fccher.example.com", "https://*\\.example.com"),
    ],
)
def test_a_star_elsewhere_in_an_origin_is_refused_with_an_example(origin: str) -> None:
    message = refusal(CORS_ALLOWED_ORIGINS=f"http://localhost:3000,{origin}")
    assert message == (
        "CORS_ALLOWED_ORIGINS: a * may stand once in the first of at least three labels of a host, as in "
        "https://todo-*.vercel.app, or alone for every origin."
    )


def test_a_pattern_with_a_path_is_refused_like_an_origin_with_one() -> None:
    message = refusal(CORS_ALLOWED_ORIGINS="https://Todo-*.vercel.app/")
    assert message == (
        "CORS_ALLOWED_ORIGINS: 'https://Todo-*.vercel.app/' has a path or a trailing slash; an origin is "
        "'https://todo-*.vercel.app'."
    )


def test_keys_without_the_url_of_better_auth_name_both_variables() -> None:
    message = refusal(BETTER_AUTH_JWKS_URL="http://localhost:3000/jwks")
    assert (
        message
        == "BETTER_AUTH_JWKS_URL needs BETTER_AUTH_URL, which gives the issuer and the audience that tokens must name."
    )


@pytest.mark.parametrize("url", ["", " "], ids=["empty", "blank"])
def test_without_secret_and_url_the_refusal_names_both(url: str) -> None:
    message = refusal(BETTER_AUTH_SECRET="", BETTER_AUTH_URL=url)
    assert "BETTER_AUTH_SECRET" in message
    assert "BETTER_AUTH_URL" in message


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
def test_an_origin_is_written_as_better_auth_writes_it(url: str, origin: str) -> None:
    assert environment.origin(environment.http_url("BETTER_AUTH_URL", url)) == origin


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///db.sqlite3", "db.sqlite3"),
        ("sqlite:///a%20b.sqlite3", "a b.sqlite3"),
        ("", "db.sqlite3"),
    ],
    ids=["relative", "encoded", "default"],
)
def test_a_sqlite_path_is_relative_to_the_project(url: str, path: str, tmp_path: Path) -> None:
    config: Any = environment.database({"DATABASE_URL": url}, tmp_path)
    assert config["NAME"] == str(tmp_path / path)
    assert config["OPTIONS"]["transaction_mode"] == "IMMEDIATE"


def test_an_absolute_sqlite_path_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "todo.sqlite3"
    config: Any = environment.database({"DATABASE_URL": f"sqlite:///{path}"}, Path("elsewhere"))
    assert config["NAME"] == str(path)
    assert config["OPTIONS"]["transaction_mode"] == "IMMEDIATE"


def test_a_connect_timeout_in_the_url_replaces_the_default(tmp_path: Path) -> None:
    config: Any = environment.database({"DATABASE_URL": "postgresql://h/d?connect_timeout=9"}, tmp_path)
    assert config["OPTIONS"]["connect_timeout"] == 9


@pytest.fixture
def env_file(tmp_path: Path) -> Path:
    return tmp_path / ".env"


def test_env_is_read_literally(env_file: Path) -> None:
    env_file.write_text(
        "BETTER_AUTH_SECRET=$x-${HOME}-and-this-makes-it-32-bytes\nDEBUG=true\nLOG_LEVEL=\nPORT\n", encoding="utf-8"
    )
    assert environment.read({"HOME": "/"}, env_file) == {
        "BETTER_AUTH_SECRET": "$x-${HOME}-and-this-makes-it-32-bytes",
        "DEBUG": "true",
        "HOME": "/",
    }


@pytest.mark.parametrize(("value", "result"), [("false", "false"), ("", "true")], ids=["set", "empty"])
def test_the_environment_wins_over_env_unless_it_is_empty(value: str, result: str, env_file: Path) -> None:
    env_file.write_text("DEBUG=true\n", encoding="utf-8")
    assert environment.read({"DEBUG": value}, env_file) == {"DEBUG": result}


def test_an_empty_variable_is_unset(env_file: Path) -> None:
    assert environment.read({"DEBUG": ""}, env_file) == {}


def test_python_dotenvs_switch_turns_env_off(env_file: Path) -> None:
    env_file.write_bytes(b"DEBUG=\xff\n")
    switch = {"PYTHON_DOTENV_DISABLED": "true"}
    assert environment.read(switch, env_file) == switch


def test_an_env_of_windows_is_read(env_file: Path) -> None:
    """With a byte order mark, and with CR and LF."""
    env_file.write_bytes("\ufeffBETTER_AUTH_SECRET=\u00fc 'x'\r\nDEBUG=true\r\n".encode())
    assert environment.read({}, env_file) == {"BETTER_AUTH_SECRET": "\u00fc 'x'", "DEBUG": "true"}


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_an_env_that_is_not_utf_8_is_refused(encoding: str, env_file: Path) -> None:
    """In Windows PowerShell, `>` writes UTF-16."""
    env_file.write_bytes("BETTER_AUTH_SECRET=\u00ff\n".encode(encoding))
    with pytest.raises(ImproperlyConfigured, match=r"^\.env is not UTF-8\.$"):
        environment.read({}, env_file)


def test_an_env_that_cannot_be_read_is_refused(env_file: Path) -> None:
    # Root may read a file without permissions, so the test needs another error.
    env_file.mkdir()
    with pytest.raises(ImproperlyConfigured, match=r"^\.env cannot be read: .+\.$"):
        environment.read({}, env_file)
