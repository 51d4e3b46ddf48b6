import os

from django_settings import *  # noqa: F403

INSTALLED_APPS = ["dj_queue"]
DATABASE_ROUTERS = ["dj_queue.routers.DjQueueRouter"]
TASKS = {
    "default": {
        "BACKEND": "dj_queue.backend.DjQueueBackend",
        "QUEUES": [],
        "OPTIONS": {},
    }
}
if "PROCESSES" in os.environ:
    TASKS["default"]["OPTIONS"] = {
        "preserve_finished_jobs": False,
        "workers": [
            {
                "threads": 8,
                "processes": int(os.environ["PROCESSES"]),
                "prefetch_multiplier": 20,
            }
        ],
    }
