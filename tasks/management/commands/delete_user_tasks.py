import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from tasks.management.errors import one_line_errors
from tasks.models import Task, TaskQuerySet

BATCH_SIZE = 1000


class Command(BaseCommand):
    help = (
        "Deletes all tasks of a user, as nothing does when a user leaves Better Auth. A token that is still valid can "
        "make tasks meanwhile: run it again once the last one has expired."
    )
    # Warnings about settings would bury the question.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("sub", help="the user's id, the sub of their tokens")
        parser.add_argument("--yes", action="store_true", help="do not ask")

    def handle(self, *args: Any, sub: str, yes: bool, **options: Any) -> None:
        if not sub.strip():
            raise CommandError("SUB must not be blank.")
        with one_line_errors("The database"):
            self.delete(sub, yes=yes)

    def delete(self, sub: str, *, yes: bool) -> None:
        tasks = Task.objects.for_user(sub)
        count = tasks.count()
        self.stdout.write(f"The user {sub!a} has {count} task(s).")
        if not count:
            return
        if not yes and not confirmed():
            raise CommandError("Nothing was deleted.")
        delete_in_batches(tasks, count)
        self.stdout.write("All are gone.")


def confirmed() -> bool:
    """Whether a person says yes; raises `CommandError` where there is none to ask."""
    if not sys.stdin.isatty():
        raise CommandError("There is no terminal to ask on: say --yes to delete them.")
    try:
        return input("Delete them? [y/N] ").lower() in ("y", "yes")
    except (EOFError, KeyboardInterrupt):
        # The question is still on its line.
        sys.stdout.write("\n")
        return False


def delete_in_batches(tasks: TaskQuerySet, count: int) -> None:
    """Deletes until none is left, in statements that each hold their locks for a short time."""
    with tqdm(total=count, unit="task", disable=None) as progress:
        # Not until a batch deletes none, as it does where another process was first.
        while tasks.exists():
            batch = list(tasks.values_list("pk", flat=True)[:BATCH_SIZE])
            progress.update(tasks.filter(pk__in=batch).delete()[0])
