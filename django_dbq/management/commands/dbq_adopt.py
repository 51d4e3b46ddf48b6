"""Take over the tasks of another queue, or give ours to it."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.template.defaultfilters import pluralize
from django.utils.connection import ConnectionDoesNotExist

from django_dbq.exceptions import DBQError
from django_dbq.models.foreign import TasksDBRow
from django_dbq.queue.adopt import BATCH_SIZE, SOURCES, Adoption, adopt
from django_dbq.rules.states import FINAL, HELD, WAITING

IDS_SHOWN = 3
LARGEST_BATCH = 10_000  # SQLite takes no more than three times as many parameters


class Command(BaseCommand):
    help = (
        "Turn the tasks that wait in another queue's table into jobs, under the same ids. "
        "Without --apply it only says what it would do."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("source", choices=SOURCES, help="Whose table it is.")
        parser.add_argument(
            "--apply",
            action="store_true",
            help="Do it. May be interrupted, and goes on when it is called again.",
        )
        parser.add_argument(
            "--results", action="store_true", help="Finished tasks too, with their results."
        )
        parser.add_argument(
            "--back", action="store_true", help="The other way: from our table to that of source."
        )
        parser.add_argument(
            "--queue", action="append", default=[], help="Only this queue; may be repeated."
        )
        parser.add_argument(
            "--batch-size",
            type=_batch_size,
            default=BATCH_SIZE,
            help=f"Rows in a transaction, up to {LARGEST_BATCH}. Default: {BATCH_SIZE}.",
        )
        parser.add_argument("--database", help="Alias of the database with both tables.")

    def handle(self, *args: Any, source: str, **options: Any) -> None:
        is_applied, queues = options["apply"], options["queue"]
        try:
            adoption = adopt(
                source,
                apply=is_applied,
                back=options["back"],
                with_results=options["results"],
                queues=[queues] if isinstance(queues, str) else queues,
                batch_size=options["batch_size"],
                using=options["database"],
            )
        except (DBQError, ConnectionDoesNotExist) as error:
            raise CommandError(str(error)) from error
        count = sum(adoption.taken.values())
        self.stdout.write(f"{_verb(is_applied, options['back'])} {count} task{pluralize(count)}")
        for (status, queue, task), number in sorted(adoption.taken.items()):
            self.stdout.write(f"  {number} {status} queue={queue} task={task}")
        self._tell_of_the_others(adoption, all_ids=options["verbosity"] > 1)
        if count and not is_applied:
            self.stdout.write("Nothing was changed; --apply does it.")

    def _tell_of_the_others(self, adoption: Adoption, *, all_ids: bool) -> None:
        for reason, ids in adoption.refused.items():
            shown = ids if all_ids else ids[:IDS_SHOWN]
            more = ", …" if len(shown) < len(ids) else ""
            listing = ", ".join(map(str, shown))
            tasks = f"{len(ids)} task{pluralize(len(ids))}"
            self.stdout.write(f"Not moved: {tasks}. {reason} ids: {listing}{more}")
        for status, number in sorted(adoption.left.items()):
            self.stdout.write(f"Left: {number} {status}. {HINTS.get(status, '')}".rstrip())


def _verb(is_applied: bool, back: bool) -> str:
    if back:
        return "Gave back" if is_applied else "Would give back"
    return "Adopted" if is_applied else "Would adopt"


HINTS: dict[str, str] = {
    **dict.fromkeys((TasksDBRow.WAITING, *WAITING), "Locked, or new: run the command again."),
    **dict.fromkeys((*TasksDBRow.SUCCESSFUL, *FINAL), "Finished: --results moves them."),
    TasksDBRow.RUNNING: "Their db_worker may be alive; when none is, see docs/how-to/moving-in.md.",
    **dict.fromkeys(HELD, "A worker has them: run the command again when it has exited."),
}


def _batch_size(text: str) -> int:
    if text.isdecimal() and 1 <= int(text) <= LARGEST_BATCH:
        return int(text)
    raise ArgumentTypeError(f"{text!r} is not a number of rows from 1 to {LARGEST_BATCH}.")
