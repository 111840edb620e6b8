"""rq's work horse in a slot of Heori's: its own code runs the job and writes what came of it.

The lease is Heori's. To rq it is an execution like any other, and ends with the job.
"""

import os
from contextlib import suppress
from inspect import signature
from math import inf
from typing import Any

from rq.exceptions import DeserializationError, InvalidJobOperation
from rq.executions import Execution
from rq.job import JobStatus
from rq.serializers import DefaultSerializer
from rq.utils import now
from rq.worker import Worker

from heori.rq.allowed import AllowList
from heori_common.protocol.job import FAILED, FINISHED, RETRY, STOPPED, Claim, Outcome
from heori_common.protocol.keys import whole_queue
from heori_common.protocol.payload import decode_failure

UNKNOWN = "(unknown)"
# After its timeout, for what rq does then; rq.worker.Worker.monitor_work_horse has the same.
GRACE_S = 60.0
# What a job's status says of the run that has ended. Whatever else it is, it is to run again.
_ENDS = {
    JobStatus.FINISHED: FINISHED,
    JobStatus.FAILED: FAILED,
    JobStatus.STOPPED: STOPPED,
    JobStatus.CANCELED: FINISHED,
}
_HAS_EXECUTIONS = "execution" in signature(Worker.perform_job).parameters
_NAMES_WORKERS = "worker_name" in signature(Execution.__init__).parameters


class LeftStarted(RuntimeError):
    """A job that was run and for which rq's code has written no end, as when Redis refused that."""


class Horse:
    """Runs jobs with a worker's own methods, in whichever process it is called.

    Args:
        whole: whether rq's `execute_job` is to run, which forks a work horse of its own; else it
            is `perform_job`, which is what a work horse calls.
        takes_all: whether the worker is changed, so that all jobs are for it.
        in_caller: whether jobs run in the process that called `work`, which lives on.
        allow: what may be called; None for anything, as in rq.
    """

    def __init__(
        self,
        worker: Any,
        *,
        whole: bool,
        takes_all: bool,
        in_caller: bool,
        allow: AllowList | None,
    ) -> None:
        self._worker = worker
        self._allow = allow
        self._serializer = worker.serializer
        if allow is not None and worker.serializer is DefaultSerializer:
            self._serializer = allow.pickles
        self._whole = whole
        self._takes_all = takes_all
        self._in_caller = in_caller

    def takes(self, claim: Claim) -> bool:
        """Whether it is to run a job: those that Heori runs are plain ones."""
        if not (self._takes_all or claim.special or claim.rest):
            return False
        return self._allow is None or self._allow.lets_in(claim)

    def tell(self, claim: Claim, outcome: Outcome) -> None:
        """Log, as rq does, what came of a job that Heori has run."""
        log, name = self._worker.log, self._worker.name
        if outcome.status == FINISHED:
            log.info("Worker %s: %s: Job OK (%s)", name, claim.queue, claim.job_id)
        elif outcome.status == FAILED:
            text = decode_failure(outcome.body or b"").rstrip()
            told = (name, claim.job_id, outcome.task, text)
            log.error("Worker %s: job %s: exception raised while executing (%s)\n%s", *told)
        elif outcome.status == RETRY:
            log.warning("Worker %s: job %s has failed, and is retried", name, claim.job_id)

    def take(self, claim: Claim) -> "Ridden":
        """Get ready to run a job."""
        worker = self._worker
        name = whole_queue(claim.queue)
        queue = next((each for each in worker.queues if each.name == name), None)
        job = worker.job_class.fetch(
            claim.job_id, connection=worker.connection, serializer=self._serializer
        )
        job.redis_server_version = worker.get_redis_server_version()
        worker.log.info("Worker %s: %s: %s (%s)", worker.name, name, job.description, job.id)
        ridden = Ridden(worker, job, queue, claim.execution, whole=self._whole)
        if self._in_caller:
            ridden.may_be_killed, ridden.limit = False, inf
        return ridden


class Ridden:
    """One job; see `heori_consumer.worker.rq_horse.RqJob`."""

    def __init__(self, worker: Any, job: Any, queue: Any, execution: str, *, whole: bool) -> None:
        self.task = UNKNOWN
        with suppress(DeserializationError):
            self.task = job.func_name or UNKNOWN
        timeout = job.timeout or worker.queue_class.DEFAULT_TIMEOUT
        self.limit = timeout + GRACE_S if timeout > 0 else inf
        self.may_be_killed = True
        self._worker = worker
        self._job = job
        self._queue = queue
        self._execution = _Leased(execution, job.id, connection=worker.connection)
        self._execution._job = job
        if _NAMES_WORKERS:
            self._execution.worker_name = worker.name
        self._whole = whole

    def run(self) -> str:
        """Run it."""
        worker, job = self._worker, self._job
        os.environ["RQ_WORKER_ID"], os.environ["RQ_JOB_ID"] = worker.name, job.id
        if self._whole:
            worker.prepare_execution = self._prepare
            try:
                worker.execute_job(job, self._queue)
            finally:
                del worker.prepare_execution
        else:
            worker._is_horse = self.may_be_killed  # then what others hold back is sent with its end
            self._prepare(job)
            arguments = (self._execution,) if _HAS_EXECUTIONS else ()
            worker.perform_job(job, self._queue, *arguments)
            worker.set_state("idle")
        try:
            status = job.get_status()
        except InvalidJobOperation:  # it is deleted, having ended well
            return FINISHED
        if status == JobStatus.STARTED:
            raise LeftStarted("its worker class has written nothing of how it ended")
        return _ENDS.get(status, RETRY)

    def _prepare(self, _: Any) -> Execution:
        """What `rq.executions.prepare_execution` does, but for the records, which are there."""
        worker, execution = self._worker, self._execution
        worker.set_state("busy")
        worker.execution = execution
        return execution


class _Leased(Execution):
    """An execution whose entry in the registry of running jobs is Heori's lease."""

    def heartbeat(self, started_job_registry: Any, ttl: int, pipeline: Any) -> None:  # noqa: ARG002
        """As rq's, but for that entry: its score says when the lease ends, in Heori's way."""
        self.last_heartbeat = now()
        pipeline.hset(self.key, "last_heartbeat", self.last_heartbeat.timestamp())
        pipeline.expire(self.key, ttl)
