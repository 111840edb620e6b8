"""The backend that Django's Tasks framework sends its tasks to."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

from django.utils import timezone
from django.utils.module_loading import autodiscover_modules

from heori.django import results, running
from heori.django.framework import (
    BaseTaskBackend,
    InvalidTask,
    InvalidTaskBackend,
    Task,
    TaskResult,
    TaskResultDoesNotExist,
    TaskResultStatus,
    task_enqueued,
)
from heori_common.errors import InvalidSetting
from heori_common.names import check_queue
from heori_common.protocol.commands import Commands
from heori_common.protocol.keys import Keys
from heori_common.settings import Settings
from heori_producer.client import Producer
from heori_producer.shared import share


class HeoriBackend(BaseTaskBackend):  # type: ignore[misc]  # Django has no types
    """Sends Django's tasks as jobs, each under its own name, and reads what came of them.

    Args:
        alias: its name in TASKS.
        params: what stands there. OPTIONS are settings of Heori, such as
            ``{"redis_url": "redis://…"}``; they come before the environment's.

    Raises:
        InvalidTaskBackend: an option is no setting, or does not fit.
    """

    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    # A queue has one order. What is urgent goes to a queue of its own, which a worker names first.
    supports_priority = False

    def __init__(self, alias: str, params: Mapping[str, Any]) -> None:
        super().__init__(alias, params)
        try:
            self._settings = Settings(**self.options)
        except InvalidSetting as error:
            raise InvalidTaskBackend(f"TASKS[{alias!r}]['OPTIONS']: {error}") from error

    @cached_property
    def producer(self) -> Producer:
        """What sends; made when it is first asked for. All of a process share a connection."""
        return Producer(settings=self._settings)

    def validate_task(self, task: Task) -> None:
        """See that a task can be sent, and have consumers of this process know it.

        Raises:
            InvalidTask: it cannot.
        """
        super().validate_task(task)
        try:
            check_queue(task.queue_name)
        except ValueError as error:
            raise InvalidTask(str(error)) from None
        running.register(task)

    def enqueue(self, task: Task, args: Sequence[Any], kwargs: Mapping[str, Any]) -> TaskResult:
        """Send a job; at once, so that within a transaction `transaction.on_commit` is for it.

        Raises:
            InvalidTask, TypeError, ValueError: the task or its arguments cannot be sent.
            PayloadTooLarge, QueueFull, RedisUnavailable: as `Producer.submit`.
        """
        self.validate_task(task)
        made = running.of_task(task)
        if made.name.partition(".")[0] == "__main__":
            raise InvalidTask(f"{made.name} is in the program itself; move it to a module")
        result = TaskResult(
            task=task,
            id="",
            status=TaskResultStatus.READY,
            enqueued_at=None,
            started_at=None,
            finished_at=None,
            last_attempted_at=None,
            args=list(args),
            kwargs=dict(kwargs),
            backend=self.alias,
            errors=[],
            worker_ids=[],
        )
        sender = self.producer.options(queue=task.queue_name, at=_aware(task.run_after))
        job = sender.encode(made, tuple(result.args), result.kwargs)
        [handle] = sender.send_jobs(made, [job])
        object.__setattr__(result, "id", handle.id)
        object.__setattr__(result, "enqueued_at", timezone.now())
        task_enqueued.send(sender=type(self), task_result=result)
        return result

    def get_result(self, result_id: str) -> TaskResult:
        """How a job is, as Redis has it by now.

        Raises:
            TaskResultDoesNotExist: there is no such job, or no longer; or it is of no Django task.
            RedisUnavailable: Redis cannot be reached.
        """
        client = share(self._settings.redis_url).client
        found = results.read(client, Commands(Keys(self._settings.key_prefix)), result_id)
        if found is None:
            raise TaskResultDoesNotExist(result_id)
        name = found.call.function
        if running.find(name) is None:  # what sends it is not imported here yet
            autodiscover_modules("tasks")
        known = running.find(name)
        if known is None:
            raise TaskResultDoesNotExist(result_id)
        return results.told(found, known[0], self.alias)


def _aware(moment: datetime | None) -> datetime | None:
    if moment is not None and timezone.is_naive(moment):  # USE_TZ is off
        aware: datetime = timezone.make_aware(moment)
        return aware
    return moment
