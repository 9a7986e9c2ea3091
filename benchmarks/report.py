"""Writes the results as Markdown."""

import os
import platform
import re
import subprocess
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import NamedTuple

from testing.postgresql import find_binaries

from .load import Round

DOCUMENT = Path(__file__).parents[1] / "docs" / "benchmark.md"
CHART = DOCUMENT.with_suffix(".svg")
MARKERS = ("<!-- make bench -->\n", "<!-- end of make bench -->\n")

# The rounds of an operation on a server, by the names of both
Rounds = dict[tuple[str, str], list[Round]]
# The least throughput, as a multiple of FastAPI's
TARGETS = {
    **dict.fromkeys(["get", "create", "update", "toggle"], 1.8),
    "list of 20": 2.2,
    "list of 1000": 5.5,
    "refuse a token": 0.7,
}
# With a distant database: the highest p50, as a multiple of FastAPI's, and the limit of p99 in ms
FAR_P50, FAR_P99 = 0.5, 500
# The longest time on the large table, as a multiple of that on the small one
LARGE = 1.25
# The largest memory of a worker, and its largest growth, in MB
WORKER, GROWTH = 120, 50


class Results(NamedTuple):
    near: Rounds
    far: Rounds
    sizes: Rounds
    worker: float
    growth: float
    round_trip: float
    rounds: int
    seconds: int


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [titles, [":--", *["--:"] * (len(titles) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def names(rounds: Rounds) -> list[str]:
    return list(dict.fromkeys(name for name, _ in rounds))


def ratios(rounds: Rounds, name: str, figure: str, servers: Sequence[str] = ("django", "fastapi")) -> list[float]:
    """The quotient of two servers' figures for each pair of rounds."""
    pairs = zip(*(rounds[name, server] for server in servers), strict=True)
    return [getattr(first, figure) / getattr(second, figure) for first, second in pairs]


def cell(rounds: Rounds, name: str, figure: str, servers: Sequence[str], form: str = ".1f") -> str:
    """The medians of the servers' figures, for a table's cell."""
    medians = [median(getattr(found, figure) for found in rounds[name, server]) for server in servers]
    return " · ".join(f"{value:{form}}" for value in medians)


def spread(values: Sequence[float]) -> str:
    return f"**{median(values):.2f}** ({min(values):.2f} to {max(values):.2f})"


def verdict(target: str, reached: bool) -> str:
    return f"{target}: {'reached' if reached else '**missed**'}"


def near(rounds: Rounds) -> str:
    servers = ("django", "fastapi", "floor")
    rows = []
    for name in names(rounds):
        times = ratios(rounds, name, "throughput")
        target = TARGETS.get(name)
        rows.append(
            [
                name,
                cell(rounds, name, "throughput", servers, ".0f"),
                cell(rounds, name, "p50", servers),
                cell(rounds, name, "p99", servers),
                cell(rounds, name, "cpu", servers, ".0f"),
                spread(times),
                verdict(f"{target}", median(times) >= target) if target else "",
            ]
        )
    return table(
        ["operation", "requests/s", "p50, ms", "p99, ms", "CPU per request, µs", "throughput / FastAPI's", "target"],
        rows,
    )


def far(rounds: Rounds) -> str:
    servers = ("django", "fastapi")
    rows = []
    for name in names(rounds):
        times = ratios(rounds, name, "p50")
        p99 = median(found.p99 for found in rounds[name, "django"])
        reached = median(times) <= FAR_P50 and p99 < FAR_P99
        rows.append(
            [
                name,
                cell(rounds, name, "throughput", servers, ".0f"),
                cell(rounds, name, "p50", servers, ".0f"),
                cell(rounds, name, "p99", servers, ".0f"),
                spread(times),
                verdict(f"{FAR_P50}, and {FAR_P99} ms", reached),
            ]
        )
    return table(["operation", "requests/s", "p50, ms", "p99, ms", "p50 / FastAPI's", "target"], rows)


def sizes(rounds: Rounds) -> str:
    servers = ("small", "large")
    rows = []
    for name in names(rounds):
        times = ratios(rounds, name, "throughput", servers)
        cpu = ratios(rounds, name, "cpu", servers[::-1])
        cells = [cell(rounds, name, figure, servers, ".0f") for figure in ("throughput", "cpu")]
        rows.append([name, *cells, spread(times), spread(cpu), verdict(f"{LARGE}", median(times) <= LARGE)])
    return table(
        ["operation", "requests/s", "CPU per request, µs", "time, large / small", "CPU, large / small", "target"],
        rows,
    )


def machine() -> str:
    """Describes the machine and names the versions of the software."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    wrk = re.search(r"wrk \S*?([\d.]+)", subprocess.run(["wrk", "-v"], capture_output=True, text=True).stdout)
    postgres = subprocess.run([find_binaries() / "postgres", "--version"], capture_output=True, text=True).stdout
    packages = ["django", "djangorestframework", "granian", "psycopg", "orjson", "fastapi", "sqlmodel", "sqlalchemy"]
    packages += ["asyncpg", "pydantic", "uvicorn", "uvloop", "httptools"]
    return (
        f"{os.cpu_count()} cores of {cpu[1] if cpu else platform.machine()}, Linux {platform.release()}, "
        f"Python {platform.python_version()}, PostgreSQL {postgres.split()[2]}, wrk {wrk[1] if wrk else '?'}, "
        + ", ".join(f"{package} {version(package)}" for package in packages)
    )


def markdown(results: Results) -> str:
    worker = verdict(f"at most {WORKER}", results.worker <= WORKER)
    growth = verdict(f"at most {GROWTH}", results.growth <= GROWTH)
    return f"""\
With 16 clients. Cells show: this project · FastAPI · the floor. Figures are medians of {results.rounds} rounds of
{results.seconds} s. Ratios are medians over pairs of rounds, with the smallest and the largest in brackets.

{near(results.near)}

With 50 clients and a database 20 ms away (a trivial statement takes {results.round_trip:.1f} ms). Cells show: this
project · FastAPI.

{far(results.far)}

This project on two tables. Cells show: 20 000 tasks of 1000 users · 2 million tasks of 100 000 users.

{sizes(results.sizes)}

A worker uses {results.worker:.0f} MB after the first table's load ({worker}), and grows by {results.growth:.0f} MB
while it answers ten requests for a list of 10 000 tasks ({growth}).

Measured on {machine()}."""


def publish(text: str) -> None:
    """Puts the chart and the text between the markers of the document."""
    before, rest = DOCUMENT.read_text().split(MARKERS[0])
    _, after = rest.split(MARKERS[1])
    picture = f"![Requests per second of each operation]({CHART.name})"
    DOCUMENT.write_text(f"{before}{MARKERS[0]}{picture}\n\n{text}\n{MARKERS[1]}{after}")
