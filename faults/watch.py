"""Measurements beside the load: the duration of a fault, and probes."""

import time
from threading import Event, Thread
from typing import Self

from testing.servers import get

from .servers import Backend


class Fault:
    """The start and the end of a fault, which lasts as long as the context."""

    def __enter__(self) -> Self:
        self.start = self.end = time.monotonic()
        return self

    def __exit__(self, *error: object) -> None:
        self.end = time.monotonic()

    @property
    def seconds(self) -> float:
        return self.end - self.start


class Probe:
    """Requests a path five times a second while the context lasts."""

    def __init__(self, backend: Backend, path: str) -> None:
        # Start, status and seconds of each request
        self.answers: list[tuple[float, int, float]] = []
        self.stopped = Event()
        self.thread = Thread(target=self.keep_on, args=[backend.port, path])

    def keep_on(self, port: int, path: str) -> None:
        while not self.stopped.wait(0.2):
            self.answers.append((time.monotonic(), *get(port, path)))

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stopped.set()
        self.thread.join()

    def statuses(self, since: float = 0) -> set[int]:
        """The statuses of the requests that began at that time or later."""
        return {status for start, status, _ in self.answers if start >= since}

    def slowest(self) -> float:
        return max(seconds for _, _, seconds in self.answers)
