"""Publishes the tasks of this consumer, so that producers can send them by their names."""

import asyncio

from heori_common.published import version_of
from heori_consumer.pool.roster import Roster
from heori_consumer.supervisor.context import Context

KEEP_EVERY_S = 60.0
AGAIN_S = 2.0  # after it could not be written


class Publication:
    """Keeps in Redis what is published of the tasks; all consumers with the same tasks share it."""

    def __init__(self, context: Context, roster: Roster) -> None:
        self._beats = context.beat
        self._redis = context.redis
        self._retry = context.retry
        self._commands = context.commands
        self._roster = roster

    async def run(self) -> None:
        """Publish the tasks, and keep them, for ever."""
        tasks = self._roster.published
        if not tasks:
            await asyncio.Event().wait()
        version, begins = version_of(tasks), True
        while True:
            kept = await self._retry.once(
                "publish the tasks",
                self._redis.execute(self._commands.keep_tasks(version, begins=begins)),
            )
            written: int | None = 0
            if kept is False:
                written = await self._retry.once(
                    "publish the tasks",
                    self._redis.execute(self._commands.publish_tasks(version, tasks)),
                )
            is_done = None not in (kept, written)
            begins = begins and not is_done
            await self._beats.rest(KEEP_EVERY_S if is_done else AGAIN_S)
