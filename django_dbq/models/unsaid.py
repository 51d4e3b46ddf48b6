"""What a job has when nobody has said it: a default that can be told from a chosen value.

`Job(name=…)` and `Job(name=…, queue_name="default")` compare alike, and only the first one takes
what the job's declaration says. To the database, to migrations and to code of 3.3 these are a plain
text and a plain number.
"""

from __future__ import annotations


class UnsaidText(str):
    __slots__ = ()


class UnsaidNumber(int):
    __slots__ = ()
