"""Tasks that an app declares by the backport, as Wagtail does, on whichever Django."""

from __future__ import annotations

from django_tasks import task


@task(takes_context=True)
def greet(context, name):
    return f"{context.attempt}: hello {name}"


@task
def refuse():
    raise ValueError("no")


@task(takes_context=True)
def count_greetings(context):
    context.metadata["greetings"] += 1
    context.save_metadata()
