"""Sends jobs of the example tasks; `heori up` and `heori load` decide when, and how many."""

import uuid
from collections import deque
from collections.abc import Mapping

from heori.examples import corpus
from heori.examples.tasks import ALL, QUEUE
from heori_common import tasks
from heori_common.protocol.commands import Commands
from heori_common.protocol.job import NewJob
from heori_common.protocol.payload import Call
from heori_common.redis.client import RedisClient
from heori_consumer.supervisor.queue_order import QueueOrder


class LoadSender:
    """Gives each job of a task the next file of the standard library.

    Args:
        mix: how many jobs of each task there are in proportion, by the names in `ALL`.
        files_url: of the file server, for the jobs that fetch.

    Attributes:
        sent: how many jobs of each task Redis has, by name.
    """

    def __init__(
        self, client: RedisClient, commands: Commands, mix: Mapping[str, int], files_url: str
    ) -> None:
        self.sent = dict.fromkeys(mix, 0)
        self._redis = client
        self._commands = commands
        self._files_url = files_url
        self._files = corpus.files()
        self._tasks = {name: tasks.find(ALL[name]) for name in mix}
        self._order = QueueOrder(len(mix), tuple(mix.values()))
        self._made = dict.fromkeys(mix, 0)
        self._unsent: deque[tuple[str, list[NewJob]]] = deque()

    @property
    def made(self) -> int:
        """How many jobs were made, of all tasks."""
        return sum(self._made.values())

    def make(self, count: int) -> None:
        """Make so many jobs, divided by the mix."""
        for name, share in zip(self._made, self._order.shares(count), strict=True):
            if share:
                self._unsent.append((name, [self._job(name) for _ in range(share)]))

    def flush(self) -> None:
        """Send what was made.

        What was not sent when it raises is sent by the next call. Its jobs keep their ids, and
        Redis takes each id once: none is sent twice, though a reply was lost.

        Raises:
            RedisUnavailable: Redis cannot be reached.
            RedisRefused: it refuses the command.
        """
        while self._unsent:
            name, jobs = self._unsent[0]
            self._redis.execute(self._commands.enqueue(QUEUE, jobs))
            self.sent[name] += len(jobs)
            self._unsent.popleft()

    def _job(self, name: str) -> NewJob:
        task = self._tasks[name]
        path = self._files[self._made[name] % len(self._files)]
        self._made[name] += 1
        args = (self._files_url, path) if name == "fetch" else (path,)
        delays = task.retry.delays() if task.retry else ()
        return NewJob.create(str(uuid.uuid4()), Call(task.name, args, {}), task.timeout, delays)
