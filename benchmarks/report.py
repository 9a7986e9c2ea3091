"""What was measured, as Markdown."""

import os
import platform
import re
import subprocess
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median

from .load import Round

Rounds = dict[tuple[str, str], list[Round]]
# Of the throughput of FastAPI, the median over the rounds
TARGETS = {
    **dict.fromkeys(["get", "create", "update", "toggle"], 1.5),
    "list of 20": 2,
    "list of 1000": 5,
    "refuse a token": 0.8,
}
SERVERS = ["django", "fastapi", "floor"]


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [titles, [":--", *["--:"] * (len(titles) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def ratios(rounds: Rounds, name: str, figure: Callable[[Round], float]) -> list[float]:
    """Ours over FastAPI's, of each pair of rounds."""
    pairs = zip(rounds[name, "django"], rounds[name, "fastapi"], strict=True)
    return [figure(ours) / figure(theirs) for ours, theirs in pairs]


def spread(values: Sequence[float], form: str = ".2f") -> str:
    return f"**{median(values):{form}}** ({min(values):{form}}–{max(values):{form}})"  # noqa: RUF001  a range


def against(value: float, target: float | None, *, at_most: bool = False) -> str:
    if target is None:
        return ""
    return f"{target:g}, {'reached' if (value <= target if at_most else value >= target) else 'missed'}"


def side_by_side(rounds: Rounds) -> str:
    """A row for each operation, in its cells this project, FastAPI and the floor."""

    def cell(name: str, figure: Callable[[Round], float], form: str) -> str:
        return " · ".join(f"{median(map(figure, rounds[name, server])):{form}}" for server in SERVERS)

    rows = []
    for name in dict.fromkeys(name for name, _ in rounds):
        paired = ratios(rounds, name, lambda found: found.throughput)
        rows.append(
            [
                name,
                cell(name, lambda found: found.throughput, ".0f"),
                cell(name, lambda found: found.p50, ".1f"),
                cell(name, lambda found: found.p99, ".1f"),
                cell(name, lambda found: found.cpu, ".0f"),
                spread(paired),
                against(median(paired), TARGETS.get(name)),
            ]
        )
    titles = ["operation", "requests/s", "p50, ms", "p99, ms", "CPU, µs a request", "times FastAPI", "target"]
    return table(titles, rows)


def machine() -> str:
    """The machine, and versions of everything that has a part in it."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    wrk = re.search(r"wrk \S*?([\d.]+)", subprocess.run(["wrk", "-v"], capture_output=True, text=True).stdout)
    packages = ["django", "djangorestframework", "granian", "psycopg", "fastapi", "sqlmodel", "sqlalchemy"]
    packages += ["asyncpg", "pydantic", "uvicorn", "uvloop", "httptools"]
    return (
        f"{os.cpu_count()} cores of {cpu[1] if cpu else platform.machine()}, "
        f"Linux {platform.release()}, Python {platform.python_version()}, wrk {wrk[1] if wrk else '?'}; "
        + ", ".join(f"{package} {version(package)}" for package in packages)
    )
