"""Real servers that can be killed, stopped and started again on their port, and what stands between them."""

import http.client
import os
import random
import re
import select
import signal
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlencode

import psycopg
from django.conf import settings
from psycopg import sql

from testing.postgresql import forget_libpq_variables, make_cluster
from testing.processes import environment, manage, serve_command

# With every character that is reserved in a URL, and those that shells, .env files and connection strings read.
PASSWORD = "p@ss:w/o?r#d%&=+ ${x}\"'\\[],;!*()~^`<>|%41"


def wait_until(condition: Callable[[], object], what: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


def stable_port() -> int:
    """A free port that the system gives to nobody while a server that had it is down."""
    while True:
        port = random.randrange(20_000, 32_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def children(pid: int) -> list[int]:
    files = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for file in files for child in file.read_text().split()]


def stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on, which is the third (proc_pid_stat(5))."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def is_running(pid: int) -> bool:
    try:
        return stat(pid)[0] != "Z"
    except OSError:
        return False


def megabytes(pid: int, name: str = "VmRSS") -> float:
    """The memory of a process: `VmRSS` now, `VmHWM` at most."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    [kibibytes] = [line.split()[1] for line in lines if line.startswith(f"{name}:")]
    return int(kibibytes) * 1024 / 1e6


class Service:
    """A server in a process of its own, which keeps its port; what it prints goes to `log`."""

    command: list[str | Path]
    options: dict[str, Any] = {}
    stop_signal = signal.SIGTERM

    def __init__(self, folder: Path) -> None:
        self.port = stable_port()
        self.log = folder / f"{type(self).__name__.lower()}-{self.port}.log"

    def is_ready(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=5):
            return True
        return False

    def start(self) -> Self:
        """Returns once it answers."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, **self.options)
        wait_until(lambda: self.is_ready() or self.process.poll() is not None, f"{self.log} says that it is ready")
        assert self.process.poll() is None, self.log.read_text()
        return self

    def stop(self) -> None:
        assert self.process.poll() is None, f"it ended by itself:\n{self.log.read_text()[-2000:]}"
        self.process.send_signal(self.stop_signal)
        self.process.wait(timeout=30)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.stop()


class Postgresql(Service):
    """PostgreSQL with TLS, where the user `todo` needs `PASSWORD`; an administrator has the socket."""

    # "Fast": rolls back what is under way.
    stop_signal = signal.SIGINT

    def __init__(self, folder: Path) -> None:
        forget_libpq_variables()
        super().__init__(folder)
        self.folder = folder
        binaries, self.options = make_cluster(folder)
        certificate = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost"
        files = ["-keyout", "data/server.key", "-out", "data/server.crt"]
        subprocess.run([*certificate.split(), *files], check=True, capture_output=True, **self.options)
        access = "local all postgres trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
        (folder / "data" / "pg_hba.conf").write_text(access)
        options = f"-c listen_addresses=127.0.0.1 -c port={self.port} -c fsync=off -c ssl=on -c max_connections=200"
        self.command = [binaries / "postgres", "-D", folder / "data", "-k", folder, *options.split()]

    def is_ready(self) -> bool:
        try:
            self.administrator("postgres").close()
        except psycopg.OperationalError:
            return False
        return True

    def make_database(self) -> None:
        with closing(self.administrator("postgres")) as administrator:
            role = sql.SQL("CREATE ROLE todo LOGIN PASSWORD {}").format(sql.Literal(PASSWORD))
            administrator.execute(role)
            administrator.execute("CREATE DATABASE todo OWNER todo")
        migrated = manage("migrate", DATABASE_URL=self.url())
        assert migrated.returncode == 0, migrated.stderr

    def administrator(self, database: str = "todo") -> "psycopg.Connection[tuple[Any, ...]]":
        return psycopg.connect(
            host=str(self.folder), port=self.port, user="postgres", dbname=database, autocommit=True, connect_timeout=5
        )

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        with closing(self.administrator()) as administrator:
            return administrator.execute(statement.encode()).fetchall()

    def url(self, password: str = PASSWORD, port: int | None = None, **parameters: str) -> str:
        """As Neon shows it, for a client that is told nothing else."""
        parameters = parameters or {"sslmode": "require", "channel_binding": "require"}
        address = f"127.0.0.1:{port or self.port}"
        return f"postgresql://todo:{quote(password, safe='')}@{address}/todo?{urlencode(parameters)}"

    def signal_all(self, number: signal.Signals) -> list[int]:
        """Signals every process of the server, the one that would start others first."""
        os.kill(self.process.pid, signal.SIGSTOP)
        processes = [*children(self.process.pid), self.process.pid]
        for pid in processes:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        return processes

    def kill(self) -> None:
        processes = self.signal_all(signal.SIGKILL)
        self.process.wait(timeout=30)
        wait_until(lambda: not any(is_running(pid) for pid in processes), "every process of PostgreSQL ends")

    @contextmanager
    def paused(self) -> Iterator[None]:
        """It accepts connections, by the kernel, and answers nothing."""
        self.signal_all(signal.SIGSTOP)
        try:
            yield
        finally:
            self.signal_all(signal.SIGCONT)
            wait_until(self.is_ready, "PostgreSQL answers again")

    @contextmanager
    def locked(self, statement: str = "LOCK TABLE tasks_task IN ACCESS EXCLUSIVE MODE") -> Iterator[None]:
        with closing(self.administrator()) as administrator, administrator.transaction():
            administrator.execute(statement.encode())
            yield

    def connections(self) -> list[int]:
        """The processes that serve `todo`."""
        return [pid for (pid,) in self.query("SELECT pid FROM pg_stat_activity WHERE usename = 'todo'")]

    def terminate_connections(self) -> int:
        """Ends every connection of `todo`, as Neon does when it goes to sleep; returns how many there were."""
        rows = self.query("SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'todo'")
        wait_until(lambda: not any(is_running(pid) for pid, _ in rows), "the connections end")
        return len(rows)


class Pgbouncer(Service):
    """A pooler in transaction mode with two connections to the server."""

    def __init__(self, postgresql: Postgresql) -> None:
        super().__init__(postgresql.folder)
        self.options = postgresql.options
        users = postgresql.folder / "users.txt"
        users.write_text('"todo" "{}"\n'.format(PASSWORD.replace('"', '""')))
        configuration = postgresql.folder / "pgbouncer.ini"
        configuration.write_text(f"""
[databases]
todo = host=127.0.0.1 port={postgresql.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self.port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
server_tls_sslmode = require
pool_mode = transaction
default_pool_size = 2
server_login_retry = 1
""")
        self.command = ["pgbouncer", configuration]
        self.url = postgresql.url(port=self.port, sslmode="prefer")


class Haproxy(Service):
    """A balancer before two instances, `a` and `b`, configured as the README shows."""

    def __init__(self, folder: Path, a: "Backend", b: "Backend") -> None:
        super().__init__(folder)
        self.socket = folder / "haproxy.sock"
        readme = (settings.BASE_DIR / "README.md").read_text()
        [shown] = re.findall(r"^```\n(global\n.*?)```", readme, re.DOTALL | re.MULTILINE)
        addresses = {
            "/run/haproxy/admin.sock": str(self.socket),
            "10.0.0.1:8000": f"127.0.0.1:{a.port}",
            "10.0.0.2:8000": f"127.0.0.1:{b.port}",
        }
        for address, own in addresses.items():
            assert address in shown
            shown = shown.replace(address, own)
        configuration = folder / "haproxy.cfg"
        configuration.write_text(f"{shown}frontend api\n    bind 127.0.0.1:{self.port}\n    default_backend api\n")
        self.command = ["haproxy", "-db", "-f", configuration]

    def tell(self, command: str) -> str:
        with socket.socket(socket.AF_UNIX) as administrator:
            administrator.connect(str(self.socket))
            administrator.sendall(f"{command}\n".encode())
            return administrator.makefile().read()

    def is_up(self, name: str) -> bool:
        """Whether the instance gets requests."""
        return any(re.match(f"api,{name},.*,UP,", line) for line in self.tell("show stat").splitlines())


class Backend(Service):
    """The production server, as `make serve` starts it."""

    def __init__(self, folder: Path, url: str, *, workers: int = 1, threads: int = 16) -> None:
        super().__init__(folder)
        self.command = [*serve_command(self.port, workers=workers)]
        self.options = {"env": environment(DATABASE_URL=url, GRANIAN_BLOCKING_THREADS=str(threads))}

    def is_ready(self) -> bool:
        return get(self.port, "/healthz")[0] == 200

    def workers(self) -> list[int]:
        """The processes that answer, by the server's own log."""
        pids = re.findall(r"Spawning worker-\d+ with PID: (\d+)", self.log.read_text())
        return [int(pid) for pid in pids if is_running(int(pid))]


def get(port: int, path: str, timeout: float = 30) -> tuple[int, float]:
    """The status of the answer, 0 without one, and the seconds that it took."""
    start = time.monotonic()
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)) as client:
        try:
            client.request("GET", path)
            status = client.getresponse().status
        except (OSError, http.client.HTTPException):
            status = 0
    return status, time.monotonic() - start


@contextmanager
def proxy(target: int, cut: Callable[[bytes], bool]) -> Iterator[int]:
    """A TCP proxy, whose port it yields; it ends a connection where `cut` of what the server sends."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(ConnectionError), socket.create_connection(("127.0.0.1", target)) as server:
                ends = {self.request: server, server: self.request}
                while True:
                    for end in select.select([*ends], [], [])[0]:
                        data = end.recv(65536)
                        if not data or (end is server and cut(data)):
                            return
                        ends[end].sendall(data)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as listener:
        thread = threading.Thread(target=listener.serve_forever, args=[0.05])
        thread.start()
        try:
            yield int(listener.server_address[1])
        finally:
            listener.shutdown()
            thread.join()
