from bench import record
from oban import job


@job(queue="default")
async def noop():
    pass


@job(queue="default")
async def started(sent):
    record(sent)
