"""A real Django project with a queue: its jobs index the Python library that runs it."""
