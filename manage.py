"""Django's command line, for the project that the tests use."""

from __future__ import annotations

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.project.settings")
    # A fixed name: what one command writes by hand, the next one finds again.
    os.environ.setdefault("DBQ_TEST_RUN", "by_hand")
    execute_from_command_line(sys.argv)
