"""Compares this project with the same API on FastAPI and with the floor: `python -m benchmarks --seconds 2 --rounds 5`.

Prints Markdown. Exits with 1 if the servers' answers differ, or if one fails under load.
"""

import argparse
import os
import shutil
import sys
import tempfile
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path

from testing.postgresql import Postgresql, forget_libpq_variables
from testing.servers import megabytes

from . import chart, delay, parity, report, scale
from .load import USERS, Operation, add_tasks, measure, operations
from .servers import DelayProxy, Django, Fastapi, Floor, Server, make_database, round_trip, share_cores

DELAYED = ["get", "list of 20", "create", "update", "toggle"]


def take_turns(
    postgresql: Postgresql, servers: list[Server], chosen: list[Operation], rounds: int, seconds: int, clients: int
) -> report.Rounds:
    """Measures each operation on all servers.

    Another server begins each round, so that a disturbance of the machine affects all of them.
    """
    measured: report.Rounds = defaultdict(list)
    for server in servers:
        if chosen:
            # A first round, to warm the server up
            measure(server, chosen[0], chosen[0].requests(postgresql, server.name), 1, clients)
    for number in range(rounds):
        for operation in chosen:
            turn = number % len(servers)
            for server in [*servers[turn:], *servers[:turn]]:
                requests = operation.requests(postgresql, server.name)
                result = measure(server, operation, requests, seconds, clients)
                measured[operation.name, server.name].append(result)
                line = f"{operation.name}, {server.name}: {result.throughput:.0f}/s, p50 {result.p50:.1f} ms"
                print(f"{number + 1}/{rounds} {line}", file=sys.stderr, flush=True)
    return measured


def compare(servers: list[Server]) -> None:
    """Exits with 1 if the answers of a server differ from those of the first."""
    expected, *others = [[*parity.answers(parity.Client(server))] for server in servers]
    for server, found in zip(servers[1:], others, strict=True):
        different, unknown = parity.differences(expected, found)
        if different:
            sys.exit(f"{server.name} answers differently, so its throughput means nothing:\n" + "\n".join(different))
        print(f"{server.name} gives the same answers as {servers[0].name}.", file=sys.stderr)
        if unknown:
            print(f"It never sends {', '.join(sorted(unknown))}, so this was not compared.", file=sys.stderr)


class Benchmark:
    def __init__(self, folder: Path, postgresql: Postgresql, core: int, arguments: argparse.Namespace) -> None:
        self.folder = folder
        self.postgresql = postgresql
        self.rounds: int = arguments.rounds
        self.seconds: int = arguments.seconds
        self.core = core
        only: list[str] = arguments.only or [one.name for one in operations(self.seconds)]
        self.operations = [one for one in operations(self.seconds) if one.name in only]

    def run(self) -> report.Results:
        for kind in (Django, Fastapi, Floor):
            make_database(self.postgresql, kind.name)
            for user, count in USERS.items():
                add_tasks(self.postgresql, kind.name, user, count)
            self.postgresql.execute(kind.name, "VACUUM ANALYZE tasks_task")
        near, worker = self.measure_near()
        far, milliseconds = self.measure_far()
        sizes = self.measure_sizes()
        growth = scale.growth(self.folder, self.core, self.postgresql)
        return report.Results(near, far, sizes, worker, growth, milliseconds, self.rounds, self.seconds)

    def start(self, stack: ExitStack, *kinds: type[Server], port: int | None = None) -> list[Server]:
        urls = [self.postgresql.url(kind.name, port=port) for kind in kinds]
        return [stack.enter_context(kind(self.folder, self.core, url)) for kind, url in zip(kinds, urls, strict=True)]

    def measure_near(self) -> tuple[report.Rounds, float]:
        """Measures with the database on this machine. Returns the rounds, and the worker's memory after them in MB."""
        with ExitStack() as stack:
            servers = self.start(stack, Django, Fastapi, Floor)
            compare(servers)
            if not self.rounds:
                sys.exit()
            rounds = take_turns(self.postgresql, servers, self.operations, self.rounds, self.seconds, 16)
            return rounds, megabytes(servers[0].worker())

    def measure_far(self) -> tuple[report.Rounds, float]:
        """Measures with a database that is 20 ms away. Returns the rounds, and the time of a round trip in ms."""
        chosen = [one for one in self.operations if one.name in DELAYED]
        with ExitStack() as stack:
            proxy = stack.enter_context(DelayProxy(self.folder, self.postgresql.port))
            milliseconds = round_trip(self.postgresql.url("postgres", port=proxy.port))
            assert 1 <= milliseconds / (delay.DELAY * 1000) < 1.25, f"a round trip takes {milliseconds:.1f} ms"
            servers = self.start(stack, Django, Fastapi, port=proxy.port)
            rounds = (self.rounds + 1) // 2
            return take_turns(self.postgresql, servers, chosen, rounds, self.seconds, 50), milliseconds

    def measure_sizes(self) -> report.Rounds:
        """Measures this project on a small table, and on a table that is a hundred times as large."""
        with ExitStack() as stack:
            servers: list[Server] = []
            for database in scale.USERS:
                scale.fill(self.postgresql, database)
                server = stack.enter_context(Django(self.folder, self.core, self.postgresql.url(database)))
                server.name = database
                servers.append(server)
            return take_turns(self.postgresql, servers, scale.operations(), self.rounds, self.seconds, 16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="OPERATION", help="such as get or 'list of 20'; by default all")
    parser.add_argument("--rounds", type=int, default=5, help="0 to compare the answers only")
    parser.add_argument(
        "--seconds", type=int, default=2, help="the length of a round, in which one operation is measured on one server"
    )
    parser.add_argument("--publish", action="store_true", help="write the figures and the chart into docs/")
    arguments = parser.parse_args()
    os.environ["DJANGO_SETTINGS_MODULE"] = "testing.settings"
    forget_libpq_variables()
    core = share_cores()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        # A vacuum would disturb one server only, so autovacuum is off and the benchmark vacuums between rounds.
        with Postgresql(folder, listen_addresses="127.0.0.1", autovacuum="off") as postgresql:
            results = Benchmark(folder, postgresql, core, arguments).run()
        chart.draw(results.near, folder / "benchmark.svg")
        print(text := report.markdown(results))
        if arguments.publish:
            report.publish(text)
            shutil.copyfile(folder / "benchmark.svg", report.CHART)


if __name__ == "__main__":
    main()
