"""3.3's worker, but for the second that it sleeps before each job; nothing in it can be set so."""

import sys

import django
from django.core.management import call_command
from django_dbq.management.commands import worker

if __name__ == "__main__":
    django.setup()
    worker.sleep = lambda seconds: None
    call_command("worker", *sys.argv[1:])
