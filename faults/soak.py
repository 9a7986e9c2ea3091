"""Random faults under load: `python -m faults.soak --minutes 30`.

Prints the Markdown of docs/soak.md. Exits with 1 if a limit is exceeded.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import mean
from typing import NamedTuple

from testing.postgresql import forget_libpq_variables
from testing.servers import megabytes, wait_until

from .load import Load, Outcome, Record
from .servers import Backend, Pgbouncer, Postgresql

# Seconds after the end of a fault until all requests are answered again
BACK_WITHIN = 5
# The shortest and the longest pause between faults, in seconds
PAUSE = (15, 25)
# Threads of a worker: fewer than its users, so that requests have to wait for a thread.
THREADS = 4


class Servers(NamedTuple):
    postgresql: Postgresql
    pooler: Pgbouncer
    # No fault kills its workers, so that their memory can be compared over time.
    direct: Backend
    pooled: Backend


def kill_and_restart(servers: Servers) -> None:
    servers.postgresql.kill()
    time.sleep(random.uniform(1, 5))
    servers.postgresql.start()


def stop_and_continue(servers: Servers) -> None:
    with servers.postgresql.paused():
        time.sleep(random.uniform(2, 15))


def lock_the_table(servers: Servers) -> None:
    with servers.postgresql.locked():
        time.sleep(random.uniform(1, 12))


def lock_a_row(servers: Servers) -> None:
    with servers.postgresql.locked("SELECT FROM tasks_task ORDER BY random() LIMIT 1 FOR UPDATE"):
        time.sleep(random.uniform(1, 12))


def restart_the_pooler(servers: Servers) -> None:
    servers.pooler.stop()
    time.sleep(random.uniform(0, 2))
    servers.pooler.start()


def kill_a_worker(servers: Servers) -> None:
    killed = random.choice(servers.pooled.workers())
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: killed not in servers.pooled.workers(), "the worker ends")
    wait_until(lambda: len(servers.pooled.workers()) == 2, "a new worker runs")


def cut_all_connections(servers: Servers) -> None:
    servers.postgresql.terminate_connections()


FAULTS: list[Callable[[Servers], None]] = [
    kill_and_restart,
    cut_all_connections,
    stop_and_continue,
    lock_the_table,
    lock_a_row,
    kill_a_worker,
    restart_the_pooler,
]


class Fault(NamedTuple):
    name: str
    start: float
    end: float

    def touches(self, record: Record) -> bool:
        """Whether a request overlaps the fault or the `BACK_WITHIN` seconds after it."""
        return record.end >= self.start and record.start <= self.end + BACK_WITHIN


class Sample(NamedTuple):
    time: float
    # The memory of each worker, in MB
    memory: list[float]
    connections: int


def sample(servers: Servers) -> Sample:
    workers = [*servers.direct.workers(), *servers.pooled.workers()]
    return Sample(time.monotonic(), [megabytes(pid) for pid in workers], len(servers.postgresql.connections()))


def soak(servers: Servers, load: Load, minutes: float) -> tuple[list[Fault], list[Sample]]:
    """Causes faults under load. Returns them, and the samples taken before each and at the end."""
    faults: list[Fault] = []
    samples: list[Sample] = []
    end = time.monotonic() + 60 * minutes
    due: list[Callable[[Servers], None]] = []
    with load:
        while time.monotonic() < end:
            time.sleep(random.uniform(*PAUSE))
            samples.append(sample(servers))
            # A round has all faults in random order, so that all are equally frequent.
            due = due or random.sample(FAULTS, len(FAULTS))
            start = time.monotonic()
            due[-1](servers)
            faults.append(Fault(due.pop().__name__.replace("_", " "), start, time.monotonic()))
        time.sleep(PAUSE[1])
        samples.append(sample(servers))
    return faults, samples


def quarters(values: list[float]) -> tuple[float, float]:
    """The means of the first and of the last quarter of the values."""
    size = max(1, len(values) // 4)
    return mean(values[:size]), mean(values[-size:])


def print_row(*cells: object) -> None:
    print(f"| {' | '.join(map(str, cells))} |")


def print_counts(columns: list[list[Record]]) -> None:
    print_row("", "outside of faults", f"from the start of a fault to {BACK_WITHIN} s after its end")
    print("|--|--|--|")
    print_row("requests", *map(len, columns))
    for outcome in Outcome:
        counts = [sum(record.outcome is outcome for record in records) for records in columns]
        shares = [f"{count / max(1, len(records)):.3%}" for count, records in zip(counts, columns, strict=True)]
        print_row(outcome.value, *(f"{count}, {share}" for count, share in zip(counts, shares, strict=True)))
    slowest = [max((record.end - record.start for record in records), default=0) for records in columns]
    print_row("slowest request", *(f"{seconds:.1f} s" for seconds in slowest))


def print_minutes(samples: list[Sample], faults: list[Fault]) -> None:
    start = samples[0].time
    print_row("minute", "memory of each worker, MB", "connections to the database", "faults")
    print("|--|--|--|--|")
    for minute in range(int((samples[-1].time - start) / 60) + 1):
        [*_, last] = [sample for sample in samples if sample.time - start < 60 * minute + 60]
        memory = ", ".join(f"{value:.0f}" for value in last.memory)
        names = [fault.name for fault in faults if 0 <= fault.start - start - 60 * minute < 60]
        print_row(minute, memory, last.connections, ", ".join(names))


def report(load: Load, faults: list[Fault], samples: list[Sample]) -> list[str]:
    """Prints the results. Returns the limits that were exceeded."""
    records = load.records
    inside = [record for record in records if any(fault.touches(record) for fault in faults)]
    outside = [record for record in records if not any(fault.touches(record) for fault in faults)]
    answered = sum(record.outcome is Outcome.ANSWERED for record in outside)
    written = sum(record.outcome is Outcome.ANSWERED and record.method != "GET" for record in records)
    kills = [fault for fault in faults if fault.name == "kill a worker"]
    lost = [record for record in records if record.outcome is Outcome.LOST]
    memory = quarters([mean(sample.memory[:2]) for sample in samples])
    connections = quarters([sample.connections for sample in samples])
    print(f"{len(faults)} faults, {sum(fault.end - fault.start for fault in faults):.0f} s in all.\n")
    print_counts([outside, inside])
    print("\n| | |\n|--|--|")
    print_row("acknowledged writes", written)
    print_row("tasks that are as acknowledged, at the end", f"{load.present} of {load.acknowledged}")
    print_row("memory of a worker, in the first and in the last quarter", f"{memory[0]:.1f} MB, {memory[1]:.1f} MB")
    print_row("connections, in the first and in the last quarter", f"{connections[0]:.1f}, {connections[1]:.1f}")
    print()
    print_minutes(samples, faults)
    limits = {
        "99.9 % of the requests outside of faults are answered": answered >= 0.999 * len(outside),
        "no acknowledged write is lost": load.present == load.acknowledged,
        "only connections to a killed worker break": all(any(kill.touches(one) for kill in kills) for one in lost),
        "memory is flat": memory[1] <= 1.1 * memory[0],
        "connections are flat": connections[1] <= 1.5 * connections[0],
        "a thread has at most one connection": all(sample.connections <= 2 * THREADS + 2 for sample in samples),
    }
    return [limit for limit, kept in limits.items() if not kept]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    minutes = parser.parse_args().minutes
    os.environ["DJANGO_SETTINGS_MODULE"] = "testing.settings"
    forget_libpq_variables()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
        postgresql = stack.enter_context(Postgresql(folder))
        postgresql.make_database()
        pooler = stack.enter_context(Pgbouncer(postgresql))
        urls = (postgresql.todo_url(), pooler.url)
        backends = [stack.enter_context(Backend(folder, url, workers=2, threads=THREADS)) for url in urls]
        load = Load(*backends, users=24, pace=6)
        faults, samples = soak(Servers(postgresql, pooler, *backends), load, minutes)
        exceeded = []
        try:
            load.verify(postgresql)
        except AssertionError as exc:
            exceeded.append(f"no answer or row contradicts an acknowledged write\n{exc}")
    exceeded += report(load, faults, samples)
    for limit in exceeded:
        print(f"Limit exceeded: {limit}", file=sys.stderr)
    return 1 if exceeded else 0


if __name__ == "__main__":
    sys.exit(main())
