import bench
import tasks


def prepare():
    tasks.huey.storage.initialize_schema()


def fill(jobs):
    """The rows that `noop()` inserts, in one transaction: huey has no call for many."""
    huey = tasks.huey
    rows = ((huey.name, huey.serialize_task(tasks.noop.s()), 0) for _ in range(jobs))
    with huey.storage.db(commit=True) as cursor:
        cursor.executemany("INSERT INTO task (queue, data, priority) VALUES (?, ?, ?)", rows)


def trickle(moments):
    for sent in moments:
        tasks.started(sent)


if __name__ == "__main__":
    bench.main(prepare=prepare, fill=fill, trickle=trickle)
