"""Heori's supervisor behind a worker object of rq's: in a thread beside the one that calls `work`.

The worker processes are forked from the caller, before that thread begins. So whatever the
application has loaded and set up is there, as in a work horse of rq's. The calling thread waits,
where rq's handlers of signals find it; a `SimpleWorker` runs its jobs there.
"""

import asyncio
import os
import queue
import signal
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from rq.serializers import DefaultSerializer, JSONSerializer
from rq.worker import SimpleWorker

from heori.rq.allowed import AllowList
from heori.rq.connection import url_of
from heori.rq.horse import Horse
from heori_common import logs
from heori_common.duration import LONGEST_S
from heori_common.settings import MOST, Records, Settings
from heori_consumer.between.signals import STOPPING
from heori_consumer.pool.guest import Guest
from heori_consumer.pool.zygote import Zygote, fork
from heori_consumer.supervisor.options import ConsumerOptions
from heori_consumer.supervisor.supervisor import Supervisor
from heori_consumer.worker import rq_horse

log = logs.get_logger(__name__)

try:
    from rq.defaults import RQ_KEY_PREFIX
except ImportError:  # rq 2 has one prefix for all
    RQ_KEY_PREFIX = "rq"

# The prefix of all names: as in rq, whoever can write to Redis may have anything called.
ANYTHING = ("",)
# How often the calling thread looks whether the other has ended, should nobody tell.
LOOK_EVERY_S = 5.0


class EngineRun:
    """One call of `work`.

    Args:
        worker: of rq's.
        asked: its arguments by name.
        whole, takes_all: see `Horse`.
    """

    def __init__(
        self, worker: Any, asked: Mapping[str, Any], *, whole: bool, takes_all: bool
    ) -> None:
        self._worker = worker
        self._asked = asked
        self._is_simple = isinstance(worker, SimpleWorker)
        self._horse = Horse(
            worker,
            whole=whole,
            takes_all=takes_all,
            in_caller=self._is_simple,
            allow=_allow_list(worker),
        )
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._supervisor: Supervisor | None = None
        self._asked_to_stop: Callable[[Supervisor], None] | None = None
        self._error: BaseException | None = None
        self._zygote: Zygote | None = None
        # What rq's code runs is to be found as rq writes it; and whoever wants turns wants them
        # job by job, with none claimed ahead.
        is_plain = not takes_all and asked["dequeue_strategy"] == "default"
        self._records: Records = "fast" if is_plain else "strict"
        self.executed = 0

    def fork(self) -> None:
        """Have the process forked that forks the workers; before there is any other thread."""
        rq_horse.lend(self._horse)
        if not self._is_simple:
            self._zygote = fork(_begin_copy)

    def close(self) -> None:
        """Undo `fork`."""
        rq_horse.lend(None)
        if self._zygote is not None:
            self._zygote.control.close()
            with suppress(ChildProcessError):  # the supervisor has seen it end
                os.waitpid(self._zygote.process.pid, 0)
            self._zygote = None

    def run(self) -> None:
        """Run jobs until that ends; what ends it early is logged, as rq does."""
        settings = self._settings()
        strategy = self._asked["dequeue_strategy"]
        queues = tuple(self._worker.queue_names())
        call = self._calls.put if self._is_simple else None
        options = ConsumerOptions.create(
            queues,
            "inline" if self._is_simple else "processes",
            1,
            1,
            wait=False,
            json_logs=False,
            zygote=self._zygote,
            guest=Guest(call, self._worker.ip_address or "unknown"),
            name=self._worker.name,
            burst=self._asked["burst"],
            max_jobs=self._asked["max_jobs"],
            max_idle=self._asked["max_idle_time"],
            weights=(1,) * len(queues) if strategy == "round_robin" else None,
            at_random=strategy == "random",
            result_ttl=self._worker.default_result_ttl,
        )
        thread = threading.Thread(target=self._supervise, args=(settings, options), daemon=True)
        thread.start()
        try:
            self._serve(thread)
        except BaseException:
            self.stop_at_once()
            raise
        finally:
            thread.join()
        if self._error is not None:
            self._worker.log.error(
                "Worker %s: found an unhandled exception, quitting...",
                self._worker.name,
                exc_info=self._error,
            )

    def _settings(self) -> Settings:
        here = Settings()
        settings = Settings(
            redis_url=url_of(self._worker.connection),
            key_prefix=RQ_KEY_PREFIX,
            accept=("json", "pickle"),
            pickle="restricted" if here.allow else "unrestricted",
            max_payload=MOST,
            grace=LONGEST_S,  # as rq: a job may end in its own time
            unknown_wait=0.0,  # likewise: what is not here fails
            records=here.records if "records" in here.model_fields_set else self._records,
        )
        return settings if here.allow else settings.model_copy(update={"allow": ANYTHING})

    @property
    def is_busy(self) -> bool:
        """Whether there is a job."""
        return self._supervisor is not None and self._supervisor.held > 0

    def stop(self) -> None:
        """Have it end once its jobs have."""
        self._tell(lambda supervisor: supervisor.stop.drain.set())

    def stop_at_once(self) -> None:
        """Have it end, and its jobs with it."""
        self._tell(lambda supervisor: supervisor.stop.ask_at_once())

    def _tell(self, what: Callable[[Supervisor], None]) -> None:
        self._asked_to_stop = what
        if self._loop is not None and self._supervisor is not None:
            try:
                self._loop.call_soon_threadsafe(what, self._supervisor)
            except RuntimeError:  # it has just ended
                return

    def _serve(self, thread: threading.Thread) -> None:
        """Be the thread that runs what the supervisor wants to have run here."""
        while thread.is_alive():
            try:
                call = self._calls.get(timeout=LOOK_EVERY_S)
            except queue.Empty:
                continue
            if call is not None:
                call()

    def _supervise(self, settings: Settings, options: ConsumerOptions) -> None:
        async def main() -> None:
            self._supervisor = supervisor = Supervisor(settings, options)
            self._loop = asyncio.get_running_loop()
            if self._asked_to_stop is not None:
                self._asked_to_stop(supervisor)
            try:
                await supervisor.run()
            finally:
                self.executed = supervisor.executed
                self._loop = None

        try:
            asyncio.run(main())
        except BaseException as error:  # it is told in the calling thread
            self._error = error
        finally:
            self._calls.put(None)


def _allow_list(worker: Any) -> AllowList | None:
    if not (allow := Settings().allow):
        return None
    rqs = worker.serializer in (DefaultSerializer, JSONSerializer)
    return AllowList(allow, None if rqs else worker.serializer)


def _begin_copy() -> None:
    # What its workers' programs do at these signals is not what rq's worker does.
    for number in STOPPING:
        signal.signal(number, signal.SIG_DFL)
