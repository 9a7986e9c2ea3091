from django.apps import AppConfig


class TodoBackendConfig(AppConfig):
    name = "todo_backend"

    def ready(self) -> None:
        from . import authentication, checks  # noqa: F401  These register the OpenAPI scheme and the system checks.
