"""Server processes, for tests, `faults/` and `benchmarks/`."""

import http.client
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Self


def wait_until(condition: Callable[[], object], event: str, seconds: float = 30) -> None:
    """Polls the condition. Raises an `AssertionError` that names the event if it is not true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {event}"
        time.sleep(0.02)


def stable_port() -> int:
    """A free port outside the ephemeral range: the kernel gives it to no client while the server is down."""
    while True:
        port = random.randrange(20_000, 32_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def children(pid: int) -> list[int]:
    """The ids of the process's children."""
    files = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for file in files for child in file.read_text().split()]


def stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat, beginning with the third, the state. See proc_pid_stat(5)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def is_running(pid: int) -> bool:
    """Whether the process exists and is not a zombie."""
    try:
        return stat(pid)[0] != "Z"
    except OSError:
        return False


def megabytes(pid: int, name: str = "VmRSS") -> float:
    """The resident memory of a process: `VmRSS` is its current size, `VmHWM` its peak."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    [kibibytes] = [line.split()[1] for line in lines if line.startswith(f"{name}:")]
    return int(kibibytes) * 1024 / 1e6


def get(port: int, path: str, timeout: float = 30) -> tuple[int, float]:
    """Returns the status of the answer, or 0 without an answer, and the seconds that it took."""
    start = time.monotonic()
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)) as client:
        try:
            client.request("GET", path)
            status = client.getresponse().status
        except (OSError, http.client.HTTPException):
            status = 0
    return status, time.monotonic() - start


class ServerProcess:
    """A server process that can be stopped and started again on the same port. Its output is appended to `log`."""

    command: Sequence[str | Path]
    # Keyword arguments for `subprocess.Popen`
    options: Mapping[str, Any] = {}
    stop_signal = signal.SIGTERM

    def __init__(self, folder: Path) -> None:
        self.port = stable_port()
        self.log = folder / f"{type(self).__name__.lower()}-{self.port}.log"

    def is_ready(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=5):
            return True
        return False

    def start(self) -> Self:
        """Returns when the server is ready. Raises an `AssertionError` with its log if it ends first."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, **self.options)
        try:
            wait_until(
                lambda: self.is_ready() or self.process.poll() is not None,
                f"the server with the log {self.log} is ready",
            )
            assert self.process.poll() is None, self.log.read_text(encoding="utf-8")
        except BaseException:
            self.terminate()
            raise
        return self

    def stop(self) -> None:
        """Ends the server. Raises an `AssertionError` if it has already ended."""
        assert self.process.poll() is None, f"the server has already ended:\n{self.log.read_text('utf-8')[-2000:]}"
        self.terminate()

    def terminate(self) -> None:
        self.process.send_signal(self.stop_signal)
        self.process.wait(timeout=30)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, error: type[BaseException] | None, *details: object) -> None:
        # The error that ends the context explains more than the message of stop() would.
        if error:
            self.terminate()
        else:
            self.stop()
