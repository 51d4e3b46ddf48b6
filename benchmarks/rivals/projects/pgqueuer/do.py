import os
import subprocess

import asyncpg
import bench
from pgqueuer.db import AsyncpgDriver
from pgqueuer.queries import Queries

AT_ONCE = 10_000


async def queries():
    return Queries(AsyncpgDriver(await asyncpg.connect(os.environ["DATABASE_URL"])))


def prepare():
    subprocess.run(["pgq", "install"], check=True)


async def fill(jobs):
    if os.environ.get("AUTOVAC"):
        subprocess.run(["pgq", "autovac"], check=True)
    queue = await queries()
    for start in range(0, jobs, AT_ONCE):
        count = min(AT_ONCE, jobs - start)
        await queue.enqueue(["noop"] * count, [None] * count, [0] * count)


async def trickle(moments):
    queue = await queries()
    for sent in moments:
        await queue.enqueue("started", str(sent).encode())


if __name__ == "__main__":
    bench.main(prepare=prepare, fill=fill, trickle=trickle)
