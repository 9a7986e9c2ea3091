"""This project, the same API on FastAPI, and the floor, side by side: `python -m benchmarks --seconds 2 --rounds 5`.

Prints Markdown. Exits with 1 where an answer is not what is expected, since nothing is worth measuring then.
"""

import argparse
import os
import shutil
import sys
import tempfile
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path

from faults.servers import megabytes

from . import chart, delay, parity, report, scale
from .load import USERS, Operation, add, measure, operations
from .servers import DelayProxy, Django, Fastapi, Floor, Postgresql, Server, share_cores

DELAYED = ["get", "list of 20", "create", "update", "toggle"]


def take_turns(
    postgresql: Postgresql, servers: list[Server], chosen: list[Operation], rounds: int, seconds: int, clients: int
) -> report.Rounds:
    """Each operation on each server; another one begins each round, so that what disturbs one disturbs all."""
    measured: report.Rounds = defaultdict(list)
    for server in servers:
        for warming in chosen[:1]:
            measure(server, warming, warming.requests(postgresql, server.name), 1, clients)
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


class Benchmark:
    def __init__(self, folder: Path, arguments: argparse.Namespace) -> None:
        self.folder = folder
        self.rounds: int = arguments.rounds
        self.seconds: int = arguments.seconds
        self.core = share_cores()
        only: list[str] = arguments.only or [one.name for one in operations(self.seconds)]
        self.operations = [one for one in operations(self.seconds) if one.name in only]

    def run(self) -> report.Results:
        with Postgresql(self.folder) as self.postgresql:
            for kind in (Django, Fastapi, Floor):
                self.postgresql.make_database(kind.name)
                for user, count in USERS.items():
                    add(self.postgresql, kind.name, user, count)
                self.postgresql.execute(kind.name, "VACUUM ANALYZE tasks_task")
            near, worker = self.near()
            far, round_trip = self.far()
            sizes = self.sizes()
            growth = scale.growth(self.folder, self.core, self.postgresql)
            return report.Results(near, far, sizes, worker, growth, round_trip, self.rounds, self.seconds)

    def start(self, stack: ExitStack, *kinds: type[Server], port: int | None = None) -> list[Server]:
        urls = {kind: self.postgresql.url(kind.name, port) for kind in kinds}
        return [stack.enter_context(kind(self.folder, self.core, urls[kind])) for kind in kinds]

    def near(self) -> tuple[report.Rounds, float]:
        """With the database on the same machine; and then the worker's memory in MB."""
        with ExitStack() as stack:
            servers = self.start(stack, Django, Fastapi, Floor)
            if different := parity.differences(servers):
                sys.exit("These answers differ, so that there is nothing to compare:\n" + "\n".join(different))
            if not self.rounds:
                print("The answers are the same.")
                sys.exit()
            rounds = take_turns(self.postgresql, servers, self.operations, self.rounds, self.seconds, 16)
            return rounds, megabytes(servers[0].worker())

    def far(self) -> tuple[report.Rounds, float]:
        """With a database to which each round trip takes longer; and the milliseconds that one takes."""
        chosen = [one for one in self.operations if one.name in DELAYED]
        with ExitStack() as stack:
            proxy = stack.enter_context(DelayProxy(self.folder, self.postgresql.port))
            round_trip = self.postgresql.round_trip(proxy.port)
            assert 1 <= round_trip / (delay.DELAY * 1000) < 1.25, f"a round trip takes {round_trip:.1f} ms"
            servers = self.start(stack, Django, Fastapi, port=proxy.port)
            rounds = (self.rounds + 1) // 2
            return take_turns(self.postgresql, servers, chosen, rounds, self.seconds, 50), round_trip

    def sizes(self) -> report.Rounds:
        """This project on a table, and on one a hundred times as large."""
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
    parser.add_argument("--only", nargs="+", metavar="OPERATION", help="such as get or 'list of 20'; else all")
    parser.add_argument("--rounds", type=int, default=5, help="0 to compare the answers only")
    parser.add_argument("--seconds", type=int, default=2, help="of each round of each operation and server")
    parser.add_argument("--publish", action="store_true", help="write the figures and the chart into the README")
    arguments = parser.parse_args()
    os.environ["DJANGO_SETTINGS_MODULE"] = "testing.settings"
    # Where PostgreSQL may enter, too, who does not run as root.
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        results = Benchmark(folder, arguments).run()
        chart.draw(results.near, folder / "benchmark.svg")
        print(text := report.markdown(results))
        if arguments.publish:
            report.publish(text)
            shutil.copyfile(folder / "benchmark.svg", report.CHART)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
