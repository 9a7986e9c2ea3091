import os
import socket
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from todo_backend import environment, server

OPTIONS = {
    "host": "the IP address to listen on; `::` is every IPv6 and IPv4 address",
    "port": "the port to listen on",
    "workers": "the number of processes",
    "threads": "the number of requests that each process answers at the same time",
}


class Command(BaseCommand):
    help = "Runs the production server. Each option wins over the variable of the same name."
    # The line that each worker logs at its start names the weak settings.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        for name, text in OPTIONS.items():
            parser.add_argument(f"--{name}", metavar=name.upper(), help=text)
        parser.add_argument("--metrics-port", type=int, help="the port of 127.0.0.1 for metrics in Prometheus' format")

    def handle(self, *args: object, metrics_port: int | None, **options: Any) -> None:
        # The workers read the variables, too.
        os.environ.update({name.upper(): options[name] for name in OPTIONS if options[name] is not None})
        config = environment.server(environment.read(os.environ, settings.BASE_DIR / ".env"))
        check_address(config.host, config.port)
        server.serve(config, metrics_port=metrics_port)


def check_address(host: str, port: int) -> None:
    """Raises a `CommandError` if no server can listen there. Granian itself would share a port that is in use."""
    is_ipv6 = ":" in host
    try:
        socket.create_server(
            (host, port),
            family=socket.AF_INET6 if is_ipv6 else socket.AF_INET,
            dualstack_ipv6=host == "::" and socket.has_dualstack_ipv6(),
        ).close()
    except OSError as exc:
        raise CommandError(
            f"Cannot listen on {host}, port {port}: {os.strerror(exc.errno or 0)}. Try another HOST or PORT."
        ) from None
