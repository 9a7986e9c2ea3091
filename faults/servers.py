"""The servers that are made to fail, and the proxies between them."""

import os
import re
import select
import signal
import socket
import socketserver
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from django.conf import settings
from psycopg import sql

from testing import postgresql
from testing.processes import environment, migrate, serve_command
from testing.servers import ServerProcess, children, get, is_running, wait_until

# Has every character that is reserved in a URL or special to shells, .env files and connection strings.
PASSWORD = "p@ss:w/o?r#d%&=+ ${x}\"'\\[],;!*()~^`<>|%41"


class Postgresql(postgresql.Postgresql):
    """PostgreSQL as Neon offers it, with TLS and SCRAM, and the faults that it can have.

    The role `todo` owns the database `todo`.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, secure=True, listen_addresses="127.0.0.1")

    def make_database(self) -> None:
        self.execute("postgres", f"CREATE ROLE todo LOGIN PASSWORD {sql.Literal(PASSWORD).as_string()}")
        self.execute("postgres", "CREATE DATABASE todo OWNER todo")
        migrate(self.todo_url())

    def todo_url(self, password: str = PASSWORD, port: int | None = None, **parameters: str) -> str:
        """The URL for `todo`, by default with the parameters that Neon shows."""
        parameters = parameters or {"sslmode": "require", "channel_binding": "require"}
        return self.url("todo", user="todo", password=password, port=port, **parameters)

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Runs a statement in `todo` as the superuser."""
        return self.execute("todo", statement)

    def signal_all(self, number: signal.Signals) -> list[int]:
        """Sends the signal to all processes of the server. Returns their ids."""
        # The postmaster is stopped first, so that it starts no more processes.
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
        """Stops all processes while the context lasts. The kernel still accepts connections, and nothing answers."""
        self.signal_all(signal.SIGSTOP)
        try:
            yield
        finally:
            self.signal_all(signal.SIGCONT)
            wait_until(self.is_ready, "PostgreSQL answers again")

    @contextmanager
    def locked(self, statement: str = "LOCK TABLE tasks_task IN ACCESS EXCLUSIVE MODE") -> Iterator[None]:
        """Holds the locks of a statement while the context lasts. The default locks the whole table."""
        with closing(self.connect("todo")) as connection, connection.transaction():
            connection.execute(statement.encode())
            yield

    def connections(self) -> list[int]:
        """The ids of the server processes for the connections of `todo`."""
        return [pid for (pid,) in self.query("SELECT pid FROM pg_stat_activity WHERE usename = 'todo'")]

    def terminate_connections(self) -> int:
        """Ends every connection of `todo`, as Neon does when it suspends a compute. Returns their number."""
        rows = self.query("SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'todo'")
        wait_until(lambda: not any(is_running(pid) for pid, _ in rows), "the connections end")
        return len(rows)


class Pgbouncer(ServerProcess):
    """PgBouncer in transaction mode with two connections to the server. For clients, `database` is named `todo`."""

    def __init__(self, postgresql: Postgresql, database: str = "todo") -> None:
        super().__init__(postgresql.folder)
        self.options = postgresql.options
        users = postgresql.folder / "users.txt"
        users.write_text('"todo" "{}"\n'.format(PASSWORD.replace('"', '""')))
        configuration = postgresql.folder / "pgbouncer.ini"
        configuration.write_text(f"""
[databases]
todo = host=127.0.0.1 port={postgresql.port} dbname={database}
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
        self.url = postgresql.todo_url(port=self.port, sslmode="prefer")


def shown(language: str, own: Mapping[str, str]) -> list[str]:
    """The configurations in that language in docs/deployment.md, with the test's own values for each of the shown."""
    document = (settings.BASE_DIR / "docs" / "deployment.md").read_text()
    configurations = re.findall(rf"^```{language}\n(.*?)^```", document, re.DOTALL | re.MULTILINE)
    for value in own:
        assert any(value in configuration for configuration in configurations)
    values = "|".join(map(re.escape, own))
    return [re.sub(values, lambda match: own[match[0]], configuration) for configuration in configurations]


class Certificate(NamedTuple):
    """A certificate that signs itself, and its key."""

    chain: Path
    key: Path


def make_certificate(folder: Path, name: str) -> Certificate:
    certificate = Certificate(folder / "fullchain.pem", folder / "privkey.pem")
    command = f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN={name}"
    files = ["-keyout", str(certificate.key), "-out", str(certificate.chain)]
    name_extension = ["-addext", f"subjectAltName=DNS:{name}"]
    subprocess.run([*command.split(), *name_extension, *files], check=True, capture_output=True)
    return certificate


def tls_values(certificate: Certificate, instance: "Backend") -> dict[str, str]:
    """A test's own values for those that the configurations of nginx and Caddy share."""
    return {
        "/etc/ssl/todo/fullchain.pem": str(certificate.chain),
        "/etc/ssl/todo/privkey.pem": str(certificate.key),
        "127.0.0.1:8000": f"127.0.0.1:{instance.port}",
    }


class Nginx(ServerProcess):
    """nginx in front of one instance, with the configuration in docs/deployment.md."""

    def __init__(self, folder: Path, certificate: Certificate, instance: "Backend") -> None:
        super().__init__(folder)
        address = {"listen 443": f"listen 127.0.0.1:{self.port}"}
        main, site = shown("nginx", {**address, **tls_values(certificate, instance)})
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        temporary = "".join(f"{kind}_temp_path {folder / 'nginx'};" for kind in kinds)
        configuration = folder / "nginx.conf"
        configuration.write_text(
            # As root, nginx would give its workers another user, who may not enter the folder.
            f"user root; daemon off; pid {folder / 'nginx.pid'};\n{main}http {{ access_log off; {temporary}\n{site}}}\n"
        )
        # nginx starts with the limit of open files that systemd gives its services.
        self.command = ["prlimit", "--nofile=1024:", "nginx", "-e", "stderr", "-c", configuration]


class Caddy(ServerProcess):
    """Caddy in front of one instance, with the configuration in docs/deployment.md."""

    def __init__(self, folder: Path, certificate: Certificate, instance: "Backend") -> None:
        super().__init__(folder)
        own = {
            "todo.example.com {": f"todo.example.com:{self.port} {{",
            "\tservers {": "\tadmin off\n\tauto_https disable_redirects\n\tservers {",
        }
        [text] = shown("caddyfile", {**own, **tls_values(certificate, instance)})
        configuration = folder / "Caddyfile"
        configuration.write_text(text)
        self.command = ["caddy", "run", "--adapter", "caddyfile", "--config", configuration]
        # Caddy writes its state below HOME.
        self.options = {"env": {"PATH": os.environ["PATH"], "HOME": str(folder)}}


class Haproxy(ServerProcess):
    """HAProxy in front of two instances, `a` and `b`, with the configuration in docs/deployment.md.

    Without a certificate it listens without TLS.
    """

    def __init__(self, folder: Path, a: "Backend", b: "Backend", certificate: Certificate | None = None) -> None:
        super().__init__(folder)
        self.socket = folder / "haproxy.sock"
        address = f"127.0.0.1:{self.port}"
        if certificate:
            both = folder / "api.pem"
            both.write_text(certificate.chain.read_text() + certificate.key.read_text())
            address += f" ssl crt {both}"
        own = {
            # Only root can become another user.
            "    user haproxy\n    group haproxy\n": "",
            "/run/haproxy/admin.sock": str(self.socket),
            "10.0.0.1:8000": f"127.0.0.1:{a.port}",
            "10.0.0.2:8000": f"127.0.0.1:{b.port}",
            ":443 ssl crt /etc/haproxy/api.pem": address,
        }
        [text] = shown("haproxy", own)
        configuration = folder / "haproxy.cfg"
        configuration.write_text(text)
        self.command = ["haproxy", "-db", "-f", configuration]

    def tell(self, command: str) -> str:
        """Sends a command to the admin socket. Returns the answer."""
        with socket.socket(socket.AF_UNIX) as administrator:
            administrator.connect(str(self.socket))
            administrator.sendall(f"{command}\n".encode())
            return administrator.makefile().read()

    def is_up(self, name: str) -> bool:
        """Whether HAProxy sends requests to the instance."""
        return any(re.match(f"api,{name},.*,UP,", line) for line in self.tell("show stat").splitlines())


class Backend(ServerProcess):
    """This project's production server, `manage.py serve`."""

    def __init__(self, folder: Path, url: str, *, workers: int = 1, threads: int = 16, **variables: str) -> None:
        super().__init__(folder)
        self.command = serve_command(port=self.port, workers=workers, threads=threads)
        self.options = {"env": environment(DATABASE_URL=url, **variables)}

    def is_ready(self) -> bool:
        return get(self.port, "/healthz")[0] == 200

    def workers(self) -> list[int]:
        """The ids of the running worker processes, which the server's log names."""
        pids = re.findall(r"Spawning worker-\d+ with PID: (\d+)", self.log.read_text())
        return [int(pid) for pid in pids if is_running(int(pid))]


@contextmanager
def proxy(target: int, cut: Callable[[bytes], bool]) -> Iterator[int]:
    """Runs a TCP proxy and yields its port. If `cut` is true for data from the server, it closes the connection."""

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
