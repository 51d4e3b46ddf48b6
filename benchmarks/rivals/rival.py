"""What an adapter declares: how a rival is installed, filled, worked and looked at."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmarks.rivals.stores import Store


@dataclass(frozen=True)
class Variant:
    """One way to run a rival's worker."""

    name: str
    """"as shipped", or in two or three words what differs from that."""

    command: tuple[str, ...]
    """The worker: a program of the rival's environment and its arguments."""

    processes: int = 1
    """How many processes run jobs, by the command's own option or by `copies`."""

    copies: int = 1
    """How many times the command is started."""

    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables for `do` and for the worker; the project's files may read them."""

    settings: str = ""
    """One sentence: which settings differ from the defaults, and where they are documented."""

    latency: bool = True
    """Whether the time from enqueue to start is measured, too."""


@dataclass(frozen=True)
class Rival:
    """A queue, and all that must be known to measure it."""

    name: str
    """As people say it. The adapter's file and the folder of its project are named alike."""

    store: Store
    """Where its jobs are, and how many of them are still to be done."""

    keeps_jobs: bool | None
    """Whether the job of a worker that is killed runs again; None where that has no meaning."""

    source: str
    """Where that is documented."""

    variants: tuple[Variant, ...]

    requirements: tuple[str, ...] = ()
    """What pip installs, pinned. The rival itself comes first."""

    packages: tuple[str, ...] = ()
    """What npm installs, pinned. The rival itself comes first."""

    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables for all that is run in its room."""

    do: tuple[str, ...] = ("python", "do.py")
    """The program of its project that makes the schema and enqueues: see projects/bench.py."""

    project: str = ""
    """The folder of its project, where that is another's."""

    is_ours: bool = False
    """Whether the others are compared with this one."""

    is_limit: bool = False
    """Whether it is no queue but what a queue could reach."""

    @property
    def version(self) -> str:
        if self.is_ours or self.is_limit:
            return "this commit" if self.requirements else ""
        return re.split("==|@", [*self.requirements, *self.packages][0])[-1]
