"""A job queue for Django that lives in the project's own database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "4.0.0"
__all__ = ["job"]

if TYPE_CHECKING:
    from django_dbq.decorator import job
else:

    def __getattr__(name: str) -> Any:
        """`job`, imported when it is asked for: this module is imported before Django is set up."""
        if name == "job":
            from django_dbq.decorator import job

            return job
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
