import bench
from tasks import app, noop, single


def prepare():
    """Redis has no schema."""


def fill(jobs):
    with app.producer_pool.acquire(block=True) as producer:
        for _ in range(jobs):
            noop.apply_async(producer=producer)


def trickle(moments):
    for sent in moments:
        single.delay(sent)


if __name__ == "__main__":
    bench.main(prepare=prepare, fill=fill, trickle=trickle)
