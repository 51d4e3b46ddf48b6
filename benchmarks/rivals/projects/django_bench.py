"""For the `do.py` of Django projects: import it first. Copied beside it."""

import bench
import django
from django.core.management import call_command

django.setup()


def main(*, fill, trickle):
    bench.main(prepare=lambda: call_command("migrate", verbosity=0), fill=fill, trickle=trickle)
