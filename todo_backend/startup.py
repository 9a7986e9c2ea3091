import logging

from django.conf import settings
from django.db import Error, connection

from .checks import weak_settings
from .exceptions import unusable_reason
from .health import check_database
from .jwks import published_keys
from .postgresql.connection import statement_timeout
from .tokens import accepted_tokens

logger = logging.getLogger(__name__)


def log_configuration() -> None:
    """Logs the configuration, its weak settings and the pending migrations in one line."""
    try:
        # The process serves no request before this ends, so a database that hangs must not stop it.
        with statement_timeout(settings.DATABASE_TIMEOUT):
            pending = ", ".join(check_database()) or "none"
    except Error as exc:
        pending = f"unknown, because {unusable_reason(exc)}"
    finally:
        connection.close()
    database = connection.settings_dict
    logger.info(
        "Database: %s at %s. Tokens: %s. CORS origins: %s. Hosts: %s. Weak settings: %s. Pending migrations: %s.",
        connection.vendor,
        database["HOST"] or database["OPTIONS"].get("host", database["NAME"]),
        "; ".join(accepted_tokens()),
        ", ".join(settings.CORS_ORIGINS),
        ", ".join(settings.ALLOWED_HOSTS),
        "; ".join(message.rstrip(".") for _, message in weak_settings()) or "none",
        pending,
    )


def fetch_published_keys() -> None:
    """Starts to fetch Better Auth's keys, so that the first requests need not wait for them."""
    if settings.BETTER_AUTH_URL:
        published_keys(settings.BETTER_AUTH_JWKS_URL).fetch_if_due()
