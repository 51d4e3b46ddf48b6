import logging
import os

from bench import record
from chancy import Chancy, Queue, job

if os.environ.get("BEST"):
    log = logging.getLogger("quiet")
    log.setLevel(logging.WARNING)
    chancy = Chancy(os.environ["DATABASE_URL"], log=log)
    queue = Queue(
        name="default",
        executor=Chancy.Executor.Async,
        concurrency=int(os.environ["CONCURRENCY"]),
        eager_polling=True,
    )

    @job(queue="default")
    async def noop():
        pass

    @job(queue="default")
    async def started(*, sent):
        record(sent)

else:
    chancy = Chancy(os.environ["DATABASE_URL"])
    queue = Queue(name="default")

    @job(queue="default")
    def noop():
        pass

    @job(queue="default")
    def started(*, sent):
        record(sent)
