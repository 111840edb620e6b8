"""The event loops that coroutines of jobs run on."""

import asyncio
import re
from typing import Any

from heori_common.current_job import running_job

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
        job.programs.append(started[0])
    return started
