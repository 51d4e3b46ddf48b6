import bench
from tasks import app, noop, started

AT_ONCE = 10_000


async def prepare():
    async with app.open_async():
        await app.schema_manager.apply_schema_async()


async def fill(jobs):
    async with app.open_async():
        for start in range(0, jobs, AT_ONCE):
            await noop.batch_defer_async(*[{}] * min(AT_ONCE, jobs - start))


async def trickle(moments):
    async with app.open_async():
        for sent in moments:
            await started.defer_async(sent=sent)


if __name__ == "__main__":
    bench.main(prepare=prepare, fill=fill, trickle=trickle)
