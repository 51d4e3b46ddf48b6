import bench
import tasks


def prepare():
    tasks.huey.storage.initialize_schema()


def fill(jobs):
    """The rows that `noop()` inserts, by COPY: huey has no call for many."""
    huey = tasks.huey
    table = "COPY huey_task (queue, data, priority) FROM STDIN"
    with huey.storage.db(commit=True) as cursor, cursor.copy(table) as copy:
        for _ in range(jobs):
            copy.write_row((huey.name, huey.serialize_task(tasks.noop.s()), 0))


def trickle(moments):
    for sent in moments:
        tasks.started(sent)


if __name__ == "__main__":
    bench.main(prepare=prepare, fill=fill, trickle=trickle)
