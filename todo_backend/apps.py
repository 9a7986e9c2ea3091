from django.apps import AppConfig
from django.conf import settings
from django.core.cache import close_caches
from django.core.signals import request_finished, request_started
from django.db import reset_queries


class TodoBackendConfig(AppConfig):
    name = "todo_backend"

    def ready(self) -> None:
        from . import authentication, checks  # noqa: F401  These register the OpenAPI scheme and the system checks.

        disconnect_unused_receivers()


def disconnect_unused_receivers() -> None:
    """Removes two receivers that Django calls for each request. They cost 5 to 9 % of the throughput of a read.

    `close_caches` has nothing to close, because nothing here uses a cache. `reset_queries` has nothing to clear without
    DEBUG.
    """
    request_finished.disconnect(close_caches)
    if not settings.DEBUG:
        request_started.disconnect(reset_queries)
