import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db.models import QuerySet
from tqdm import tqdm

from tasks.management.errors import one_line_errors
from tasks.models import Task

BATCH_SIZE = 1000


class Command(BaseCommand):
    help = (
        "Deletes all tasks of a user who has left Better Auth. A token that is still valid can create new tasks: run "
        "the command again when the user's last token has expired."
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
        self.stdout.write("All were deleted.")


def confirmed() -> bool:
    """Asks on the terminal whether to delete. Raises `CommandError` if there is no terminal."""
    if not sys.stdin.isatty():
        raise CommandError("There is no terminal to ask on. Use --yes to delete the tasks.")
    try:
        return input("Delete them? [y/N] ").lower() in ("y", "yes")
    except (EOFError, KeyboardInterrupt):
        # The cursor is still on the line of the question.
        sys.stdout.write("\n")
        return False


def delete_in_batches(tasks: QuerySet[Task], count: int) -> None:
    """Deletes the tasks in batches, because a short transaction holds its locks for a short time."""
    with tqdm(total=count, unit="task", disable=None) as progress:
        # A batch that deletes nothing is not the end: another process may have deleted its tasks first.
        while tasks.exists():
            batch = tasks.filter(pk__in=tasks.values("pk")[:BATCH_SIZE])
            deleted, _ = batch.delete()
            progress.update(deleted)
