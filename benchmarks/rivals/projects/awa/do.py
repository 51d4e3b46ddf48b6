import asyncio

import bench
import tasks

AT_ONCE = 10_000


async def prepare():
    client = tasks.client()
    await client.migrate()
    # The first worker that starts makes the storage of this version the one in use.
    await client.start([("default", 1)])
    await asyncio.sleep(2)
    await client.shutdown()


async def fill(jobs):
    client = tasks.client()
    for start in range(0, jobs, AT_ONCE):
        count = min(AT_ONCE, jobs - start)
        await client.enqueue_many_copy([tasks.Noop()] * count, queue="default")


async def trickle(moments):
    client = tasks.client()
    for sent in moments:
        await client.insert(tasks.Started(sent), queue="default")


if __name__ == "__main__":
    bench.main(prepare=prepare, fill=fill, trickle=trickle)
