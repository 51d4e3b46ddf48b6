"""What type checkers say of `@job`; they are run on this file, and nobody imports it."""

from __future__ import annotations

from datetime import timedelta

from typing_extensions import assert_type

from django_dbq import job, queue
from django_dbq.models import Job
from django_dbq.testing import assert_enqueued, assert_not_enqueued


@job
def count(job: Job) -> int:
    return len(job.workspace)


@job(name="report", retry=3, timeout=timedelta(minutes=1), unique=["month"], priority=5)
def report(job: Job) -> None: ...


assert_type(count(Job()), int)
assert_type(count.job_name, str)
assert_type(count.enqueue(month=5), Job)
assert_type(report.enqueue_many([{}, None]), int)
assert_type(report.using(priority=1, run_after=timedelta(hours=1)).enqueue(month=5), Job)
assert_type(queue.enqueue_many("report", [{}]), int)
assert_type(queue.enqueue_many([(count, [1]), (count, [1], {"a": 2})]), int)
assert_type(queue.wait_for(Job(), 5), Job)
assert_type(queue.wait_for("an id", timedelta(seconds=5), using="other"), Job)

queue.enqueue_on_commit("report", {"month": 5}, priority=1, using="other")
queue.enqueue_on_commit(count, month=5, task="any name may be a key")
queue.enqueue_on_commit(report.using(priority=1), month=5)
assert_type(assert_enqueued(count, workspace={"month": 5}, run_after=None, count=2), list[Job])
assert_not_enqueued("report", queue_name="reports", run_after=timedelta(hours=1), using="other")
assert_not_enqueued(report.using(priority=1), priority=1)
assert_not_enqueued()


async def from_async_code() -> None:
    assert_type(await queue.aenqueue_many("report", [{}], priority=1), int)
    assert_type(await queue.aenqueue_many([(count, [1]), (count, [1], {"a": 2})]), int)
    assert_type(await queue.await_for(Job(), None), Job)
    assert_type(await queue.await_for("an id", timedelta(seconds=5), using="other"), Job)
    await queue.aenqueue_many("report", [{}], retry=3)  # type: ignore[call-overload]
    await queue.await_for(5, 5)  # type: ignore[call-overload]


queue.enqueue_on_commit("report", month=5)  # type: ignore[call-overload]
queue.enqueue_on_commit(len, 5)  # type: ignore[call-overload]
assert_not_enqueued("report", count=2)  # type: ignore[call-arg]
assert_not_enqueued(5)  # type: ignore[arg-type]
assert_enqueued("report", priority="high")  # type: ignore[arg-type]
queue.wait_for(5, 5)  # type: ignore[call-overload]
report.using(retry=3)  # type: ignore[call-arg]
count.enqueue(5)  # type: ignore[call-arg]
job(retries=3)  # type: ignore[call-overload]
