"""What a producer holds in place of a result that is not there yet."""

import time
from collections.abc import Callable
from typing import Generic, TypeVar

from common.broker import LONGEST_WAIT, Broker
from common.current import running_job
from common.protocol.commands import Commands, Progress
from common.protocol.payload import decode_failure, decode_result
from common.tasks import Task

R = TypeVar("R")

_SUCCESSFUL, _RETRIED = 1, 4  # rq.results.Result.Type; all others are failures
# Finished, too: it has ended since its latest result was read.
_GOES_ON = {
    "queued",
    "deferred",
    "scheduled",
    "ready_to_enqueue",
    "rate_limited",
    "started",
    "finished",
}
_WITHOUT_TRACEBACK = {3: "it was stopped", 5: "it has used up its retries"}


class JobFailed(RuntimeError):
    """The job failed; the message is its traceback.

    Attributes:
        job_id: which job.
        traceback: the text that the consumer recorded.
    """

    def __init__(self, job_id: str, traceback: str) -> None:
        super().__init__(f"job {job_id} failed:\n{traceback}")
        self.job_id = job_id
        self.traceback = traceback


class JobNotFound(LookupError):
    """There is no such job: it was never sent, was deleted, or its result has expired."""


class Handle(Generic[R]):
    """A job that was sent.

    Attributes:
        id: the job's id; `rq.job.Job.fetch` takes it, too.
    """

    def __init__(self, job_id: str, task: Task[..., R], broker: Broker, commands: Commands) -> None:
        self.id = job_id
        self._task = task
        self._broker = broker
        self._commands = commands

    def __repr__(self) -> str:
        return f"<Handle {self.id} of {self._task.name}>"

    def status(self) -> str:
        """Where the job is: queued, started, finished, failed and so on, in RQ's words.

        Raises:
            JobNotFound: it is gone.
            BrokerUnavailable: Redis cannot be reached.
        """
        status = self._broker.execute(self._commands.status(self.id))
        if status is None:
            raise JobNotFound(f"there is no job {self.id}")
        return status

    def progress(self) -> Progress | None:
        """How far the job is, if its task tells; see `common.current_job`.

        Raises:
            BrokerUnavailable: Redis cannot be reached.
        """
        return self._broker.execute(self._commands.progress_of(self.id))

    def result(self, timeout: float | None = None) -> R:
        """Wait for the job's end, without polling, and return what the task returned.

        Args:
            timeout: seconds to wait at most; None for as long as it takes.

        Raises:
            TimeoutError: the job has not ended in time. It goes on.
            JobFailed: it failed; the message is its traceback.
            JobNotFound: it is gone.
            DeadlockDetected: this is called in a job that holds a lock which that job waits for.
            BrokerUnavailable: Redis cannot be reached.
        """
        return self._task.load_result(self.result_json(timeout))

    def result_json(self, timeout: float | None = None) -> bytes:
        """Like `result`, but the JSON as it is stored."""
        if running_job() is None:
            return self._wait(timeout, lambda: None)
        from common.locks.joining import waiting_for  # noqa: PLC0415 - producers seldom are jobs

        with waiting_for(self.id, self._broker, self._commands.keys) as note:
            return self._wait(timeout, note)

    def _wait(self, timeout: float | None, before: Callable[[], None]) -> bytes:
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            result = self._broker.execute(self._commands.result(self.id))
            if result is not None and result.type == _SUCCESSFUL:
                return (
                    b"null" if result.return_value is None else decode_result(result.return_value)
                )
            status = self._broker.execute(self._commands.status(self.id))
            # A failed job may have been queued again, its failure stays among its results. Read
            # after the result, the status tells: it changes with each result, in one step.
            if result is not None and result.type != _RETRIED and status not in _GOES_ON:
                raise JobFailed(
                    self.id,
                    decode_failure(result.exc_string)
                    if result.exc_string
                    else _WITHOUT_TRACEBACK.get(result.type, "it left no traceback"),
                )
            if status is None:
                raise JobNotFound(f"there is no job {self.id}")
            if status == "canceled":
                raise JobFailed(self.id, "it was canceled")
            remaining = LONGEST_WAIT if deadline is None else deadline - time.monotonic()
            if remaining <= 0:
                raise TimeoutError(f"job {self.id} has not ended after {timeout} s; it is {status}")
            before()
            self._broker.execute(
                self._commands.wait_for_result(
                    self.id, min(remaining, LONGEST_WAIT), "0" if result is None else result.id
                )
            )
