import os

from bench import record
from huey import PostgresHuey

huey = PostgresHuey(dsn=os.environ["DATABASE_URL"])


@huey.task()
def noop():
    pass


@huey.task()
def started(sent):
    record(sent)
