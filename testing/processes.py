"""The project in processes of its own, as administrators and servers run it: with an environment made from nothing."""

import http.client
import os
import pty
import re
import socket
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import psycopg
from django.conf import settings
from django.db import connection

# Makes standard input the terminal of the process, whose Ctrl-C reaches it, and runs what follows.
ON_TERMINAL = "import os, sys; os.login_tty(0); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
SECRET = "a secret of a process, of 32 bytes or more"


def environment(**variables: str) -> dict[str, str]:
    """What every process needs, `PATH` and coverage's configuration included, and the variables; nothing of `.env`."""
    return {
        **{name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")},
        "PATH": os.environ["PATH"],
        "PYTHON_DOTENV_DISABLED": "true",
        "PYTHONWARNINGS": "error",
        "BETTER_AUTH_SECRET": SECRET,
        **variables,
    }


def run(
    command: Sequence[str], variables: dict[str, str], *, folder: Path | None = None, stdin: bytes = b""
) -> "subprocess.CompletedProcess[str]":
    """Runs a command to its end, in the project's folder unless told another, with those variables."""
    result = subprocess.run(
        command,
        cwd=folder or settings.BASE_DIR,
        env=environment(**variables),
        input=stdin,
        capture_output=True,
        timeout=60,
    )
    return subprocess.CompletedProcess(command, result.returncode, result.stdout.decode(), result.stderr.decode())


def manage(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """`manage.py` with those arguments and variables."""
    return run([sys.executable, "manage.py", *arguments], variables)


def migrate(url: str) -> None:
    """Runs `manage.py migrate` on the database of that URL."""
    result = manage("migrate", DATABASE_URL=url)
    assert result.returncode == 0, result.stderr


def start_manage(*arguments: str, **variables: str) -> "subprocess.Popen[bytes]":
    """Starts `manage.py`, whose output waits in pipes."""
    return subprocess.Popen(
        [sys.executable, "manage.py", *arguments],
        cwd=settings.BASE_DIR,
        # Not measured, because what interrupts it can leave coverage's own lock taken, and the process waiting for it.
        env=environment(**variables, COVERAGE_PROCESS_CONFIG=""),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def manage_on_terminal(
    *arguments: str, keys: bytes = b"", question: bytes = b"[y/N] ", **variables: str
) -> tuple[int, str]:
    """`manage.py` on a terminal of its own, where the keys are pressed once it asks; its status and what is shown."""
    terminal, inside = pty.openpty()
    termios.tcsetwinsize(inside, (24, 100))
    process = subprocess.Popen(
        [sys.executable, "-c", ON_TERMINAL, "manage.py", *arguments],
        cwd=settings.BASE_DIR,
        env=environment(**variables, DJANGO_COLORS="nocolor"),
        stdin=inside,
    )
    os.close(inside)
    shown = b""
    # Linux raises once the process is gone.
    with suppress(OSError):
        while part := os.read(terminal, 65536):
            shown += part
            if keys and question in shown:
                os.write(terminal, keys)
                keys = b""
    os.close(terminal)
    return process.wait(timeout=60), shown.decode()


def database_url() -> str:
    """The tests' database, for a process that shares it."""
    name = connection.settings_dict["NAME"]
    return f"sqlite:///{name}" if connection.vendor == "sqlite" else postgresql_url(name)


def postgresql_url(name: str) -> str:
    """The URL of a database of `TEST_POSTGRESQL`."""
    return f"postgresql:///{name}?host={connection.settings_dict['OPTIONS']['host']}&user=postgres"


def empty_postgresql(name: str) -> str:
    """The URL of a database of that name in `TEST_POSTGRESQL`, made anew."""
    with psycopg.connect(postgresql_url("postgres"), autocommit=True) as administrator:
        administrator.execute(f"DROP DATABASE IF EXISTS {name}".encode())
        administrator.execute(f"CREATE DATABASE {name}".encode())
    return postgresql_url(name)


def empty_database(folder: Path) -> str:
    """The URL of a database of the kind that the tests run on: a file in the folder, or one of `TEST_POSTGRESQL`."""
    return f"sqlite:///{folder / 'todo.sqlite3'}" if connection.vendor == "sqlite" else empty_postgresql("served")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def serve_command(port: int, *, workers: int = 1) -> list[str]:
    """What `make serve` runs, read from the Makefile, so that the tests serve as production does."""
    makefile = (settings.BASE_DIR / "Makefile").read_text()
    [recipe] = [line for line in makefile.splitlines() if "-m granian" in line]
    values = {"PYTHON": sys.executable, "PORT": str(port), "WORKERS": str(workers)}
    return [re.sub(r"\$\((\w+)\)", lambda match: values[match[1]], word) for word in recipe.split()]


def server(log: Path, **variables: str) -> AbstractContextManager[str]:
    """The production server; yields its address. What it prints goes to `log`."""
    port = free_port()
    return serving(serve_command(port), port, log, {"GRANIAN_BLOCKING_THREADS": "4", **variables})


def development_server(log: Path, **variables: str) -> AbstractContextManager[str]:
    """`runserver`, as `make run` has it; yields its address. What it prints goes to `log`."""
    port = free_port()
    return serving([sys.executable, "manage.py", "runserver", "--noreload", str(port)], port, log, variables)


@contextmanager
def serving(command: Sequence[str], port: int, log: Path, variables: dict[str, str]) -> Iterator[str]:
    """A server while the context lasts, from when it answers; yields its address."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=settings.BASE_DIR, env=environment(**variables), stdout=output, stderr=output
        )
    try:
        wait_until_live(f"http://127.0.0.1:{port}", process, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=30)


def wait_until_live(address: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 30
    while True:
        client = http.client.HTTPConnection(address.removeprefix("http://"), timeout=5)
        try:
            client.request("GET", "/healthz")
            # The request's line is in the log before its answer arrives.
            client.getresponse()
        except (OSError, http.client.HTTPException):
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"The server did not start:\n{log.read_text()}") from None
            time.sleep(0.05)
        else:
            return
        finally:
            client.close()
