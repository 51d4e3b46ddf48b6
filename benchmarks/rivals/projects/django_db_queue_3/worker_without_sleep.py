"""3.3's worker, but for the second that it sleeps before each job; no option takes that away."""

import sys

import django_bench  # noqa: F401
from django.core.management import call_command

from django_dbq.management.commands import worker

if __name__ == "__main__":
    worker.sleep = lambda seconds: None
    call_command("worker", *sys.argv[1:])
