"""This consumer's record among RQ's workers, so that `rq info` and dashboards show it."""

import asyncio
import contextlib
import os
import platform
import socket
import sys
import uuid
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime

from heori_common.protocol.commands import DRAIN_FIELD, Command, Registered, Word
from heori_common.redis.errors import RedisRefused, RedisUnavailable
from heori_consumer.supervisor.context import Context

HEARTBEATS = 5  # beats from one to the next
STATE_EVERY_S = 1.0  # its state is looked at, and told when it has changed
REGISTER = "register this consumer"

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
        self._retry = context.retry
        self._broken_keys = context.broken_keys
        self._commands = context.commands
        self._queues = context.queues
        self._name = context.name
        guest = context.options.guest
        # "unknown" is rq's own word, where it does not know it.
        self._address = guest.address if guest else "unknown"
        self._state = state
        self._waits_for = waits_for
        self._refusals = context.refusals
        self._drain = context.drain
        self._is_announced = False
        self._told = ""  # its state
        self._record: dict[str, Word] = {}  # what of it stays the same
        self._broken: frozenset[str] = frozenset()  # keys of the wrong type
        self._soon = asyncio.Event()

    async def announce(self, metrics: str) -> None:
        """Write the record.

        Args:
            metrics: URL under which this consumer tells its own; `heori top` asks there.

        Raises:
            RedisUnavailable: Redis cannot be reached.
            RedisRefused: it does not take the login, or takes no writes.
        """
        self._record = {
            "birth": _now(),
            "queues": ",".join(self._queues),
            "pid": os.getpid(),
            "hostname": socket.gethostname(),
            "ip_address": self._address,
            "version": RQ_VERSION,
            "python_version": sys.version,
            "heori_python": platform.python_implementation(),
            "heori_metrics": metrics,
        }
        try:
            await self._beat("started")
            await self._announce(is_new=True)
        except RedisRefused as error:
            if error.is_general:
                raise
            raise RedisUnavailable(
                f"Redis at {self._redis.address} does not let a consumer register: {error.said}"
            ) from error

    async def run(self) -> None:
        """Tell every few seconds that it lives, and soon what its state is, for ever."""
        while True:
            self._soon.clear()
            await self._retry.once(REGISTER, self._keep())
            for _ in range(HEARTBEATS):
                is_asked = await self._beats.wait(self._soon, STATE_EVERY_S)
                if is_asked or self._state() != self._told:
                    break

    def tell_soon(self) -> None:
        """Tell the state now, and read what is asked: a job has been killed, say, and whoever asked
        for it looks.
        """
        self._soon.set()

    async def _keep(self) -> None:
        # A server that was restarted empty has forgotten the consumer.
        if not await self._beat(self._state()) or self._broken:
            await self._announce()

    async def retire(self) -> None:
        """Take the record out; RQ's tools stop showing it."""
        with contextlib.suppress(RedisUnavailable, RedisRefused):
            await self._write(self._commands.retire(self._name, self._queues, _now()))

    async def _beat(self, state: str) -> bool:
        """Tell that it lives; returns whether all of the record is there."""
        told = {
            "state": state,
            "heori_waits_for": ",".join(sorted(self._waits_for())),
            "heori_refuses": str(self._refusals),
        }
        self._told = state
        written = await self._write(self._commands.heartbeat(self._name, _now(), told))
        new_fields, _, drains = written
        is_there = not new_fields
        # What stands in another record, of this name and before, was not asked of this one.
        if is_there and self._is_announced and drains is not None:
            self._drain.read(is_on=bool(drains))
        return is_there

    async def _announce(self, *, is_new: bool = False) -> None:
        """Write the record, and the consumer's name where it is looked for."""
        asked: dict[str, Word] = {DRAIN_FIELD: 1} if self._drain.is_on else {}
        record = self._record | asked
        command = self._commands.announce(self._name, self._queues, record, is_new=is_new)
        await self._write(command)
        self._is_announced = True

    async def _write(self, command: Command[Registered]) -> Sequence[int | None]:
        """Write; a key of the wrong type spoils what is shown, and no more than that."""
        registered = await self._redis.execute(command)
        self._broken = (self._broken - registered.written) | registered.broken
        self._broken_keys.see("registration", self._broken)
        return registered.replies


def _now() -> str:
    """This machine's time: it is for people, and nothing is decided by it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
