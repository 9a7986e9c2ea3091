from collections.abc import Callable
from time import monotonic
from typing import Any


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """Returns what the call returns, and the seconds that it takes."""
    start = monotonic()
    return call(), monotonic() - start
