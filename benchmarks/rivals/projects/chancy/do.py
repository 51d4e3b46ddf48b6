import bench
from tasks import chancy, noop, queue, started


async def prepare():
    async with chancy:
        await chancy.migrate()


async def fill(jobs):
    async with chancy:
        await chancy.declare(queue)
        async for _ in chancy.push_many([noop.job] * jobs, batch_size=10_000):
            pass


async def trickle(moments):
    async with chancy:
        await chancy.declare(queue)
        for sent in moments:
            await chancy.push(started.job.with_kwargs(sent=sent))


if __name__ == "__main__":
    bench.main(prepare=prepare, fill=fill, trickle=trickle)
