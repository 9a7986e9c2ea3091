#!/usr/bin/env python
"""Django's command-line utility for this project."""

import io
import os
import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line
from django.db import Error

from tasks.management.errors import first_line


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "todo_backend.settings")
    # On Windows, the encoding of a pipe is a code page: it lacks characters of names and messages, and `loaddata` could
    # not read what `dumpdata` writes. Python 3.15 writes UTF-8 on every system.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as exc:
        sys.exit(f"Configuration error: {exc}")
    except Error as exc:
        if "--traceback" in sys.argv:
            raise
        sys.exit(f"Database error: {first_line(exc)}")


if __name__ == "__main__":
    main()
