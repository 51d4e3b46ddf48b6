import os
from contextlib import asynccontextmanager

import asyncpg
from bench import record
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver


@asynccontextmanager
async def create():
    connection = await asyncpg.connect(os.environ["DATABASE_URL"])
    queuer = PgQueuer(AsyncpgDriver(connection))

    @queuer.entrypoint("noop")
    async def noop(job):
        pass

    @queuer.entrypoint("started")
    async def started(job):
        record(int(job.payload))

    try:
        yield queuer
    finally:
        await connection.close()
