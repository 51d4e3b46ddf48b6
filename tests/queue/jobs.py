"""Jobs that are declared beside their functions."""

from __future__ import annotations

from django_dbq import job

calls: list[object] = []


@job
def note(job):
    """Note the workspace, and give back what is there."""
    calls.append(dict(job.workspace))
    return job.workspace


@job(name="report_here", retry=3, timeout=60, queue_name="reports", priority=5)
def write_report(job):
    calls.append((job.queue_name, job.priority))


@job(retry={"max_attempts": 2, "backoff": 0})
def fail_once(job):
    calls.append("try")
    if len(calls) < 2:
        raise OSError("no luck")
