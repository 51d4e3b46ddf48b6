"""For the `do.py` of each project in Python. It is copied beside it, and imports nothing of ours.

`python do.py prepare`            make the schema in the empty database
`python do.py fill 1000`          enqueue so many jobs that do nothing, by the fastest way there is
`python do.py trickle 100 0.05`   enqueue single jobs, with a pause of about so many seconds each;
                                  each gets the time of its enqueue, and hands it to `record`
"""

from __future__ import annotations

import asyncio
import inspect
import os
import random
import sys
import time


def record(sent):
    """What a job of `trickle` does first: leave a line with the times of its enqueue and start."""
    line = f"{sent} {time.time_ns()}\n"
    file = os.open(os.environ["STARTS_FILE"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, line.encode())  # short, so it arrives in one piece
    os.close(file)


def moments(count, pause):
    """The times at which to enqueue. The pauses differ: they must not keep step with a poll."""
    for _ in range(count):
        time.sleep(pause * random.uniform(0.5, 1.5))
        yield time.time_ns()


def main(*, prepare, fill, trickle):
    """Each may be a coroutine function. `trickle` gets the moments, and enqueues a job at each."""
    verb, *arguments = sys.argv[1:]
    if verb == "prepare":
        done = prepare()
    elif verb == "fill":
        done = fill(int(arguments[0]))
    else:
        done = trickle(moments(int(arguments[0]), float(arguments[1])))
    if inspect.isawaitable(done):
        asyncio.run(done)
