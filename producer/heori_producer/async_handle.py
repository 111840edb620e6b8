"""What an `AsyncProducer` holds in place of a result that is not there yet."""

import asyncio
import contextlib
from collections.abc import Generator
from typing import Any, Generic, TypeVar

from heori_common.current_job import waiting_for_jobs
from heori_common.duration import LONGEST_S, check_wait
from heori_common.errors import cut
from heori_common.protocol.commands import Commands, Progress
from heori_common.public import public
from heori_common.redis.errors import RedisRefused, RedisUnavailable
from heori_common.sendable import Sendable
from heori_producer import recall
from heori_producer.async_link import AsyncLink
from heori_producer.handle import returned, seen
from heori_producer.results import End, Results, end_of

R_co = TypeVar("R_co", covariant=True)


@public
class AsyncHandle(Generic[R_co]):
    """A job that was sent by an `AsyncProducer`. ``await handle`` is what its task returns.

    Any number of them are awaited over one connection, as with ``asyncio.gather(*handles)``.

    Attributes:
        id: the job's id; `rq.job.Job.fetch` takes it, too.
        queue: the queue that it was sent to.
    """

    def __init__(
        self,
        job_id: str,
        queue: str,
        task: Sendable[R_co],
        link: AsyncLink,
        commands: Commands,
        results: Results,
    ) -> None:
        self.id = job_id
        self.queue = queue
        self._task = task
        self._link = link
        self._commands = commands
        self._results = results

    def __repr__(self) -> str:
        return f"<AsyncHandle {self.id} of {self._task.name}>"

    async def status(self) -> str:
        """As `Handle.status`.

        Raises:
            JobNotFound: it is gone.
            RedisUnavailable: Redis cannot be reached.
        """
        return seen(await self._link.execute(self._commands.status(self.id)), self.id, self.queue)

    async def progress(self) -> Progress | None:
        """How far the job is, if its task tells; see `current_job`.

        Raises:
            RedisUnavailable: Redis cannot be reached.
        """
        return await self._link.execute(self._commands.progress_of(self.id))

    async def cancel(self) -> bool:
        """Keep the job from running, as `Handle.cancel`; returns whether it will not run.

        Raises:
            RedisUnavailable: Redis cannot be reached.
        """
        return bool(await self._link.run(recall.cancel(self._commands, self.queue, [self.id])))

    async def running(self) -> bool:
        """Whether a slot runs the job, as `Handle.running`.

        Raises:
            RedisUnavailable: Redis cannot be reached.
        """
        return await self._link.run(recall.has_begun(self._commands, self.queue, self.id))

    def __await__(self) -> Generator[Any, None, R_co]:
        """Wait as `result` does; asyncio.timeout limits it."""
        return self._ended().__await__()

    async def result(self, timeout: float | None = None) -> R_co:
        """Wait for the job's end, without polling, and return what the task returned.

        An outage does not end it: it goes on when Redis is back.

        Args:
            timeout: seconds to wait at most; None for as long as it takes.

        Raises:
            TimeoutError: the job has not ended in time, and goes on; or Redis is away, and nobody
                knows.
            JobFailed: it failed; the message is its traceback. JobCanceled: it was cancelled.
            JobNotFound: it is gone.
            RedisRefused: Redis does not take the login, say.
        """
        check_wait("timeout", timeout, least=-LONGEST_S)  # what is over is over
        try:
            async with asyncio.timeout(timeout):
                return await self
        except TimeoutError:
            return await self._at_last(timeout)

    async def _ended(self) -> R_co:
        with waiting_for_jobs(lambda: [(self.queue, self.id)]):
            end = None
            # What was cancelled or is gone already is told by no write.
            with contextlib.suppress(_Unknown):
                end, _ = await self._look()
            if end is None:
                end = await self._results.ended(self.id)
        return self._task.load_result(returned(end))

    async def _at_last(self, waited: float | None) -> R_co:
        """What is there when the time is over."""
        try:
            end, status = await self._look()
        except _Unknown as error:
            unknown = f"after {waited} s nobody knows whether job {self.id} has ended"
            raise TimeoutError(f"{unknown}: {error}") from error.__cause__
        if end is not None:
            return self._task.load_result(returned(end))
        state = cut(str(status))  # as Redis has it
        raise TimeoutError(f"job {self.id} has not ended after {waited} s; it is {state}")

    async def _look(self) -> tuple[End | None, str | None]:
        """Its end, if it has ended; its status."""
        try:
            result, state = await self._link.execute_many(
                [self._commands.result(self.id), self._commands.state(self.id)]
            )
        except (RedisUnavailable, RedisRefused) as error:
            if not error.is_passing:
                raise
            raise _Unknown(str(error)) from error
        return end_of(self.id, result, state), state.status


class _Unknown(Exception):
    """Redis is away, or takes nothing for now."""
