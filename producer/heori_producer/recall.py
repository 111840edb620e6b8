"""Cancels jobs, and asks consumers for those that they have claimed and not begun."""

import contextlib
import threading
from collections.abc import Callable, Sequence
from functools import partial

from heori_common import clock
from heori_common.current_job import BLOCKED_AT_MOST_S
from heori_common.protocol.commands import Begun, Commands
from heori_common.redis.client import RedisClient
from heori_producer.watcher import Watcher

CHUNK_JOBS = 100  # in one call: each is looked for in the whole queue
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
        """Cancel those of the jobs that no slot has begun; returns these. They will not run.

        Raises:
            RedisUnavailable: Redis cannot be reached.
        """
        canceled = []
        for first in range(0, len(ids), CHUNK_JOBS):
            canceled += self._cancel(queue, ids[first : first + CHUNK_JOBS])
        return canceled

    def has_begun(self, queue: str, job_id: str) -> bool:
        """Whether a slot runs a job; as `Handle.running`."""
        if self._redis.execute(self._commands.ask_consumers(queue, [job_id], recalls=False)):
            self._wait([job_id], lambda told: told.begun is not None)
        told = self._redis.execute(self._commands.begun(job_id))
        return told.status == "started" and told.begun is not False

    def _cancel(self, queue: str, ids: Sequence[str]) -> list[str]:
        canceled = self._canceled_at_once(queue, ids)
        others = [job_id for job_id in ids if job_id not in canceled]
        if not others:
            return canceled
        numbers = self._redis.execute(self._commands.ask_consumers(queue, others, recalls=True))
        if not numbers:
            return canceled
        asked = [others[number] for number in numbers]
        self._wait(asked, lambda told: bool(told.begun))
        back = self._redis.execute(self._commands.end_recall(asked))
        return canceled + [asked[number] for number in back]

    def _canceled_at_once(self, queue: str, ids: Sequence[str]) -> list[str]:
        numbers = self._redis.execute(self._commands.cancel(queue, ids))
        return [ids[number] for number in numbers]

    def _wait(self, ids: Sequence[str], is_answer: Callable[[Begun], bool]) -> None:
        """Wait until there is an answer for each of these jobs, or it is claimed no more."""
        unanswered = set(ids)
        answered = threading.Event()

        def look(job_id: str, told: object) -> None:
            if isinstance(told, Begun) and (told.status != "started" or is_answer(told)):
                unanswered.discard(job_id)
                if not unanswered:
                    answered.set()

        end = clock.now() + ANSWER_S
        with contextlib.ExitStack() as watches:
            for job_id in ids:
                watches.enter_context(
                    self._watcher.watch(
                        self._commands.keys.job(job_id),
                        self._commands.begun(job_id),
                        partial(look, job_id),
                    )
                )
            while not answered.wait(BLOCKED_AT_MOST_S) and clock.now() < end:
                pass  # what throws an exception into this thread, such as a timeout, gets its turn
