from collections.abc import Iterator
from contextlib import contextmanager

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError
from django.db import Error


@contextmanager
def one_line_errors(subject: str) -> Iterator[None]:
    """Raises `CommandError`, of one line, for what the database says and for Ctrl-C."""
    try:
        yield
    except KeyboardInterrupt:
        raise CommandError("Interrupted. Run it again for the rest.") from None
    # What is not UTF-8 on the command line cannot be sent to a database.
    except (Error, ImproperlyConfigured, UnicodeEncodeError) as exc:
        raise CommandError(f"{subject}: {first_line(exc)}") from exc


def first_line(exc: Exception) -> str:
    """A database's message without the lines after it, which quote rows and statements."""
    return str(exc).partition("\n")[0]
