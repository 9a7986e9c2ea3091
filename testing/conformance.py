"""Runs schemathesis, which compares the server with its OpenAPI document, on an empty database.

`python -m testing.conformance --seed 1` passes the options on. With `TEST_POSTGRESQL` the database is PostgreSQL.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from testing.processes import SECRET, empty_database, migrate, server
from testing.tokens import claims, sign

CONFIGURATION = Path(__file__).with_name("schemathesis.toml")


def users_file(folder: Path) -> Path:
    """Writes the tokens of two users in the format of Web Fuzzing Commons. Returns the file."""
    users = []
    for sub in ("ada", "bob"):
        header = {"name": "Authorization", "value": f"Bearer {sign(claims(sub), secret=SECRET)}"}
        users.append({"name": sub, "fixedHeaders": [header]})
    path = folder / "users.json"
    path.write_text(json.dumps({"auth": users}), encoding="utf-8")
    return path


def main(options: list[str]) -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        database = empty_database(folder)
        migrate(database)
        with server(folder / "log", DATABASE_URL=database) as address:
            command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIGURATION)]
            arguments = ["run", f"{address}/api/schema", "--checks", "all", *options]
            environ = {**os.environ, "USERS": str(users_file(folder))}
            status = subprocess.call([*command, *arguments], cwd=folder, env=environ)
    if status:
        print("The server has ended. To repeat this run:", *sys.orig_argv)
    return status


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "testing.settings")
    sys.exit(main(sys.argv[1:]))
