from collections.abc import Iterator
from contextlib import contextmanager

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError
from django.db import Error


@contextmanager
def one_line_errors(subject: str) -> Iterator[None]:
    """Turns database errors and Ctrl-C into a `CommandError` of one line; `subject` names the database."""
    try:
        yield
    except KeyboardInterrupt:
        raise CommandError("Interrupted. Run it again for the rest.") from None
    # psycopg raises UnicodeError for parameters that are not UTF-8, and for malformed host names.
    except (Error, ImproperlyConfigured, UnicodeError) as exc:
        raise CommandError(f"{subject}: {first_line(exc)}") from exc


def first_line(exc: Exception) -> str:
    """The first line of a database's message. The lines after it quote rows and statements."""
    return str(exc).partition("\n")[0]
