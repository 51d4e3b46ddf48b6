"""One worker, from the processes of `manage.py worker` to a single task."""
