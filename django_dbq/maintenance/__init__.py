"""Duties that any live worker does for all, every so often."""
