import resource
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .load import AddReport, Load, Outcome
from .servers import Backend, Pgbouncer, Postgresql

TITLES = ["requests", "answered", "503+wait", "503", "lost", "wrong", "slowest", "fault", "back", "tasks", "present"]
ROWS = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    """A folder that PostgreSQL may enter. It never runs as root, and pytest's own folders are closed to other users."""
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def files() -> Iterator[None]:
    """As many open files as docs/deployment.md gives the server. A shell on Debian allows 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 8192), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(scope="session")
def postgresql(folder: Path) -> Iterator[Postgresql]:
    with Postgresql(folder) as postgresql:
        postgresql.make_database()
        yield postgresql


@pytest.fixture(scope="session")
def pooler(postgresql: Postgresql) -> Iterator[Pgbouncer]:
    with Pgbouncer(postgresql) as pooler:
        yield pooler


@pytest.fixture(scope="session")
def direct(folder: Path, postgresql: Postgresql) -> Iterator[Backend]:
    """A backend that connects to PostgreSQL directly."""
    with Backend(folder, postgresql.todo_url()) as backend:
        yield backend


@pytest.fixture(scope="session")
def pooled(folder: Path, pooler: Pgbouncer) -> Iterator[Backend]:
    """A backend that connects to PostgreSQL through PgBouncer."""
    with Backend(folder, pooler.url) as backend:
        yield backend


@pytest.fixture(params=["direct", "pooled"])
def backend(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


@pytest.fixture
def report(request: pytest.FixtureRequest, postgresql: Postgresql) -> AddReport:
    """A function that verifies a load's ledgers, and adds its counts to the table that is printed after the tests."""

    def add(load: Load, fault: float = 0, back: float = 0) -> None:
        try:
            load.verify(postgresql)
        finally:
            counts = load.counts()
            numbers = [counts.total(), *(counts[outcome] for outcome in Outcome)]
            seconds = [f"{value:.1f} s" for value in (load.slowest(), fault, back)]
            cells = [*map(str, numbers), *seconds, str(load.acknowledged), str(load.present)]
            name = request.node.name.removeprefix("test_").replace("_", " ")
            request.config.stash.setdefault(ROWS, []).append("".join(f"{cell:>9}" for cell in cells) + f"  {name}")

    return add


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    terminalreporter.section("counts")
    terminalreporter.write_line("".join(f"{title:>9}" for title in TITLES))
    for row in config.stash.get(ROWS, []):
        terminalreporter.write_line(row)
