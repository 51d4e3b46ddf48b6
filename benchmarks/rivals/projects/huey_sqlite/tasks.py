import os

from bench import record
from huey import CySqliteHuey, SqliteHuey

if os.environ.get("BEST"):
    huey = CySqliteHuey(filename=os.environ["SQLITE_FILE"], fsync=False)
else:
    huey = SqliteHuey(filename=os.environ["SQLITE_FILE"])


@huey.task()
def noop():
    pass


@huey.task()
def started(sent):
    record(sent)
