import os

from django_settings import *  # noqa: F403

INSTALLED_APPS = ["django_q"]
Q_CLUSTER = {"orm": "default", "timeout": 30, "retry": 60}
if "WORKERS" in os.environ:
    Q_CLUSTER |= {"workers": int(os.environ["WORKERS"]), "bulk": 100, "queue_limit": 500}
    Q_CLUSTER |= {"recycle": 100_000, "save_limit": -1, "poll": 0.05, "log_level": "WARNING"}
