"""What a producer holds in place of a result that is not there yet."""

import math
from collections.abc import Callable, Generator
from typing import Any, Generic, TypeVar

from heori_common import clock
from heori_common.current_job import BLOCKED_AT_MOST_S, running_job, waiting_for_jobs
from heori_common.duration import check_wait
from heori_common.protocol.commands import Command, Commands, Progress
from heori_common.public import public
from heori_common.redis.client import RedisClient
from heori_common.redis.retries import LONGEST_WAIT_S
from heori_common.tasks import Task
from heori_common.values.results import Stored
from heori_producer.errors import JobNotFound
from heori_producer.job_future import AwaitedFuture
from heori_producer.recall import Recall
from heori_producer.results import GOES_ON, End, Results, end_of

R_co = TypeVar("R_co", covariant=True)


@public
class Handle(Generic[R_co]):
    """A job that was sent. In a coroutine, ``await handle`` is what `result` is elsewhere.

    Attributes:
        id: the job's id; `rq.job.Job.fetch` takes it, too.
        queue: the queue that it was sent to.
        recall: cancels jobs of its producer.
    """

    def __init__(
        self,
        job_id: str,
        queue: str,
        task: Task[..., R_co],
        client: RedisClient,
        commands: Commands,
        results: Results,
        recall: Recall,
    ) -> None:
        self.id = job_id
        self.queue = queue
        self._task = task
        self._redis = client
        self._commands = commands
        self._results = results
        self.recall = recall

    def __repr__(self) -> str:
        return f"<Handle {self.id} of {self._task.name}>"

    def status(self) -> str:
        """Where the job is: queued, started, finished, failed and so on, in RQ's words.

        Raises:
            JobNotFound: it is gone.
            RedisUnavailable: Redis cannot be reached.
        """
        status = self._redis.execute(self._commands.status(self.id))
        if status is None:
            raise JobNotFound(f"there is no job {self.id}")
        if (job := running_job()) is not None and status in GOES_ON:
            job.asks_about(self.queue)
        return status

    def progress(self) -> Progress | None:
        """How far the job is, if its task tells; see `common.current_job`.

        Raises:
            RedisUnavailable: Redis cannot be reached.
        """
        return self._redis.execute(self._commands.progress_of(self.id))

    def cancel(self) -> bool:
        """Keep the job from running; a consumer that has it, and has not begun it, is asked for it.

        Returns:
            Whether it will not run: False when a slot has begun it, when it has ended, or when its
            consumer has not given it back within 2 s. Then it goes on.

        Raises:
            RedisUnavailable: Redis cannot be reached.
        """
        return bool(self.recall.cancel(self.queue, [self.id]))

    def running(self) -> bool:
        """Whether a slot runs the job, and not only a consumer has claimed it, which is asked.

        A consumer that does not answer within 2 s, and a stock rq worker, run what they have.

        Raises:
            RedisUnavailable: Redis cannot be reached.
        """
        return self.recall.has_begun(self.queue, self.id)

    def result(self, timeout: float | None = None) -> R_co:
        """Wait for the job's end, without polling, and return what the task returned.

        Args:
            timeout: seconds to wait at most; None for as long as it takes.

        Raises:
            TimeoutError: the job has not ended in time. It goes on.
            JobFailed: it failed; the message is its traceback. JobCanceled: it was cancelled.
            JobNotFound: it is gone.
            DeadlockDetected: this is called in a job that holds a lock which that job waits for.
            RedisUnavailable: Redis cannot be reached.
        """
        return self._task.load_result(self.stored(timeout))

    def stored(self, timeout: float | None = None) -> Stored:
        """Like `result`, but as it is stored."""
        if running_job() is None:
            return self._wait(timeout, lambda: None, LONGEST_WAIT_S)
        end = self._end_so_far()[0]
        if end is not None:
            return _returned(end)
        from heori_common.locks.job_wait import waiting_for  # noqa: PLC0415 - producers seldom are jobs

        with (
            waiting_for_jobs(lambda: [(self.queue, self.id)]),
            waiting_for(self.id, self._redis, self._commands.keys) as note,
        ):
            return self._wait(timeout, note, BLOCKED_AT_MOST_S)

    def _wait(self, timeout: float | None, before: Callable[[], None], step: float) -> Stored:
        """Wait for the job's end.

        Args:
            before: called before each wait of LONGEST_WAIT_S.
            step: seconds for which this is blocked at most.
        """
        check_wait("timeout", timeout, least=-math.inf)  # what is over is over
        deadline = None if timeout is None else clock.now() + timeout
        while True:
            end, latest, status = self._end_so_far()
            if end is not None:
                return _returned(end)
            now = clock.now()
            until = (
                now + LONGEST_WAIT_S if deadline is None else min(deadline, now + LONGEST_WAIT_S)
            )
            if until <= now:
                raise TimeoutError(f"job {self.id} has not ended after {timeout} s; it is {status}")
            before()
            while (left := until - clock.now()) > 0:
                wait = self._commands.wait_for_result(self.id, min(left, step), latest)
                if self._redis.execute(wait):
                    break

    def _end_so_far(self) -> tuple[End | None, str, str | None]:
        """Its end, if it has ended; the id of its latest result; its status."""
        read: list[Command[Any]] = [self._commands.result(self.id), self._commands.status(self.id)]
        result, status = self._redis.execute_many(read)
        return end_of(self.id, result, status), "0" if result is None else result.id, status

    def tell(self, future: AwaitedFuture[Any]) -> None:
        """Have a future become what comes of the job."""
        future.wait_for_end(self._results)

    def load(self, end: Stored) -> R_co:
        """Read a result as it is stored."""
        return self._task.load_result(end)

    def __await__(self) -> Generator[Any, None, R_co]:
        """Wait as `result` does, and let the event loop go on; asyncio.timeout limits it."""
        return self._ended().__await__()

    async def _ended(self) -> R_co:
        with waiting_for_jobs(lambda: [(self.queue, self.id)]):
            end = await self._results.ended(self.id)
        return self._task.load_result(_returned(end))


def _returned(end: End) -> Stored:
    if isinstance(end, Exception):
        raise end
    return end
