"""Work in the process that `manage.py worker` is, with no supervisor above it."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable

from django.db import Error, connections

from django_dbq import clock
from django_dbq import settings as dbq_settings
from django_dbq.engines import engine_for
from django_dbq.rules.deaths import Death
from django_dbq.worker.housekeeper import Housekeeper
from django_dbq.worker.ledger import Ledger
from django_dbq.worker.loop import Worker
from django_dbq.worker.options import WorkerOptions
from django_dbq.worker.registration import Lease, Registrar
from django_dbq.worker.shutdown import SECOND_SIGNAL_AFTER_SECONDS, on_stop_signal

logger = logging.getLogger("django_dbq.worker")


def serve_here(options: WorkerOptions) -> int:
    """Work in this process, heartbeats from a thread: for debuggers, and where nothing can fork.

    Nobody stands above it, so that a task that does not yield cannot be killed, and a second signal
    is needed when it does not end.
    """
    engine = engine_for(options.using)
    given = dbq_settings.current()
    registrar = Registrar(engine, lease=given.lease)
    housekeeper = Housekeeper(options.using, given.retention, lease=given.lease)
    lease = Lease(registrar.lease)
    worker_id = registrar.register(options.queues, pid=os.getpid(), threads=options.threads)
    worker = Worker(options, engine, worker_id=worker_id, lease=lease, ledger=Ledger(options.slots))
    over = threading.Event()

    def beat() -> None:
        while not over.wait(registrar.seconds_to_next_beat()):
            if registrar.beat({worker_id: lease}):
                logger.error("This worker was silent for so long that others have its jobs.")
                worker.stop(at_once=True)
            registrar.rescue_dead()
            housekeeper.renew_duty(registrar, [worker_id])
        connections.close_all()

    beats = threading.Thread(target=beat, name="dbq-heartbeat", daemon=True)
    beats.start()
    try:
        with on_stop_signal(_Impatient(worker.stop)), housekeeper.in_a_thread():
            worker.run()
    finally:
        over.set()
        beats.join()
    death = Death(worker=f"worker {worker_id}", cause="it has left", is_crash=False)
    try:
        engine.rescue(worker_id, death, now=registrar.clock.now())
    except Error as error:
        logger.warning("This worker could not sign off: %s", str(error).strip())
    return 0


class _Impatient:
    """A stop signal the first time; the second one ends the process, whose jobs others rescue."""

    def __init__(self, stop: Callable[[], None]) -> None:
        self._stop = stop
        self._asked_at: float | None = None

    def __call__(self) -> None:
        if self._asked_at is None:
            self._asked_at = clock.monotonic()
            self._stop()
        elif clock.monotonic() - self._asked_at > SECOND_SIGNAL_AFTER_SECONDS:
            os._exit(1)
