"""The project's settings for tests, without `.env` and without the caller's variables.

`TEST_POSTGRESQL` is the folder of a PostgreSQL's socket. `testing.postgresql` sets it. It is a folder, so that it
cannot name another machine.
"""

import os
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured
from dotenv import dotenv_values

from testing.postgresql import forget_libpq_variables

for name in dotenv_values(Path(__file__).parents[1] / ".env.example"):
    os.environ.pop(name, None)
os.environ["PYTHON_DOTENV_DISABLED"] = "true"
os.environ["BETTER_AUTH_SECRET"] = "the tests' secret, of 32 bytes or more"
forget_libpq_variables()
if socket_folder := os.environ.get("TEST_POSTGRESQL"):
    if not Path(socket_folder).is_dir() or not Path(socket_folder).is_absolute():
        raise ImproperlyConfigured("TEST_POSTGRESQL must be the absolute path of a folder.")
    os.environ["DATABASE_URL"] = f"postgresql:///todo_backend?host={socket_folder}&user=postgres"

from todo_backend.settings import *  # noqa: E402, F403
from todo_backend.settings import BASE_DIR, DATABASES  # noqa: E402

if not socket_folder:
    # A file, as in production, because a database in memory has other locks.
    DATABASES["default"]["TEST"] = {"NAME": str(BASE_DIR / "test.sqlite3")}
