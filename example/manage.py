"""Django's command line for the example: `python example/manage.py runserver`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

if __name__ == "__main__":
    # Python puts the folder of this file first; `example` itself is importable from the one above.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "example.settings")

    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
