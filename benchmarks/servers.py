"""The servers that are compared, each pinned to a core, and their databases."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from statistics import median

import psycopg

from testing.postgresql import Postgresql
from testing.processes import environment, migrate, serve_command
from testing.servers import ServerProcess, children, get, megabytes, stat

TICKS = os.sysconf("SC_CLK_TCK")
# Granian's threads. One of them never waits for the database, so FastAPI gets a pool of one connection less.
THREADS = 16


def share_cores() -> int:
    """Pins this process and its later children to the second core. Returns the first core, for the servers."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit("The benchmark needs two cores: one for the server, one for PostgreSQL and the load.")
    os.sched_setaffinity(0, cores[1:2])
    return cores[0]


def make_database(postgresql: Postgresql, name: str) -> None:
    """Creates a database with the project's tables."""
    postgresql.execute("postgres", f"CREATE DATABASE {name}")
    migrate(postgresql.url(name))


def round_trip(url: str) -> float:
    """The median time of a trivial statement, in milliseconds."""
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        times = [time.perf_counter()]
        for _ in range(15):
            connection.execute("SELECT 1")
            times.append(time.perf_counter())
    return median(after - before for before, after in pairwise(times)) * 1000


class DelayProxy(ServerProcess):
    """A TCP proxy that adds latency between a server and PostgreSQL."""

    def __init__(self, folder: Path, target: int) -> None:
        super().__init__(folder)
        self.command = [sys.executable, "-m", "benchmarks.delay", str(self.port), str(target)]


class Server(ServerProcess):
    """A server with one worker on one core. The database has the server's name."""

    name: str

    def __init__(self, folder: Path, core: int, url: str) -> None:
        super().__init__(folder)
        self.command = ["taskset", "--cpu-list", str(core), *self.serve(self.port)]
        self.options = {"env": environment(DATABASE_URL=url, THREADS=str(THREADS))}

    def serve(self, port: int) -> list[str]:
        """The command that starts the server."""
        return serve_command(port=port)

    def is_ready(self) -> bool:
        return get(self.port, "/healthz")[0] == 200

    def processes(self) -> Iterator[int]:
        """The ids of the server's process and its descendants."""
        pids = [self.process.pid]
        while pids:
            yield (pid := pids.pop())
            pids.extend(children(pid))

    def cpu(self) -> float:
        """The CPU time of all the server's processes, in user and in kernel mode, in seconds."""
        return sum(int(ticks) for pid in self.processes() for ticks in stat(pid)[11:13]) / TICKS

    def worker(self) -> int:
        """The id of the worker, which is the process with the most memory."""
        return max(self.processes(), key=megabytes)


class Django(Server):
    """This project, as `make serve` starts it."""

    name = "django"


class Floor(Server):
    """The same API without a framework, on the same server."""

    name = "floor"

    def serve(self, port: int) -> list[str]:
        return [sys.executable, "-m", "benchmarks.floor_server", str(port), str(THREADS)]


class Fastapi(Server):
    """The same API on FastAPI and uvicorn, with uvicorn's fastest options and without its unused features."""

    name = "fastapi"

    def serve(self, port: int) -> list[str]:
        options = f"--host 0.0.0.0 --port {port} --workers 1 --loop uvloop --http httptools --ws none --no-access-log"
        quiet = "--log-level warning --no-server-header --no-proxy-headers"
        return [sys.executable, "-m", "uvicorn", "benchmarks.fastapi_app:app", *options.split(), *quiet.split()]
