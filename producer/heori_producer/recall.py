"""Cancels jobs, and asks consumers for those that they have claimed and not begun."""

from collections.abc import Callable, Sequence

from heori_common.protocol.commands import Begun, Commands
from heori_common.redis.client import RedisClient
from heori_producer.steps import Steps, Wait, run
from heori_producer.watcher import Watcher

CANCELED_AT_ONCE = 100  # in one call: each is looked for in the whole queue
# For which a consumer is waited for, in seconds. It answers within a few milliseconds, or half a
# second when a worker does not answer it.
ANSWER_S = 2.0


class Recall:
    """Cancels jobs of one producer. Safe to share between threads."""

    def __init__(self, client: RedisClient, commands: Commands, watcher: Watcher) -> None:
        self._redis = client
        self._commands = commands
        self._watcher = watcher

    def cancel(self, queue: str, ids: Sequence[str]) -> list[str]:
        """As the function of that name.

        Raises:
            RedisUnavailable: Redis cannot be reached.
        """
        return run(cancel(self._commands, queue, ids), self._redis, self._watcher)

    def has_begun(self, queue: str, job_id: str) -> bool:
        """As the function of that name."""
        return run(has_begun(self._commands, queue, job_id), self._redis, self._watcher)


def cancel(commands: Commands, queue: str, ids: Sequence[str]) -> Steps[list[str]]:
    """Cancel those of the jobs that no slot has begun; returns these. They will not run."""
    canceled: list[str] = []
    for first in range(0, len(ids), CANCELED_AT_ONCE):
        canceled += yield from _cancel(commands, queue, ids[first : first + CANCELED_AT_ONCE])
    return canceled


def has_begun(commands: Commands, queue: str, job_id: str) -> Steps[bool]:
    """Whether a slot runs a job; as `Handle.running`."""
    if (yield commands.ask_consumers(queue, [job_id], recalls=False)):
        yield _answers(commands, [job_id], lambda told: told.begun is not None)
    told: Begun = yield commands.begun(job_id)
    return told.status == "started" and told.begun is not False


def _cancel(commands: Commands, queue: str, ids: Sequence[str]) -> Steps[list[str]]:
    numbers = yield commands.cancel(queue, ids)
    canceled = [ids[number] for number in numbers]
    others = [job_id for job_id in ids if job_id not in canceled]
    if not others:
        return canceled
    numbers = yield commands.ask_consumers(queue, others, recalls=True)
    if not numbers:
        return canceled
    asked = [others[number] for number in numbers]
    yield _answers(commands, asked, lambda told: bool(told.begun))
    back = yield commands.end_recall(asked)
    return canceled + [asked[number] for number in back]


def _answers(commands: Commands, ids: Sequence[str], is_answer: Callable[[Begun], bool]) -> Wait:
    """To wait until there is an answer for each of these jobs, or it is claimed no more."""

    def is_over(_: int, told: object) -> bool:
        return isinstance(told, Begun) and (told.status != "started" or is_answer(told))

    keys = [(commands.keys.job(job_id), commands.begun(job_id)) for job_id in ids]
    return Wait(None, keys, is_over, ANSWER_S)
