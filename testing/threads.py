"""Requests in threads of their own."""

import threading
from collections.abc import Callable
from typing import Any

from django.db import connection


def start_request(request: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """Starts the request in a thread, which has its own database connection. The list gets the answer."""
    answers: list[Any] = []

    def call() -> None:
        try:
            answers.append(request())
        finally:
            connection.close()

    thread = threading.Thread(target=call)
    thread.start()
    return thread, answers
