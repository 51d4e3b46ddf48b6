"""What type checkers say of Django tasks; they are run on this file, and nobody imports it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.tasks import TaskContext as DjangoTaskContext
from django.tasks import task as django_task
from typing_extensions import assert_type

from django_dbq import queue
from django_dbq.task_backend import TaskContext, task
from django_dbq.testing import assert_enqueued, assert_not_enqueued


@task
def add(first: int, second: int = 0) -> int:
    return first + second


@task(max_attempts=3, backoff=timedelta(seconds=10), timeout=60, unique=["to"])
def send(to: str) -> None: ...


@task(takes_context=True, atomic=True)
def greet(context: DjangoTaskContext[Any, Any], name: str) -> str:
    return f"{context.attempt}: {name}"


@task(takes_context=True)
async def report(context: TaskContext, month: int) -> None:
    assert_type(context.metadata, dict[str, Any])
    context.save_metadata()
    await context.asave_metadata()
    assert_type(context.attempt, int)


def wait(error: BaseException, result: object) -> float | None:
    return None


@task(max_attempts=3, backoff=wait)
def decide() -> None: ...


@django_task
def double(number: int) -> int:
    return 2 * number


@task
async def look_up(name: str) -> int:
    return len(name)


@task(timeout=5)
async def look_up_soon(name: str) -> int:
    return len(name)


@task(takes_context=True)
async def look_up_again(context: TaskContext, name: str) -> int:
    return context.attempt


result = add.enqueue(1, second=2)
assert_type(result.return_value, int)
assert_type(greet.enqueue("you").return_value, str)
assert_type(add.using(run_after=timedelta(minutes=5), priority=3).enqueue(1).return_value, int)
assert_type(add.get_result(result.id).return_value, int)
assert_type(add.call(1), int)
assert_type(look_up.enqueue("you").return_value, int)
assert_type(look_up.call("you"), int)
assert_type(look_up_soon.enqueue("you").return_value, int)
assert_type(look_up_again.enqueue("you").return_value, int)
assert_type(add.using(metadata={"trace_id": 123}).enqueue(1).metadata, dict[str, Any])
assert_type(report.get_result(result.id).metadata, dict[str, Any])
assert_type(queue.wait_for(result, 5).return_value, int)
queue.cancel(result, "not needed")
queue.rerun(result)
assert_type(queue.wait_for(double.enqueue(1), 5).return_value, int)
queue.enqueue_on_commit(add, 1, second=2)
queue.enqueue_on_commit(add.using(priority=3), 1)
queue.enqueue_on_commit(double, 1)
queue.enqueue_on_commit(greet, "you")
assert_enqueued(add, args=[1], kwargs={"second": 2}, count=1)
assert_not_enqueued(double, args=(1,), run_after=timedelta(hours=1))


async def from_async_code() -> None:
    assert_type((await queue.await_for(result, 5)).return_value, int)
    assert_type(await queue.aenqueue_many([(add, [1]), (double, [2])]), int)


add.enqueue("1")  # type: ignore[arg-type]
greet.enqueue()  # type: ignore[call-arg]
send.enqueue("a", "b")  # type: ignore[call-arg]
report.enqueue("May")  # type: ignore[arg-type]
add.using(metadata=["trace_id"])  # type: ignore[arg-type]
queue.enqueue_on_commit(add, "1")  # type: ignore[call-overload]
queue.enqueue_on_commit(double)  # type: ignore[call-overload]
assert_not_enqueued(add, args=1)  # type: ignore[arg-type]
look_up.enqueue(1)  # type: ignore[arg-type]
look_up_again.enqueue()  # type: ignore[call-arg]
