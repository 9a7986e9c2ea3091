"""Serves the floor as `manage.py serve` serves this project: `python -m benchmarks.floor_server PORT THREADS`."""

import os
import sys
from typing import Any

from todo_backend.environment import Server
from todo_backend.server import deliver_stop_signals, serve


def load_application() -> Any:
    deliver_stop_signals()
    from .floor_app import application

    return application


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "todo_backend.settings")
    port, threads = map(int, sys.argv[1:])
    serve(Server("0.0.0.0", port, 1, threads), target="benchmarks.floor_server:load_application")
