from collections.abc import Iterator
from contextlib import contextmanager

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError
from django.db import Error

INTERRUPTED = "Interrupted. Run it again for the rest."
# Characters of a text from a database that are shown on the terminal.
MAX_SHOWN = 500


@contextmanager
def one_line_errors(subject: str) -> Iterator[None]:
    """Turns database errors and Ctrl-C into a `CommandError` of one line; `subject` names the database."""
    try:
        yield
    except KeyboardInterrupt:
        raise CommandError(INTERRUPTED) from None
    # psycopg raises UnicodeError for parameters that are not UTF-8, and for malformed host names.
    except (Error, ImproperlyConfigured, UnicodeError) as exc:
        # sqlite3 raises this error in place of KeyboardInterrupt, which it drops.
        message = INTERRUPTED if str(exc) == "interrupted" else f"{subject}: {first_line(exc)}"
        raise CommandError(message) from exc


def first_line(exc: Exception) -> str:
    """The first line of a database's message for a terminal. The lines after it quote rows and statements."""
    return printable(str(exc).partition("\n")[0])


def printable(text: str) -> str:
    """The text for a terminal: cut after `MAX_SHOWN` characters, with escapes for characters that control it."""
    shown = text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in shown)
