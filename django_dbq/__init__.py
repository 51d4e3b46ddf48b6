"""A job queue for Django that lives in the project's own database."""

from __future__ import annotations

__version__ = "4.0.0"
