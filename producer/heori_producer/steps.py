"""What a producer asks of Redis, step by step, apart from how it is called.

A generator yields a step and gets its answer, or the error that it met, thrown in. Whoever drives
it may block, as `run` does, or await (`heori_producer.async_link`): what is sent, and what a reply
means, is said once.
"""

import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from heori_common import clock
from heori_common.current_job import BLOCKED_AT_MOST_S
from heori_common.protocol.commands import Command
from heori_common.redis.client import RedisClient
from heori_producer.job_future import JobEvent
from heori_producer.watcher import Watcher

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Wait:
    """To wait until something is told of each of some keys, or the time is over.

    Its answer is what was told last when that was so; None when the time was over before.

    Attributes:
        queue: for whose jobs it is: where this is a job, its slot is lent meanwhile. None for a
            wait that is too short for that.
        keys: each with what reads it, whenever it may have changed.
        is_over: whether that ends the wait for the key of that number; it may get anything, such as
            an error.
        seconds: to wait at most.
    """

    queue: str | None
    keys: Sequence[tuple[str, Command[Any]]]
    is_over: Callable[[int, Any], bool]
    seconds: float


# One command; or several in one round trip, whose answer is a list.
Step = Command[Any] | list[Command[Any]] | Wait
Steps = Generator[Step, Any, R]


class Watching:
    """A wait that goes on.

    Args:
        over: called when it is over.

    Attributes:
        answer: to it.
    """

    def __init__(self, wait: Wait, over: Callable[[], object]) -> None:
        self.answer: Any = None
        self._wait = wait
        self._over = over
        self._open = set(range(len(wait.keys)))

    def begin(self, watcher: Watcher) -> ExitStack:
        """Watch all keys, until what is returned is closed."""
        with ExitStack() as begun:
            for number, (key, command) in enumerate(self._wait.keys):
                begun.enter_context(watcher.watch(key, command, partial(self._look, number)))
            return begun.pop_all()

    def _look(self, number: int, told: object) -> None:
        if self._wait.is_over(number, told):
            self._open.discard(number)
            if not self._open:
                self.answer = told
                self._over()


def run(steps: Steps[R], client: RedisClient, watcher: Watcher) -> R:
    """Go through all steps, and block while each takes.

    Raises:
        What the steps raise, and what they let through of RedisUnavailable and RedisRefused.
    """
    try:
        step = next(steps)
        while True:
            try:
                answer = _answer(step, client, watcher)
            except BaseException as error:  # the steps say what is to be done then
                step = steps.throw(error)
            else:
                step = steps.send(answer)
    except StopIteration as end:
        value: R = end.value
        return value


def _answer(step: Step, client: RedisClient, watcher: Watcher) -> Any:
    if isinstance(step, Command):
        return client.execute(step)
    if isinstance(step, list):
        return client.execute_many(step)
    happened = threading.Event() if step.queue is None else JobEvent(step.queue)
    watching = Watching(step, happened.set)
    with watching.begin(watcher):
        if step.queue is not None:
            happened.wait(step.seconds)
        else:
            until = clock.now() + step.seconds
            while not happened.wait(BLOCKED_AT_MOST_S) and clock.now() < until:
                pass  # what throws an exception into this thread, such as a timeout, gets its turn
    return watching.answer
