import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.core.signals import request_started
from django.db import close_old_connections, connection

from tasks.models import Task
from testing.client import Logged, Rows, UserClient
from testing.postgresql import LOG_NAME, temporary_postgresql

DATABASES = {"sqlite", "postgresql"}
# Windows lacks this signal, and what else the tests with the mark `posix` need.
IS_POSIX = hasattr(signal, "SIGKILL")
# How many tests were deselected because of that
NOT_POSIX = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[NOT_POSIX] = 0
    if not IS_POSIX and connection.vendor == "postgresql" and config.getoption("numprocesses", None):
        raise pytest.UsageError("Leave out -n: this system cannot start a PostgreSQL for each process.")
    # A shell starts background jobs with SIGINT ignored, and processes that tests interrupt would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_make_parametrize_id(val: object) -> str | None:
    """Makes ids short, ASCII, and equal in all processes: without tokens, and without the middle of a long value."""
    if not isinstance(val, str | bytes | dict):
        return None
    text = re.sub(r"eyJ[\w.-]+", "TOKEN", ascii(val).removeprefix("b").strip("'"))
    return text if len(text) <= 30 else f"{text[:12]}...{len(text)}...{text[-9:]}"


def databases(item: pytest.Item) -> set[str]:
    """The databases that a test runs on: from its own marks, or its class's, or its module's, or the default."""
    for node in reversed(item.listchain()):
        if marked := DATABASES & {mark.name for mark in node.own_markers}:
            return marked
    return DATABASES if "tasks" in item.path.relative_to(item.config.rootpath).parts else {"sqlite"}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    kept: list[pytest.Item] = []
    deselected: list[pytest.Item] = []
    for item in items:
        selected = connection.vendor in databases(item)
        if selected and not IS_POSIX and item.get_closest_marker("posix"):
            config.stash[NOT_POSIX] += 1
            selected = False
        (kept if selected else deselected).append(item)
    config.hook.pytest_deselected(items=deselected)
    items[:] = kept


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["not_posix"] = session.config.stash[NOT_POSIX]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """pytest-xdist calls this hook in its main process for each of the others, which all collect the same tests."""
    node.config.stash[NOT_POSIX] = getattr(node, "workeroutput", {}).get("not_posix", 0)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    terminalreporter.write_line(f"Tested on {connection.display_name}.")
    if count := config.stash[NOT_POSIX]:
        terminalreporter.write_line(f"{count} tests were deselected, because they need POSIX: signals or a terminal.")


@pytest.fixture(scope="session", autouse=True)
def own_postgresql() -> Iterator[None]:
    """Gives each process of pytest-xdist its own server, because tests read its log and cut all its connections."""
    if connection.vendor == "postgresql" and "PYTEST_XDIST_WORKER" in os.environ:
        with temporary_postgresql() as socket_folder:
            connection.settings_dict["OPTIONS"]["host"] = str(socket_folder)
            yield
    else:
        yield


@pytest.fixture
def ada() -> UserClient:
    return UserClient("ada")


@pytest.fixture
def bob() -> UserClient:
    return UserClient("bob")


@pytest.fixture
def rows() -> Rows:
    return lambda: [{**row} for row in Task.objects.order_by("id").values()]


@pytest.fixture
def as_served() -> Iterator[None]:
    """Checks old connections at the start of a request, as Django does without its test client."""

    def check_old_connections(**kwargs: object) -> None:
        close_old_connections()

    request_started.connect(check_old_connections)
    yield
    request_started.disconnect(check_old_connections)


@pytest.fixture
def logged() -> Logged:
    with connection.cursor() as cursor:
        cursor.execute("SHOW data_directory")
        log = Path(cursor.fetchone()[0]).parent / LOG_NAME

    @contextmanager
    def statements() -> Iterator[list[str]]:
        start = log.stat().st_size
        found: list[str] = []
        yield found
        text = log.read_bytes()[start:].decode()
        found.extend(re.findall(r"LOG:  (?:statement|execute [^:]*): (.*)", text))

    return statements
