"""Runs the project in processes, with no environment variables but the given ones."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import psycopg
from django.conf import settings
from django.db import connection

# Makes standard input the controlling terminal, so that Ctrl-C works, and runs the arguments.
ON_TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""
SECRET = "a secret of a process, of 32 bytes or more"
# As PYTHONPATH it simulates Windows.
WINDOWS = str(Path(__file__).with_name("windows"))
# Windows opens no socket without SYSTEMROOT. The last two are those of the simulation of Windows.
INHERITED = ("PATH", "SYSTEMROOT", "PYTHONPATH", "PYTHONWARNDEFAULTENCODING")


def environment(**variables: str) -> dict[str, str]:
    """A process's environment: what every process needs, a secret, and the variables. `.env` is not read."""
    return {
        **{name: value for name, value in os.environ.items() if name in INHERITED or name.startswith("COVERAGE_")},
        "PYTHON_DOTENV_DISABLED": "true",
        "PYTHONWARNINGS": "error",
        "BETTER_AUTH_SECRET": SECRET,
        **variables,
    }


def run(
    command: Sequence[str], variables: dict[str, str], *, folder: Path | None = None, stdin: bytes = b""
) -> "subprocess.CompletedProcess[str]":
    """Runs a command with the variables, by default in the project's folder."""
    result = subprocess.run(
        command,
        cwd=folder or settings.BASE_DIR,
        env=environment(**variables),
        input=stdin,
        capture_output=True,
        timeout=60,
    )
    output, errors = (pipe.decode().replace("\r\n", "\n") for pipe in (result.stdout, result.stderr))
    return subprocess.CompletedProcess(command, result.returncode, output, errors)


def manage(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Runs `manage.py` with the arguments and variables."""
    return run([sys.executable, "manage.py", *arguments], variables)


def migrate(url: str) -> None:
    """Runs `manage.py migrate` on the database of that URL."""
    result = manage("migrate", DATABASE_URL=url)
    assert result.returncode == 0, result.stderr


def start_manage(*arguments: str, **variables: str) -> "subprocess.Popen[bytes]":
    """Starts `manage.py`, with pipes for its output."""
    return subprocess.Popen(
        [sys.executable, "manage.py", *arguments],
        cwd=settings.BASE_DIR,
        # Not measured: an interrupt can leave coverage's lock taken, and the process would wait for it forever.
        env=environment(**variables, COVERAGE_PROCESS_CONFIG=""),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def manage_on_terminal(
    *arguments: str, keys: bytes = b"", question: bytes = b"[y/N] ", **variables: str
) -> tuple[int, str]:
    """Runs `manage.py` on a terminal, and presses the keys at the question. Returns the status and the output."""
    # Windows has no such modules.
    import pty
    import termios

    terminal, inside = pty.openpty()
    termios.tcsetwinsize(inside, (24, 100))
    process = subprocess.Popen(
        [sys.executable, "-c", ON_TERMINAL, sys.executable, "manage.py", *arguments],
        cwd=settings.BASE_DIR,
        env=environment(**variables, DJANGO_COLORS="nocolor"),
        stdin=inside,
        stdout=inside,
        stderr=inside,
    )
    os.close(inside)
    shown = b""
    # Linux raises an error when the process has ended.
    with suppress(OSError):
        while part := os.read(terminal, 65536):
            shown += part
            if keys and question in shown:
                os.write(terminal, keys)
                keys = b""
    os.close(terminal)
    return process.wait(timeout=60), shown.decode()


def database_url() -> str:
    """The URL of the tests' database, for another process."""
    name = connection.settings_dict["NAME"]
    return f"sqlite:///{name}" if connection.vendor == "sqlite" else postgresql_url(name)


def postgresql_url(name: str) -> str:
    """The URL of a database in `TEST_POSTGRESQL`."""
    return f"postgresql:///{name}?host={connection.settings_dict['OPTIONS']['host']}&user=postgres"


def empty_postgresql(name: str, options: str = "") -> str:
    """Creates an empty database of that name in `TEST_POSTGRESQL`, and returns its URL.

    `options` are those of `CREATE DATABASE`.
    """
    with psycopg.connect(postgresql_url("postgres"), autocommit=True) as administrator:
        administrator.execute(f"DROP DATABASE IF EXISTS {name}".encode())
        administrator.execute(f"CREATE DATABASE {name} {options}".encode())
    return postgresql_url(name)


def empty_database(folder: Path) -> str:
    """The URL of an empty database: a file in the folder, or a new database in `TEST_POSTGRESQL`."""
    return f"sqlite:///{folder / 'todo.sqlite3'}" if connection.vendor == "sqlite" else empty_postgresql("served")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def serve_command(**options: object) -> list[str]:
    """The command of the production server with these options."""
    return [sys.executable, "manage.py", "serve", *(f"--{name}={value}" for name, value in options.items())]


def server(log: Path, **variables: str) -> AbstractContextManager[str]:
    """Runs the production server and yields its address. Its output goes to `log`."""
    port = free_port()
    return serving(serve_command(port=port), port, log, {"THREADS": "4", **variables})


def development_server(log: Path, **variables: str) -> AbstractContextManager[str]:
    """Runs `runserver`, like `make run`, and yields its address. Its output goes to `log`."""
    port = free_port()
    command = [sys.executable, "manage.py", "runserver", "--noreload", str(port)]
    # `runserver` does not handle SIGTERM, and would end before coverage saves its data.
    return serving(command, port, log, variables, stop_signal=signal.SIGINT)


@contextmanager
def serving(
    command: Sequence[str], port: int, log: Path, variables: dict[str, str], stop_signal: int = signal.SIGTERM
) -> Iterator[str]:
    """Runs a server while the context lasts. Yields its address as soon as it answers."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=settings.BASE_DIR,
            env=environment(**variables),
            stdout=output,
            stderr=output,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
    try:
        wait_until_live(f"http://127.0.0.1:{port}", process, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        # On Windows, terminate() would end the process at once and leave its workers, so the group gets Ctrl-Break.
        process.send_signal(getattr(signal, "CTRL_BREAK_EVENT", stop_signal))
        process.wait(timeout=30)
    assert "Killing" not in log.read_text(encoding="utf-8"), "Granian has killed a worker that did not stop"


def wait_until_live(address: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 30
    while True:
        client = http.client.HTTPConnection(address.removeprefix("http://"), timeout=5)
        try:
            client.request("GET", "/healthz")
            # By now the line of this request is in the log, before a test reads it.
            client.getresponse()
        except (OSError, http.client.HTTPException):
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"The server did not start:\n{log.read_text('utf-8')}") from None
            time.sleep(0.05)
        else:
            return
        finally:
            client.close()
