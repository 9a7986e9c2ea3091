"""A database with unusual settings, directly and through PgBouncer."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from testing.servers import get

from .load import Load, Outcome
from .servers import Backend, Pgbouncer, Postgresql

# Statements for the encoding and the settings of a new database.
ASCII = ["CREATE DATABASE unusual OWNER todo TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'"]
GERMAN = ["CREATE DATABASE unusual TEMPLATE todo OWNER todo", "ALTER DATABASE unusual SET datestyle TO 'German'"]


@pytest.fixture(params=["direct", "pooled"])
def unusual(
    request: pytest.FixtureRequest, statements: list[str], postgresql: Postgresql, folder: Path
) -> Iterator[Backend]:
    """A backend on a database that the statements create."""
    # The database `todo` can be a template only without connections.
    postgresql.terminate_connections()
    for statement in statements:
        postgresql.execute("postgres", statement)
    with ExitStack() as servers:
        url = postgresql.todo_url().replace("/todo?", "/unusual?")
        if request.param == "pooled":
            url = servers.enter_context(Pgbouncer(postgresql, "unusual")).url
        yield servers.enter_context(Backend(folder, url))
    postgresql.execute("postgres", "DROP DATABASE unusual WITH (FORCE)")


def ended_load(backend: Backend, users: int, steps: int) -> Load:
    """A load that has sent its requests and closed its connections."""
    load = Load(backend, users=users)
    load.step_all(steps)
    for user in load.users:
        user.client.close()
    return load


@pytest.mark.requirement("SC-004")
@pytest.mark.parametrize("statements", [GERMAN], ids=["german"])
def test_a_datestyle_other_than_iso_costs_nothing(unusual: Backend) -> None:
    assert get(unusual.port, "/readyz")[0] == 200
    # More users than PgBouncer has connections, so that each connection serves several clients.
    load = ended_load(unusual, users=12, steps=15)
    assert load.counts() == {Outcome.ANSWERED: len(load.records)}
    assert get(unusual.port, "/readyz")[0] == 200
    assert "ERROR" not in unusual.log.read_text()


@pytest.mark.requirement("SC-004")
@pytest.mark.parametrize("statements", [ASCII], ids=["ascii"])
def test_a_database_in_sql_ascii_is_503_and_the_server_stays(unusual: Backend) -> None:
    load = ended_load(unusual, users=4, steps=3)
    assert load.counts() == {Outcome.REFUSED: len(load.records)}
    assert get(unusual.port, "/readyz")[0] == 503
    assert get(unusual.port, "/healthz")[0] == 200
    log = unusual.log.read_text()
    reason = "the encoding of the database is SQL_ASCII; it must be UTF8"
    assert f"Pending migrations: unknown, because the database cannot be used: {reason}." in log
    assert log.count(f"refused: the database cannot be used: {reason}") == len(load.records) + 1
    assert log.count("Spawning worker") == 1
