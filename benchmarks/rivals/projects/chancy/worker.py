"""`chancy worker start`, on uvloop."""

import uvloop
from chancy import Worker
from tasks import chancy


async def main():
    async with chancy, Worker(chancy) as worker:
        await worker.wait_for_shutdown()


if __name__ == "__main__":
    uvloop.run(main())
