"""What a producer holds in place of a result that is not there yet."""

import math
import time
from collections.abc import Callable, Generator
from typing import Any, Generic, TypeVar

from heori_common import clock
from heori_common.current_job import BLOCKED_AT_MOST_S, running_job, waiting_for_jobs
from heori_common.duration import LONGEST_S, check_wait
from heori_common.errors import cut
from heori_common.importing import import_apart
from heori_common.protocol.commands import Command, Commands, Progress
from heori_common.public import public
from heori_common.redis.client import RedisClient
from heori_common.redis.errors import RedisRefused, RedisUnavailable
from heori_common.redis.retries import ANSWER_TIMEOUT_S, LATE_S, LONGEST_WAIT_S, Backoff
from heori_common.sendable import Sendable
from heori_common.values.results import Stored
from heori_producer.errors import JobNotFound
from heori_producer.job_future import AwaitedFuture
from heori_producer.recall import Recall
from heori_producer.results import GOES_ON, End, Results, end_of

R_co = TypeVar("R_co", covariant=True)

_JOB_WAIT = "heori_common.locks.job_wait"  # by name: producers seldom are jobs


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
        task: Sendable[R_co],
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
        return seen(status, self.id, self.queue)

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

        An outage does not end it: it goes on when Redis is back.

        Args:
            timeout: seconds to wait at most; None for as long as it takes.

        Raises:
            TimeoutError: the job has not ended in time, and goes on; or Redis is away, and nobody
                knows.
            JobFailed: it failed; the message is its traceback. JobCanceled: it was cancelled.
            JobNotFound: it is gone.
            DeadlockDetected: this is called in a job that holds a lock which that job waits for.
            RedisRefused: Redis does not take the login, say.
        """
        return self._task.load_result(self.stored(timeout))

    def stored(self, timeout: float | None = None) -> Stored:
        """Like `result`, but as it is stored."""
        if running_job() is None:
            return self._wait(timeout, lambda: None, LONGEST_WAIT_S)
        if (end := self._end_if_known()) is not None:
            return returned(end)
        with (
            waiting_for_jobs(lambda: [(self.queue, self.id)]),
            import_apart(_JOB_WAIT).waiting_for(self.id, self._redis, self._commands.keys) as note,
        ):
            return self._wait(timeout, note, BLOCKED_AT_MOST_S)

    def _wait(self, timeout: float | None, before: Callable[[], None], step: float) -> Stored:
        """Wait for the job's end.

        Args:
            before: called before each wait of LONGEST_WAIT_S.
            step: seconds for which this is blocked at most.
        """
        check_wait("timeout", timeout, least=-LONGEST_S)  # what is over is over
        deadline = math.inf if timeout is None else clock.now() + timeout
        backoff = Backoff()
        while True:
            try:
                end, latest, status = self._end_so_far(deadline - clock.now())
                is_over = clock.now() >= deadline
                if end is None and not is_over:
                    before()
                    self._wait_for_result(latest, deadline, step)
            except (RedisUnavailable, RedisRefused) as error:
                if not error.is_passing:
                    raise
                pause, left = backoff.pause(), deadline - clock.now()
                if left <= 0 < pause:
                    unknown = f"after {timeout} s nobody knows whether job {self.id} has ended"
                    raise TimeoutError(f"{unknown}: {error}") from error
                time.sleep(max(0.0, min(pause, left)))
                continue
            backoff.reset()
            if end is not None:
                return returned(end)
            if is_over:
                state = cut(str(status))  # as Redis has it
                raise TimeoutError(f"job {self.id} has not ended after {timeout} s; it is {state}")

    def _end_if_known(self) -> End | None:
        try:
            return self._end_so_far()[0]
        except (RedisUnavailable, RedisRefused) as error:
            if not error.is_passing:
                raise
            return None

    def _wait_for_result(self, latest: str, deadline: float, step: float) -> None:
        """Wait for a result after this one, for LONGEST_WAIT_S at most."""
        until = min(deadline, clock.now() + LONGEST_WAIT_S)
        while (left := until - clock.now()) > 0:
            seconds = min(left, step)
            wait = self._commands.wait_for_result(self.id, seconds, latest)
            if self._redis.try_many([wait], seconds + LATE_S)[0]:
                break

    def _end_so_far(self, left: float = math.inf) -> tuple[End | None, str, str | None]:
        """Its end, if it has ended; the id of its latest result; its status.

        Args:
            left: seconds for which it is waited for.
        """
        read: list[Command[Any]] = [self._commands.result(self.id), self._commands.state(self.id)]
        result, state = self._redis.try_many(read, max(LATE_S, min(left, ANSWER_TIMEOUT_S)))
        latest = "0" if result is None else result.id
        return end_of(self.id, result, state), latest, state.status

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
        return self._task.load_result(returned(end))


def seen(status: str | None, job_id: str, queue: str) -> str:
    """The status of a job that was asked about.

    Raises:
        JobNotFound: it has none.
    """
    if status is None:
        raise JobNotFound(f"there is no job {job_id}")
    if (job := running_job()) is not None and status in GOES_ON:
        job.asks_about(queue)
    return status


def returned(end: End) -> Stored:
    """The result that a job has ended with.

    Raises:
        JobFailed, JobCanceled, JobNotFound: it has ended without.
    """
    if isinstance(end, Exception):
        raise end
    return end
