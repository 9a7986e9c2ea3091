"""A chart of the three servers' throughput."""

from pathlib import Path
from statistics import median

import matplotlib as mpl
from matplotlib.figure import Figure

from .report import Rounds, names, ratios

# Text stays text, ids are reproducible, and the colours are readable on light and dark pages.
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "benchmark",
    "font.family": "sans-serif",
    "font.size": 11,
    **dict.fromkeys(["text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"], "#808890"),
}
SERVERS = {
    "floor": ("the floor", "#9aa0a6"),
    "fastapi": ("FastAPI", "#d9822b"),
    "django": ("this project", "#2f81f7"),
}


def draw(rounds: Rounds, file: Path) -> None:
    """Draws a row for each operation, on a logarithmic scale, because their throughputs differ a hundredfold."""
    operations = names(rounds)
    rows = range(len(operations), 0, -1)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8, 0.9 + 0.42 * len(operations)))
        axes = figure.subplots()
        for server, (label, colour) in SERVERS.items():
            found = [median(one.throughput for one in rounds[name, server]) for name in operations]
            axes.scatter(found, rows, s=70, color=colour, label=label, zorder=3)
        for row, name in zip(rows, operations, strict=True):
            times = median(ratios(rounds, name, "throughput"))
            axes.annotate(
                f"{times:.1f}×",  # noqa: RUF001  multiplication sign
                (1.02, row),
                xycoords=("axes fraction", "data"),
                va="center",
                color=SERVERS["django"][1],
            )
        axes.set_xscale("log")
        axes.minorticks_off()
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.set_xlabel("requests per second on one core; at the right: this project / FastAPI")
        axes.set_yticks(rows, operations)
        axes.grid(axis="both", color="#80889040", linewidth=0.6)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        axes.legend(ncols=3, loc="lower right", bbox_to_anchor=(1, 1), frameon=False, labelcolor="linecolor")
        figure.savefig(file, transparent=True, bbox_inches="tight", metadata={"Date": None, "Creator": None})
