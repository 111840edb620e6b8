"""What a person may have done to one job: cancel, stop, run, retry and delete it.

Each is one step on the server, which looks at the state itself. So of two people who act on one
job, one is told why it could not be done, and nothing is half done.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from heori_common.protocol.commands import Command, Commands
from heori_common.protocol.dead_letter import DELIVERY_FIELDS
from heori_common.redis.client import RedisClient
from heori_producer.recall import cancel
from heori_producer.steps import Step, Steps

LOOK_EVERY_S = 0.01  # at a job whose consumer was asked for it

# Why an action was not done, by its name and what the server says.
_REASONS = {
    ("cancel", "started"): "it has begun; stop it instead",
    ("stop", "unheard"): "whoever runs it does not listen: it is dead or cut off, and the job is "
    "given back when its lease is over",
    ("run", "missing"): "it is being queued just now",
    ("run", "deferred"): "it waits for other jobs, a lock, a rate or its task, and not for a time",
    ("run", "queued"): "it is in its queue already",
    ("retry", "runs"): "it was canceled while it ran, and still does",
    ("retry", "rest"): "it was canceled after another job of its flow; retry that one, and this "
    "goes on by itself",
    ("retry", "late"): "it was to begin before a time that is over; send it anew",
    ("retry", "absent"): "it is not among the jobs that failed",
    ("delete", "runs"): "it runs; stop it first",
    ("delete", "taken"): "a worker has just taken it",
}


class JobGone(LookupError):
    """There is no job of that id."""


class ActionRefused(Exception):
    """The state of a job does not allow what was asked; the message says why, and what does.

    Attributes:
        status: that it has now.
    """

    def __init__(self, action: str, job_id: str, status: str, why: str) -> None:
        super().__init__(f"job {job_id} cannot be {_DONE[action]}: {why}")
        self.status = status


@dataclass(frozen=True, slots=True)
class Acted:
    """What was done.

    Attributes:
        status: of the job afterwards; "deleted" when it is gone, and still "started" when it was
            asked to stop.
    """

    id: str
    action: str
    status: str

    def __str__(self) -> str:
        if self.action == "stop":
            return f"asked whoever runs job {self.id} to stop it"
        return f"job {self.id} is {self.status}"

    def record(self) -> dict[str, Any]:
        """For scripts."""
        return {"id": self.id, "action": self.action, "status": self.status}


_DONE = {
    "cancel": "canceled",
    "stop": "stopped",
    "run": "run now",
    "retry": "retried",
    "delete": "deleted",
}


class JobActions:
    """Does them on one server. Safe to share between threads.

    Each raises JobGone, ActionRefused, and RedisUnavailable or RedisRefused.
    """

    def __init__(self, client: RedisClient, commands: Commands) -> None:
        self._redis = client
        self._commands = commands
        self._by_name: dict[str, Callable[[str, str], str]] = {
            "cancel": self._cancel,
            "stop": lambda _, job_id: self._do(self._commands.stop_job(job_id)),
            "run": lambda queue, job_id: self._do(self._commands.run_now(queue, job_id)),
            "retry": self._retry,
            "delete": lambda _, job_id: self._do(self._commands.delete_job(job_id)),
        }

    def act(self, action: str, job_id: str) -> Acted:
        """Do it: cancel, stop, run, retry or delete."""
        queue = self._redis.execute(self._commands.origin(job_id))
        if queue is None:
            raise JobGone(job_id)
        told = self._by_name[action](queue, job_id)
        status = self._redis.execute(self._commands.status(job_id))
        if told == "done":
            return Acted(job_id, action, "deleted" if action == "delete" else status or "gone")
        if status is None:
            raise JobGone(job_id)
        raise ActionRefused(action, job_id, status, _REASONS.get((action, told), f"it is {status}"))

    def _do(self, command: Command[str]) -> str:
        return self._redis.execute(command)

    def _cancel(self, queue: str, job_id: str) -> str:
        """Cancel it unless a slot has begun it; a consumer that has claimed it is asked."""
        if self._run(cancel(self._commands, queue, [job_id])):
            return "done"
        return self._redis.execute(self._commands.status(job_id)) or ""

    def _retry(self, queue: str, job_id: str) -> str:
        commands = self._commands
        if self._redis.execute(commands.status(job_id)) == "canceled":
            return self._do(commands.retry_canceled(queue, job_id, DELIVERY_FIELDS))
        [fate] = self._redis.execute(
            commands.replay(queue, [job_id], forget=DELIVERY_FIELDS, dry_run=False)
        )
        return "done" if fate == "replayed" else fate

    def _run(self, steps: Steps[list[str]]) -> list[str]:
        """Go through the steps of a producer, and look again and again where it would be told."""
        try:
            step = next(steps)
            while True:
                step = steps.send(self._answer(step))
        except StopIteration as end:
            found: list[str] = end.value
            return found

    def _answer(self, step: Step) -> Any:
        if isinstance(step, Command):
            return self._redis.execute(step)
        if isinstance(step, list):
            return self._redis.execute_many(step)
        until = time.monotonic() + step.seconds
        for number, (_, command) in enumerate(step.keys):
            while not step.is_over(number, told := self._redis.execute(command)):
                if time.monotonic() > until:
                    return None
                time.sleep(LOOK_EVERY_S)
        return told
