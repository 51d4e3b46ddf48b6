"""Routers of projects with more than one database."""

from __future__ import annotations


class ReadsElsewhere:
    """A router of a project that reads from a replica."""

    def db_for_read(self, model, **hints):
        return "other"

    def db_for_write(self, model, **hints):
        return "default"
