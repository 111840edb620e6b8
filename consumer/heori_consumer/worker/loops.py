"""The event loops that coroutines of jobs run on."""

import asyncio
import re
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, TypeVar, TypeVarTuple

from heori_common.current_job import CurrentJob, running_job
from heori_consumer.worker.programs import AsyncioProgram, OfThread

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# How far the causes of an error are followed.
MOST_CAUSES = 20
_OTHER_LOOP = re.compile(r"(attached|bound) to a different (event )?loop|Event loop is closed")
_HINT = (
    "Each slot of this worker has an event loop of its own. What is made with asyncio, as a client "
    "that a module keeps, belongs to the loop on which it was used first. Make it in the task, or "
    "run async tasks with --model asyncio."
)


class JobLoop(asyncio.SelectorEventLoop):
    """An event loop that tells each job which programs it has started through it."""

    async def subprocess_exec(self, *args: Any, **options: Any) -> Any:
        """See `asyncio.loop.subprocess_exec`."""
        return _noted(await super().subprocess_exec(*args, **options))

    async def subprocess_shell(self, *args: Any, **options: Any) -> Any:
        """See `asyncio.loop.subprocess_shell`."""
        return _noted(await super().subprocess_shell(*args, **options))

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """See `asyncio.loop.run_in_executor`, by which `asyncio.to_thread` works, too."""
        job = running_job()
        if job is None or not isinstance(executor, ThreadPoolExecutor | None):
            return super().run_in_executor(executor, func, *args)
        return super().run_in_executor(executor, _in_thread, job, func, *args)


class SlotLoop(JobLoop):
    """The loop of one slot; others have others."""


def explain(error: BaseException) -> None:
    """Add to an error of a coroutine what to do, if it comes of there being several loops."""
    if not isinstance(asyncio.get_running_loop(), SlotLoop):
        return
    following: BaseException | None = error
    for _ in range(MOST_CAUSES):
        if following is None:
            return
        if type(following) is RuntimeError and _OTHER_LOOP.search(str(following)):
            error.add_note(_HINT)
            return
        following = following.__cause__ or following.__context__


def _noted(started: tuple[asyncio.SubprocessTransport, Any]) -> Any:
    if (job := running_job()) is not None:
        job.programs.append(AsyncioProgram(started[0]))
    return started


def _in_thread(job: CurrentJob, function: Callable[[*Ts], T], *args: *Ts) -> T:
    programs = OfThread()
    job.programs.append(programs)
    try:
        return function(*args)
    finally:
        job.programs.remove(programs)  # the thread is another's now
