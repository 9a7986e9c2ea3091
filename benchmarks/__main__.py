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

from . import report
from .load import USERS, add, measure, operations
from .parity import differences
from .servers import Django, Fastapi, Floor, Postgresql, Server, share_cores

CLIENTS = 16


def progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def side_by_side(postgresql: Postgresql, servers: list[Server], arguments: argparse.Namespace) -> report.Rounds:
    """Each operation in turn on each server, the first of which changes, so that what disturbs one disturbs all."""
    measured: report.Rounds = defaultdict(list)
    chosen = [one for one in operations(arguments.seconds) if not arguments.only or one.name in arguments.only]
    for number in range(arguments.rounds):
        for operation in chosen:
            turn = number % len(servers)
            for server in [*servers[turn:], *servers[:turn]]:
                requests = operation.requests(postgresql, server.name)
                postgresql.execute(server.name, "VACUUM ANALYZE tasks_task")
                result = measure(server, operation, requests, arguments.seconds, CLIENTS)
                measured[operation.name, server.name].append(result)
                progress(f"{number + 1}: {operation.name}, {server.name}: {result.throughput:.0f}/s")
    return measured


def run(folder: Path, arguments: argparse.Namespace) -> None:
    core = share_cores()
    with ExitStack() as stack:
        postgresql = stack.enter_context(Postgresql(folder))
        servers: list[Server] = []
        for kind in (Django, Fastapi, Floor):
            postgresql.make_database(kind.name)
            for user, count in USERS.items():
                add(postgresql, kind.name, user, count)
            servers.append(stack.enter_context(kind(folder, core, postgresql.url(kind.name))))
        if different := differences(servers):
            sys.exit("These answers differ, so that the comparison would be none:\n" + "\n".join(different))
        measured = side_by_side(postgresql, servers, arguments)
        print(report.machine(), report.side_by_side(measured), sep="\n\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="OPERATION", help="such as get or 'list of 20'; else all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2, help="of each round of each operation and server")
    arguments = parser.parse_args()
    os.environ["DJANGO_SETTINGS_MODULE"] = "todo_backend.tests.settings"
    # Where PostgreSQL may enter, too, who does not run as root.
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        run(folder, arguments)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
