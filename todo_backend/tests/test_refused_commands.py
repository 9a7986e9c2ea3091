"""Commands of manage.py whose database refuses them."""

import psycopg
import pytest

from testing.processes import empty_postgresql, free_port, manage, postgresql_url

PASSWORD = "private-password"


def refusal(*arguments: str, url: str) -> str:
    """The one line that the command writes to standard error."""
    # No setting is weak, so that there is no warning.
    result = manage(*arguments, DATABASE_URL=url, ALLOWED_HOSTS="api.example.com")
    assert result.returncode == 1
    assert PASSWORD not in result.stdout + result.stderr
    [line] = result.stderr.splitlines()
    return line


@pytest.fixture
def unreachable() -> str:
    """The URL of a PostgreSQL server that does not run."""
    return f"postgresql://todo:{PASSWORD}@127.0.0.1:{free_port()}/todo"


@pytest.mark.parametrize("command", ["migrate", "migrate --plan", "showmigrations", "runserver --noreload 0"])
def test_a_database_that_cannot_be_reached_is_an_error_of_one_line(command: str, unreachable: str) -> None:
    line = refusal(*command.split(), url=unreachable)
    assert line.startswith("Database error: connection failed: ")
    assert "Connection refused" in line


def test_a_host_that_does_not_exist_is_an_error_of_one_line() -> None:
    line = refusal("migrate", url=f"postgresql://todo:{PASSWORD}@todo.invalid/todo?sslmode=require")
    assert line.startswith("Database error: failed to resolve host 'todo.invalid': ")


def test_traceback_is_printed_where_it_is_asked_for(unreachable: str) -> None:
    result = manage("migrate", "--traceback", DATABASE_URL=unreachable)
    assert result.returncode == 1
    assert "Traceback (most recent call last):" in result.stderr
    assert PASSWORD not in result.stderr


def test_a_command_that_needs_no_database_works_without_one(unreachable: str) -> None:
    result = manage("dev_token", "ada", DEBUG="true", DATABASE_URL=unreachable)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.fixture
def fresh() -> str:
    """The URL of an empty database."""
    return empty_postgresql("refusing")


@pytest.mark.postgresql
def test_a_database_that_does_not_exist_is_an_error_of_one_line() -> None:
    line = refusal("migrate", url=postgresql_url("missing"))
    assert line.startswith("Database error: ")
    assert line.endswith('FATAL:  database "missing" does not exist')


@pytest.mark.postgresql
def test_a_role_without_privileges_is_told_of_them_in_one_line(fresh: str) -> None:
    with psycopg.connect(fresh, autocommit=True) as administrator:
        administrator.execute("DROP ROLE IF EXISTS bare")
        administrator.execute("CREATE ROLE bare LOGIN")
    as_bare = fresh.replace("user=postgres", "user=bare")
    assert "permission denied for schema public" in refusal("migrate", url=as_bare)
    assert manage("migrate", DATABASE_URL=fresh).returncode == 0
    for command in ["migrate", "showmigrations"]:
        assert refusal(command, url=as_bare) == "Database error: permission denied for table django_migrations"


@pytest.mark.postgresql
def test_a_database_that_only_reads_is_an_error_of_one_line(fresh: str) -> None:
    line = refusal("migrate", url=f"{fresh}&options=-c%20default_transaction_read_only%3Don")
    assert "cannot execute CREATE TABLE in a read-only transaction" in line
