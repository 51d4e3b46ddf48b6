import subprocess

import bench
import tasks
from oban import Oban

AT_ONCE = 10_000


async def started(work):
    pool = await Oban.create_pool()
    async with Oban(pool=pool) as oban:
        await work(oban)
    await pool.close()


def prepare():
    subprocess.run(["oban", "install"], check=True)


async def fill(jobs):
    async def work(oban):
        for start in range(0, jobs, AT_ONCE):
            count = min(AT_ONCE, jobs - start)
            await oban.enqueue_many(tasks.noop.new() for _ in range(count))

    await started(work)


async def trickle(moments):
    async def work(oban):
        for sent in moments:
            await oban.enqueue(tasks.started.new(sent))

    await started(work)


if __name__ == "__main__":
    bench.main(prepare=prepare, fill=fill, trickle=trickle)
