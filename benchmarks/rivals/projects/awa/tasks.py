import os
from dataclasses import dataclass

from awa import AsyncClient
from bench import record


@dataclass
class Noop:
    pass


@dataclass
class Started:
    sent: int


def client():
    client = AsyncClient(os.environ["DATABASE_URL"])

    @client.task(Noop, queue="default")
    async def noop(job):
        pass

    @client.task(Started, queue="default")
    async def started(job):
        record(job.args.sent)

    return client
