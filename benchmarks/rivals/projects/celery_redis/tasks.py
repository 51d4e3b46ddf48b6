import os

from bench import record
from celery import Celery

app = Celery("tasks", broker=os.environ["REDIS_URL"])
if "BEST" in os.environ:
    app.conf.task_ignore_result = True
    app.conf.worker_prefetch_multiplier = 128
    app.conf.worker_disable_rate_limits = True


@app.task
def noop():
    pass


@app.task
def single(sent):
    record(sent)
