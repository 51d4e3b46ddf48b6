"""Print how many jobs wait."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Iterable
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import router

from django_dbq import queue
from django_dbq.management.ready import ready_engine
from django_dbq.models import Job
from django_dbq.rules.queues import EVERY_QUEUE

FALSE_WORDS = ("", "0", "false", "no", "off", "none")


class Command(BaseCommand):
    help = "Print how many jobs wait in each of the given queues."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "queue_name",
            nargs="*",
            default=["default"],
            help="Queues; '*', quoted and alone: every one where jobs wait. Default: default.",
        )
        parser.add_argument(
            "--exclude_future_jobs",
            action="store_true",
            help="Leave out jobs whose run_after is ahead.",
        )
        parser.add_argument("--database", help="Alias of the database to look in.")

    def create_parser(self, *args: Any, **kwargs: Any) -> CommandParser:
        """3.3 wrote the flag as `--exclude_future_jobs=True`, which argparse has no way to allow
        beside the bare flag without taking the queue's name that follows for its value.
        """
        parser = super().create_parser(*args, **kwargs)
        parse = parser.parse_known_args

        def parse_both(given: Any = None, namespace: Any = None) -> Any:
            given = sys.argv[1:] if given is None else given
            return parse([bare for text in given for bare in _as_bare_flag(text)], namespace)

        parser.parse_known_args = parse_both  # type: ignore[assignment,method-assign]
        return parser

    def handle(
        self,
        *args: Any,
        queue_name: str | Iterable[str],
        exclude_future_jobs: Any,
        database: Any = None,
        **options: Any,
    ) -> None:
        names = [queue_name] if isinstance(queue_name, str) else list(queue_name)
        ready_engine(database or router.db_for_read(Job))
        depths = queue.depths(exclude_future_jobs=_is_true(exclude_future_jobs), using=database)
        if names == [EVERY_QUEUE]:
            names = sorted(depths)
        listing = " ".join(f"{name}={depths.get(name, 0)}" for name in names)
        self.stdout.write(f"event=queue_depths {listing}")


def _as_bare_flag(argument: str) -> list[str]:
    flag, equals, value = argument.partition("=")
    if flag != "--exclude_future_jobs" or not equals:
        return [argument]
    return [flag] if _is_true(value) else []


def _is_true(value: Any) -> bool:
    return value.strip().lower() not in FALSE_WORDS if isinstance(value, str) else bool(value)
