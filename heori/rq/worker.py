"""The classes: rq's own, but for the loop in `work`."""

import inspect
from contextlib import suppress
from functools import cache
from typing import Any

import rq
from rq.command import parse_payload
from rq.job import Job
from rq.queue import Queue
from rq.serializers import DefaultSerializer, JSONSerializer
from rq.worker import BaseWorker

from heori.rq import overrides
from heori.rq.connection import NoUrl, url_of
from heori.rq.engine import EngineRun
from heori_common import logs
from heori_common.settings import Settings

try:
    from rq.exceptions import StopRequested
except ImportError:  # of rq 2.0
    from rq.worker import StopRequested  # type: ignore[attr-defined, no-redef]

log = logs.get_logger(__name__)

OWN_LOOP, ENGINE, ENGINE_RQ, ENGINE_WHOLE = (
    "rq's own loop",
    "the engine",
    "the engine, with rq's perform_job",
    "the engine, with rq's execute_job",
)


class Engine(BaseWorker):
    """Stands before a class of rq's among the bases of a worker, and replaces its loop.

    Attributes:
        heori_way: in which way the last call of `work` has run its jobs, for people.
    """

    heori_way: str = ""
    _heori_run: EngineRun | None = None

    def work(self, *arguments: Any, **options: Any) -> bool:
        """Run jobs, as `rq.Worker.work` does; it has the same arguments."""
        own = super().work
        if reason := why_own_loop(self):
            self.heori_way = OWN_LOOP
            log.warning("this worker runs rq's own loop", worker=self.name, reason=reason)
            if Settings().allow:
                log.warning("HEORI_ALLOW has no effect in rq's own loop", worker=self.name)
            return bool(own(*arguments, **options))
        _warn_of_pickles()
        bound = inspect.signature(own).bind(*arguments, **options)
        bound.apply_defaults()
        asked = bound.arguments
        why_whole = overrides.changed(self, overrides.PARENT)
        whole = bool(why_whole or self._work_horse_killed_handler)
        takes_all = whole or bool(why_rqs_code(self))
        self.heori_way = ENGINE_WHOLE if whole else ENGINE_RQ if takes_all else ENGINE
        return self._heori_work(asked, whole=whole, takes_all=takes_all)

    def _heori_work(self, asked: dict[str, Any], *, whole: bool, takes_all: bool) -> bool:
        worker: Any = self
        of_logs = [asked[name] for name in ("logging_level", "date_format", "log_format")]
        run = self._heori_run = EngineRun(self, asked, whole=whole, takes_all=takes_all)
        try:
            worker.bootstrap(*of_logs)
        except BaseException:
            self._heori_run = None
            run.close()
            raise
        try:
            if asked["with_scheduler"] and asked["burst"]:  # else Heori's own role does it
                worker._start_scheduler(True, *of_logs)
            worker._install_signal_handlers()
            with suppress(StopRequested):
                worker.check_for_suspension(asked["burst"])
                if worker.should_run_maintenance_tasks:
                    worker.run_maintenance_tasks()
                run.run()
        finally:
            self._heori_run = None
            run.close()
            worker.teardown()
        return run.executed > 0

    def subscribe(self) -> None:
        """Called by `bootstrap`; it begins the first thread, and before that is time to fork."""
        before: Any = super()
        if self._heori_run is not None:
            self._heori_run.fork()
        before.subscribe()

    def handle_payload(self, message: Any) -> None:
        """Obey a command; Heori itself hears of those that are about jobs."""
        before: Any = super()
        if self._heori_run is None or parse_payload(message).get("command") == "shutdown":
            before.handle_payload(message)

    def _shutdown(self) -> None:
        before: Any = super()
        if self._heori_run is None:
            before._shutdown()
            return
        self._stop_requested = True
        if self._heori_run.is_busy:
            before.set_shutdown_requested_date()
        self._heori_run.stop()


@cache
def _warn_of_pickles() -> None:
    """Tell once what rq never tells."""
    if not Settings().allow:
        log.warning(
            "this worker calls what it is sent and reads pickles as rq does, which run whatever "
            "their sender likes; HEORI_ALLOW=myapp lets in nothing but what is defined there"
        )


def why_own_loop(worker: Any) -> str:
    """Why Heori's engine cannot stand behind a worker, in a sentence; empty if it can."""
    if name := overrides.changed(worker, overrides.LOOP):
        return f"{name} is not rq's own, and belongs to rq's loop"
    if name := overrides.mocked(worker, (*overrides.PARENT, *overrides.HORSE)):
        return f"{name} is no function, and may keep in this process what is done in others"
    if name := overrides.changed(worker.queue_class, overrides.DEQUEUE):
        return f"{name} of its queue class is not rq's own, and takes jobs from Redis itself"
    for of, own in ((worker, rq.Worker), (worker.queue_class, Queue), (worker.job_class, Job)):
        if name := overrides.renamed(of, own):
            return f"{name} is not rq's own, and Heori has one prefix for all keys"
    if not worker.queues:
        return "it has no queues"
    try:
        url_of(worker.connection)
    except NoUrl as error:
        return str(error)
    return ""


def why_rqs_code(worker: Any) -> str:
    """Why rq's own code is to run all jobs of a worker, in the slot; empty if Heori's can."""
    if name := overrides.changed(worker, overrides.HORSE):
        return f"{name} is not rq's own"
    if worker._exc_handlers or worker.disable_default_exception_handler:
        return "it has exception handlers"
    if worker.serializer not in (DefaultSerializer, JSONSerializer):
        return "its serializer is not rq's own"
    if worker.job_class is not Job or worker.queue_class.DEFAULT_TIMEOUT != Queue.DEFAULT_TIMEOUT:
        return "its job class is not rq's own"
    if worker.death_penalty_class is not rq.Worker.death_penalty_class:
        return "its death penalty is not rq's own"
    return ""


class Worker(Engine, rq.Worker):
    """`rq.Worker` with Heori behind it."""


class SimpleWorker(Engine, rq.SimpleWorker):
    """`rq.SimpleWorker` with Heori behind it: it runs its jobs in the process that calls it."""
