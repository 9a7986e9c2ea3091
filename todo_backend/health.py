"""Health probes: `/healthz` says that the process runs, `/readyz` that the database answers and is migrated."""

from django.db import Error, ProgrammingError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http.response import HttpResponseBase
from drf_spectacular.utils import extend_schema
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from .exceptions import retry_later_response, unusable_reason

# A statement for each database that returns the privileges which its role lacks on a table. SQLite has no roles.
PRIVILEGES = {
    "postgresql": "SELECT privilege FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS privilege"
    " WHERE NOT has_table_privilege('{table}', privilege)",
    "sqlite": "SELECT '' FROM {table} LIMIT 0",
}


def check_database() -> list[str]:
    """Returns the pending migrations. Raises `django.db.Error` if the database or a migrated table is unusable."""
    pending = pending_migrations()
    if not pending:
        check_privileges()
    return pending


def pending_migrations() -> list[str]:
    """The names of the migrations to apply, such as `tasks.0001_initial`. Raises `django.db.Error`."""
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    return [f"{migration.app_label}.{migration.name}" for migration, _ in plan]


def check_privileges() -> None:
    """Raises `django.db.Error` if there is no table of a model, or if the role may not read it and write to it."""
    with connection.cursor() as cursor:
        for table in connection.introspection.django_table_names():
            cursor.execute(PRIVILEGES[connection.vendor].format(table=connection.ops.quote_name(table)))
            if missing := ", ".join(privilege for (privilege,) in cursor.fetchall()):
                raise ProgrammingError(f"the role lacks privileges on the table {table}: {missing}")


class ProbeView(APIView):
    authentication_classes = ()
    permission_classes = (AllowAny,)
    http_method_names = ["get", "head"]


@extend_schema(exclude=True)
class LivenessView(ProbeView):
    def get(self, request: Request) -> Response:
        return Response({"status": "ok"})


@extend_schema(exclude=True)
class ReadinessView(ProbeView):
    def get(self, request: Request) -> HttpResponseBase:
        try:
            pending = check_database()
        except Error as exc:
            return retry_later_response("The database cannot be reached.", unusable_reason(exc))
        if pending:
            detail = "The database lacks migrations: run `manage.py migrate`."
            return retry_later_response(detail, f"pending migrations: {', '.join(pending)}")
        return Response({"status": "ok"})
