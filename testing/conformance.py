"""Does the server answer as its OpenAPI document says? Schemathesis asks, on an empty database.

`python -m testing.conformance --seed 1` runs it with those options; with `TEST_POSTGRESQL` on PostgreSQL.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from testing.processes import SECRET, empty_database, manage, server
from testing.tokens import claims, sign

CONFIGURATION = Path(__file__).with_name("schemathesis.toml")


def users_file(folder: Path) -> Path:
    """Tokens of two users, in the form of Web Fuzzing Commons."""
    users = []
    for sub in ("ada", "bob"):
        header = {"name": "Authorization", "value": f"Bearer {sign(claims(sub), secret=SECRET)}"}
        users.append({"name": sub, "fixedHeaders": [header]})
    path = folder / "users.json"
    path.write_text(json.dumps({"auth": users}))
    return path


def main(options: list[str]) -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        database = empty_database(folder)
        manage("migrate", DATABASE_URL=database).check_returncode()
        with server(folder / "log", DATABASE_URL=database) as address:
            status = subprocess.call(
                [
                    *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIGURATION)),
                    *("run", f"{address}/api/schema", "--checks", "all", *options),
                ],
                cwd=folder,
                env={**os.environ, "USERS": str(users_file(folder))},
            )
    if status:
        print("Its server is gone; this one asks the same again:", *sys.orig_argv)
    return status


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "testing.settings")
    sys.exit(main(sys.argv[1:]))
