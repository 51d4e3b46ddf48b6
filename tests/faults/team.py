"""The worker processes of one test: started, watched, and killed with the time noted."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from pathlib import Path

from tests.compat.processes import ROOT, Process
from tests.faults import journal


class Team:
    """Real `manage.py worker` processes on the database under test."""

    def __init__(self, folder, *, dbq=None):
        self.folder, self.dbq = folder, dbq or {}
        self.database = {}  # what workers see of DATABASES["default"], where it differs from ours
        self.members = []
        self.most_slots = 1
        self.deaths = {}  # when a process died by our hand, by its id

    def start(self, *arguments, dbq=None, database=None, **variables):
        """Start `manage.py worker` with these arguments.

        Where async jobs run, --async-concurrency must be among them.
        """
        given = dict(zip(arguments, arguments[1:]))
        slots = int(given.get("--threads", 1)) + int(given.get("--async-concurrency", 0))
        self.most_slots = max(self.most_slots, slots)
        environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.faults.settings",
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "DBQ_FAULTS_DBQ": json.dumps({**self.dbq, **(dbq or {})}),
            "DBQ_FAULTS_DATABASE": json.dumps({**self.database, **(database or {})}),
            journal.FOLDER_VARIABLE: str(self.folder),
            **{name: str(value) for name, value in variables.items()},
        }
        member = Process(["worker", *arguments], folder=self.folder, variables=environment)
        self.members.append(member)
        return member

    def kill(self, pid):
        """kill -9; the moment of the death."""
        os.kill(pid, signal.SIGKILL)
        return self._note_death(pid)

    def kill_group(self, member):
        """kill -9 of the supervisor and all that is below it, as one who ends a container does."""
        pids = family(member.pid)
        os.killpg(member.pid, signal.SIGKILL)
        member.popen.wait()
        return [self._note_death(pid) for pid in pids][-1]

    def _note_death(self, pid):
        at = self.deaths[pid] = time.monotonic()
        return at

    def end(self):
        """End all that still runs, stopped ones too."""
        for member in self.members:
            for pid in family(member.pid):
                _send_quietly(pid, signal.SIGKILL)
            member.kill()

    def story(self):
        """What the workers said, but for jobs that were done: of these there are many."""
        return "\n".join(f"{one.log.name}:\n{_in_short(one.output)}" for one in self.members)


def family(pid):
    """A process and all that it has started, the process first; none if it is gone."""
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())  # any of them may have children
        texts = [(thread / "children").read_text() for thread in threads]
    except (FileNotFoundError, ProcessLookupError):
        return []
    children = [int(child) for text in texts for child in text.split()]
    return [pid, *(one for child in children for one in family(child))]


def _in_short(output):
    lines = [line for line in output.splitlines() if " INFO Job done: " not in line]
    return "\n".join(lines)[-4_000:]


def _send_quietly(pid, number):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
