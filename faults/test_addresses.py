"""Values of `DATABASE_URL`: the form that Neon shows, a wrong password, and servers that do not answer."""

import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from testing.processes import manage
from testing.servers import get, stable_port

from .load import AddReport, Load, Outcome
from .servers import PASSWORD, Backend, Postgresql

WRONG_PASSWORD = "wr@ng/" + PASSWORD[::-1]


@pytest.mark.requirement("FR-010")
def test_neons_address_works(postgresql: Postgresql, direct: Backend, report: AddReport) -> None:
    """The URL makes libpq refuse a server without TLS, SCRAM or channel binding. `migrate` ran with the same URL."""
    assert postgresql.todo_url().endswith("/todo?sslmode=require&channel_binding=require")
    load = Load(direct)
    load.step_all(steps=20)
    report(load)
    assert load.counts() == {Outcome.ANSWERED: len(load.records)}
    of_todo = "FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = 'todo'"
    assert postgresql.query(f"SELECT DISTINCT ssl {of_todo}") == [(True,)]
    [(stored,)] = postgresql.query("SELECT rolpassword FROM pg_authid WHERE rolname = 'todo'")
    assert stored.startswith("SCRAM-SHA-256$")


@contextmanager
def refusing() -> Iterator[int]:
    """A port on which nothing listens."""
    yield stable_port()


@contextmanager
def silent() -> Iterator[int]:
    """A port on which the kernel accepts connections and no process answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield int(listener.getsockname()[1])


@contextmanager
def full() -> Iterator[int]:
    """A port whose backlog is full, so that the kernel ignores new connections."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        yield int(listener.getsockname()[1])


@pytest.mark.requirement("SC-004")
@pytest.mark.parametrize("address", [refusing, silent, full])
def test_a_database_that_cannot_be_reached_is_503(
    address: Callable[[], AbstractContextManager[int]],
    postgresql: Postgresql,
    direct: Backend,
    folder: Path,
    report: AddReport,
) -> None:
    with address() as port, Backend(folder, postgresql.todo_url(port=port)) as backend:
        load = Load(backend)
        load.step_all(steps=1)
        assert get(backend.port, "/healthz")[0] == 200
        status, seconds = get(backend.port, "/readyz")
    counts = load.counts()
    load.connect(direct)
    report(load)
    assert counts == {Outcome.REFUSED: 12}
    assert max(load.slowest(), seconds) <= 6
    assert status == 503


def test_a_wrong_password_is_503_and_in_no_log(
    postgresql: Postgresql, direct: Backend, folder: Path, report: AddReport
) -> None:
    backend = Backend(folder, postgresql.todo_url(WRONG_PASSWORD))
    with backend:
        load = Load(backend)
        load.step_all(steps=3)
        assert get(backend.port, "/readyz")[0] == 503
    counts = load.counts()
    load.connect(direct)
    report(load)
    assert counts == {Outcome.REFUSED: 36}
    log = backend.log.read_text()
    assert "password authentication failed" in log
    for password in (WRONG_PASSWORD, PASSWORD):
        assert password not in log
        assert quote(password, safe="") not in log


def test_migrate_with_a_wrong_password_is_an_error_of_one_line_without_it(postgresql: Postgresql) -> None:
    result = manage("migrate", DATABASE_URL=postgresql.todo_url(WRONG_PASSWORD), ALLOWED_HOSTS="api.example.com")
    assert (result.returncode, result.stdout) == (1, "")
    [line] = result.stderr.splitlines()
    assert line.startswith("Database error: ")
    assert line.endswith('FATAL:  password authentication failed for user "todo"')
