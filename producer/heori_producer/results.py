"""The ends of jobs: told from what Redis holds, and awaited by the thousand."""

import contextlib
from collections.abc import Callable

from heori_common.protocol.commands import Commands, JobState, Result
from heori_common.protocol.payload import BadPayload, decode_failure, decode_result
from heori_common.redis.errors import RedisRefused
from heori_common.values.results import Stored
from heori_producer.errors import JobCanceled, JobExpired, JobFailed, JobNotFound
from heori_producer.watcher import Watch, Watcher

_DAMAGED, _SUCCESSFUL, _RETRIED = 0, 1, 4  # rq.results.Result.Type; all others are failures
# Finished, too: it has ended since its latest result was read.
GOES_ON = {
    "queued",
    "deferred",
    "scheduled",
    "ready_to_enqueue",
    "rate_limited",
    "started",
    "finished",
}
_WITHOUT_TRACEBACK = {3: "it was stopped", 5: "it has used up its retries"}

ASK_BATCH_JOBS = 500  # jobs to ask about in one call

End = Stored | Exception  # the result, or what to raise in its place


def end_of(job_id: str, result: Result | None, state: JobState) -> End | None:
    """What came of a job; None while it goes on.

    Args:
        result: the latest.
        state: read after it. A failed job may have been queued again, its failure stays among
            its results; the status tells, as it changes with each result, in one step.
    """
    if result is not None and result.type == _DAMAGED:
        return BadPayload("the result has no type that could be read")
    if result is not None and result.type == _SUCCESSFUL:
        try:
            value = result.return_value
            return Stored(b"null" if value is None else decode_result(value), result.types)
        except BadPayload as error:
            return error
    if result is not None and result.type != _RETRIED and state.status not in GOES_ON:
        return JobFailed(
            job_id,
            decode_failure(result.exc_string)
            if result.exc_string
            else _WITHOUT_TRACEBACK.get(result.type, "it left no traceback"),
            result.error,
        )
    if state.status is None:
        return JobNotFound(f"there is no job {job_id}")
    if state.status != "canceled":
        return None
    kind = JobExpired if state.is_expired else JobCanceled
    return kind(job_id, state.reason)


class Awaited:
    """A job whose end is awaited."""

    def __init__(self, job_id: str, on_end: Callable[[End], None]) -> None:
        self.job_id = job_id
        self.on_end = on_end
        self.watch: Watch | None = None

    def take_watch(self) -> Watch | None:
        """Its watch, for whoever ends that: two that know each other would be garbage."""
        watch, self.watch = self.watch, None
        return watch


class Results:
    """Awaits the ends of any number of jobs, over the watcher's one connection."""

    def __init__(self, watcher: Watcher, commands: Commands) -> None:
        self._watcher = watcher
        self._commands = commands
        self._awaited: dict[Awaited, None] = {}
        watcher.enter(self)

    def wait(self, job_id: str, on_end: Callable[[End], None]) -> Awaited:
        """Call back once, in the watcher's thread, when the job has ended."""
        self._watcher.enter(self)  # it may have been closed before
        awaited = Awaited(job_id, on_end)
        self._awaited[awaited] = None
        awaited.watch = self._watcher.watch(
            self._commands.keys.results(job_id),
            self._commands.result(job_id),
            lambda result: self._read(awaited, result),
        )
        if awaited not in self._awaited and (
            watch := awaited.take_watch()
        ):  # it has ended meanwhile
            watch.stop()
        return awaited

    async def ended(self, job_id: str) -> End:
        """Wait until the job has ended, and let the event loop go on meanwhile."""
        import asyncio  # noqa: PLC0415 - whoever awaits has it, and others need it not

        loop = asyncio.get_running_loop()
        ended: asyncio.Future[End] = loop.create_future()

        def settle(end: End) -> None:
            if not ended.done():
                ended.set_result(end)

        def on_end(end: End) -> None:
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(settle, end)

        awaited = self.wait(job_id, on_end)
        try:
            return await ended
        finally:
            self.forget(awaited)

    def forget(self, awaited: Awaited) -> bool:
        """Wait no more; returns False when it has been called back before."""
        waited = self._awaited.pop(awaited, awaited) is None
        if watch := awaited.take_watch():
            watch.stop()
        return waited

    def drop(self, awaited: Awaited) -> None:
        """As `forget`, for a finalizer, which must not wait for a lock."""
        if self._awaited.pop(awaited, awaited) is None and (watch := awaited.take_watch()):
            watch.drop()

    def close(self) -> None:
        """Wait no more for any of them."""
        for awaited in list(self._awaited):
            self.forget(awaited)
        self._watcher.leave(self)

    def _read(self, awaited: Awaited, result: Result | RedisRefused | None) -> None:
        if isinstance(result, RedisRefused):
            self._end(awaited, result)
        elif result is not None and result.type == _SUCCESSFUL:
            self._judge(awaited, result, JobState(None))
        elif result is not None:
            self._watcher.ask(
                self._commands.state(awaited.job_id),
                lambda state: self._judge(awaited, result, state),
            )

    def _judge(self, awaited: Awaited, result: Result | None, state: JobState) -> None:
        end = end_of(awaited.job_id, result, state)
        if end is not None:
            self._end(awaited, end)

    def _end(self, awaited: Awaited, end: End) -> None:
        if self.forget(awaited):
            awaited.on_end(end)

    # A job that is cancelled or deleted writes no result.

    def look(self) -> None:
        """See which of them were; see `User`."""
        everything = list(self._awaited)
        for first in range(0, len(everything), ASK_BATCH_JOBS):
            self._look(everything[first : first + ASK_BATCH_JOBS])

    def _look(self, batch: list[Awaited]) -> None:
        def judge(numbers: list[int]) -> None:
            for number in numbers:
                self._judge_gone(batch[number])

        self._watcher.ask(self._commands.find_canceled([each.job_id for each in batch]), judge)

    def _judge_gone(self, awaited: Awaited) -> None:
        def with_result(result: Result | None) -> None:
            self._watcher.ask(
                self._commands.state(awaited.job_id),
                lambda state: self._judge(awaited, result, state),
            )

        self._watcher.ask(self._commands.result(awaited.job_id), with_result)
