"""PostgreSQL and the servers that are compared, on the cores that they are given."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import psycopg

from faults.servers import Service, children, get, megabytes, stat
from testing.postgresql import forget_libpq_variables, make_cluster
from testing.processes import SECRET, environment, manage, serve_command

TICKS = os.sysconf("SC_CLK_TCK")
# Of each server: Granian's threads, all but one of which may wait for the database, and so the connections of a pool.
THREADS = 16


def share_cores() -> int:
    """Moves this process, and all that it starts, to the second core; returns the first, for what is measured."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit("The benchmark needs two cores: one for the server, one for PostgreSQL and the load.")
    os.sched_setaffinity(0, cores[1:2])
    return cores[0]


class Postgresql(Service):
    """PostgreSQL on TCP without TLS, as it comes, save that it does not wait for the disk and vacuums when told."""

    # "Fast": does not wait for clients.
    stop_signal = signal.SIGINT

    def __init__(self, folder: Path) -> None:
        forget_libpq_variables()
        super().__init__(folder)
        binaries, self.options = make_cluster(folder)
        settings = "-c listen_addresses=127.0.0.1 -c fsync=off -c autovacuum=off -c max_connections=200"
        self.command = [
            *(binaries / "postgres", "-D", folder / "data", "-k", folder, "-p", str(self.port)),
            *settings.split(),
        ]

    def is_ready(self) -> bool:
        with suppress(psycopg.OperationalError), closing(self.connect("postgres")):
            return True
        return False

    def url(self, database: str, port: int | None = None) -> str:
        return f"postgresql://postgres@127.0.0.1:{port or self.port}/{database}"

    def connect(self, database: str) -> "psycopg.Connection[Any]":
        return psycopg.connect(self.url(database), autocommit=True)

    def make_database(self, name: str) -> None:
        with closing(self.connect("postgres")) as administrator:
            administrator.execute(f"CREATE DATABASE {name}".encode())
        migrated = manage("migrate", DATABASE_URL=self.url(name))
        assert migrated.returncode == 0, migrated.stderr

    def execute(self, database: str, statement: str) -> list[tuple[Any, ...]]:
        with closing(self.connect(database)) as administrator:
            cursor = administrator.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def round_trip(self, port: int) -> float:
        """Milliseconds of a statement that costs nothing, by the median."""
        with closing(psycopg.connect(self.url("postgres", port), autocommit=True)) as connection:
            times = [time.perf_counter()]
            for _ in range(15):
                connection.execute("SELECT 1")
                times.append(time.perf_counter())
        return median(after - before for before, after in pairwise(times)) * 1000


class DelayProxy(Service):
    """A port through which PostgreSQL is farther away."""

    def __init__(self, folder: Path, target: int) -> None:
        super().__init__(folder)
        self.command = [sys.executable, "-m", "benchmarks.delay", str(self.port), str(target)]


class Server(Service):
    """A server with one worker on its core; its name is its database's, too."""

    name: str

    def __init__(self, folder: Path, core: int, url: str) -> None:
        super().__init__(folder)
        self.command = ["taskset", "--cpu-list", str(core), *self.serve(self.port)]
        self.options = {
            "env": environment(DATABASE_URL=url, BETTER_AUTH_SECRET=SECRET, GRANIAN_BLOCKING_THREADS=str(THREADS))
        }

    def serve(self, port: int) -> list[str]:
        return serve_command(port)

    def is_ready(self) -> bool:
        return get(self.port, "/healthz")[0] == 200

    def processes(self) -> Iterator[int]:
        pids = [self.process.pid]
        while pids:
            yield (pid := pids.pop())
            pids.extend(children(pid))

    def cpu(self) -> float:
        """Seconds that all its processes have computed, for themselves and in the kernel."""
        return sum(int(ticks) for pid in self.processes() for ticks in stat(pid)[11:13]) / TICKS

    def worker(self) -> int:
        """The process that answers: the one with the most memory."""
        return max(self.processes(), key=megabytes)


class Django(Server):
    """This project as `make serve` runs it."""

    name = "django"


class Floor(Server):
    """The same work without a framework, run the same way."""

    name = "floor"

    def serve(self, port: int) -> list[str]:
        return [*serve_command(port)[:-1], "benchmarks.floor_app:application"]


class Fastapi(Server):
    """The same API on FastAPI, with what makes uvicorn fast and without what it does not need here."""

    name = "fastapi"

    def serve(self, port: int) -> list[str]:
        options = f"--host 0.0.0.0 --port {port} --workers 1 --loop uvloop --http httptools --ws none --no-access-log"
        quiet = "--log-level warning --no-server-header --no-proxy-headers"
        return [sys.executable, "-m", "uvicorn", "benchmarks.fastapi_app:app", *options.split(), *quiet.split()]
