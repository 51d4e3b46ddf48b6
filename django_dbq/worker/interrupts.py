"""Raise an exception in a thread from outside: in one block of its code, once, nowhere else."""

from __future__ import annotations

import ctypes
import threading

from django_dbq.exceptions import JobInterruption

Interruption = type[JobInterruption]

_set_async_exc = ctypes.pythonapi.PyThreadState_SetAsyncExc
_set_async_exc.argtypes = [ctypes.c_ulong, ctypes.c_void_p]  # void: a NULL takes one back
_set_async_exc.restype = ctypes.c_int


class Interruptible:
    """A block, entered once, in which another thread may raise a JobInterruption.

    It is raised between two steps of Python code: a call that blocks in C ends first.

    Only the first interruption counts. A task that swallows it is not interrupted again, and is
    left to whoever may kill it. This is also what keeps the block tight: when the exception strikes
    in the very code that opens or closes the block, no second one can follow it out.
    """

    def __init__(self) -> None:
        self.interrupted_by: Interruption | None = None
        self._lock = threading.Lock()
        self._inside: int | None = None  # the thread
        self._is_over = False

    def interrupt(self, why: Interruption) -> bool:
        """Raise `why` in the block, or when it is entered; False if it was too late for that."""
        with self._lock:
            if self._is_over or self.interrupted_by:
                return False
            self.interrupted_by = why
            if self._inside is not None:
                _set_async_exc(self._inside, id(why))
            return True

    def __enter__(self) -> Interruptible:
        with self._lock:
            if self.interrupted_by is not None:
                raise self.interrupted_by
            self._inside = threading.get_ident()
        return self

    def __exit__(self, *exc_info: object) -> None:
        # Whoever is interrupting us at this moment is done when we have the lock: what they have
        # raised strikes here at the latest, or is taken back.
        with self._lock:
            thread, self._inside, self._is_over = self._inside, None, True
            if self.interrupted_by is not None and thread is not None:
                _set_async_exc(thread, None)


class Interrupted(Interruptible):
    """A block that cannot be entered any more: it raises what has ended the task elsewhere."""

    def __init__(self, why: Interruption) -> None:
        super().__init__()
        self.interrupt(why)
