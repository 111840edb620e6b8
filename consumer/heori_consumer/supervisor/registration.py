"""This consumer's record among RQ's workers, so that `rq info` and dashboards show it."""

import contextlib
import os
import platform
import socket
import sys
import uuid
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import Any

from heori_common.protocol.commands import Command, Word
from heori_common.redis.errors import RedisRefused, RedisUnavailable
from heori_consumer.supervisor.context import Context

HEARTBEAT_EVERY_S = 5.0
RECORD_TTL_S = 60  # without a heartbeat for so long, the record goes; rq's own is 480

# rq reads this as the version of the worker's rq, and shows it.
RQ_VERSION = "3.0.0"


def consumer_name() -> str:
    """A name no other consumer has, from which a person can tell where it runs."""
    host = socket.gethostname().partition(".")[0]
    return f"heori-{host}-{os.getpid()}-{uuid.uuid4().hex[:6]}"


class Registration:
    """Announces, keeps alive and retires the record."""

    def __init__(
        self,
        context: Context,
        state: Callable[[], str],
        waits_for: Callable[[], Collection[str]],
    ) -> None:
        """Prepare.

        Args:
            state: returns what the consumer does now, in rq's words.
            waits_for: returns the queues for whose jobs all slots wait, at a standstill.
        """
        self._beats = context.beat
        self._redis = context.redis
        self._broken_keys = context.broken_keys
        self._commands = context.commands
        self._queues = context.queues
        self._name = context.name
        self._state = state
        self._waits_for = waits_for
        self._record: dict[str, Word] = {}  # what of it stays the same
        self._broken: set[str] = set()  # keys of the wrong type

    async def announce(self, metrics: str) -> None:
        """Write the record.

        Args:
            metrics: URL under which this consumer tells its own; `heori top` asks there.

        Raises:
            RedisUnavailable: Redis cannot be reached, or takes no writes.
            RedisRefused: it does not take the login.
        """
        self._record = {
            "birth": _now(),
            "queues": ",".join(self._queues),
            "pid": os.getpid(),
            "hostname": socket.gethostname(),
            "ip_address": "",
            "version": RQ_VERSION,
            "python_version": sys.version,
            "heori_python": platform.python_implementation(),
            "heori_metrics": metrics,
        }
        try:
            await self._beat("started")
            await self._announce()
        except RedisRefused as error:  # it is out of memory, say, or a replica now
            if error.is_login:
                raise
            raise RedisUnavailable(
                f"Redis at {self._redis.address} does not let a consumer register: {error.said}"
            ) from error

    async def run(self) -> None:
        """Tell every few seconds that it lives and what its state is, for ever."""
        while True:
            with contextlib.suppress(RedisUnavailable, RedisRefused):
                # A server that was restarted empty has forgotten the consumer.
                if not await self._beat(self._state()) or self._broken:
                    await self._announce()
            await self._beats.rest(HEARTBEAT_EVERY_S)

    async def retire(self) -> None:
        """Take the record out; RQ's tools stop showing it."""
        with contextlib.suppress(RedisUnavailable, RedisRefused):
            await self._execute(self._commands.retire(self._name, self._queues, _now()))

    async def _beat(self, state: str) -> bool:
        """Tell that it lives; returns whether all of the record is there."""
        told = {"state": state, "heori_waits_for": ",".join(sorted(self._waits_for()))}
        new_fields, _ = await self._execute(
            self._commands.heartbeat(self._name, _now(), told, RECORD_TTL_S)
        )
        return not new_fields

    async def _announce(self) -> None:
        """Write the record, and the consumer's name where it is looked for."""
        await self._execute(self._commands.announce(self._name, self._queues, self._record))

    async def _execute(self, commands: Sequence[Command[Any]]) -> list[Any]:
        """Execute each; a key of the wrong type spoils what is shown, and no more than that."""
        replies = []
        for command in commands:
            key = str(command.words[1])
            try:
                replies.append(await self._redis.execute(command))
                self._broken.discard(key)
            except RedisRefused as error:
                if error.code != "WRONGTYPE":
                    raise
                replies.append(None)
                self._broken.add(key)
        self._broken_keys.see("registration", frozenset(self._broken))
        return replies


def _now() -> str:
    """This machine's time: it is for people, and nothing is decided by it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
