"""Speaks for many consumers.

``python -m benchmarks.simulated CONSUMERS FIRST SECONDS METRICS QUEUE…`` starts so many, numbered
from the first, one after the other in so many seconds; all tell that METRICS is where theirs are.

Each is a real one but for its workers: it has all roles of a supervisor and connections of its own.
So it says to Redis whatever a consumer of this checkout says, and comes back after an outage as one
does. What it claims has run as soon as it is dispatched.
"""

import asyncio
import resource
import sys
from collections.abc import Sequence
from unittest import mock

import msgpack
from pydantic_core import to_json

from benchmarks.tasks import record
from heori_common import logs
from heori_common.protocol.job import FINISHED, Claim, Outcome
from heori_common.protocol.payload import decode_call, encode_result
from heori_common.protocol.records import JobFields
from heori_common.settings import Settings
from heori_consumer.pool.pool import Pool
from heori_consumer.supervisor import roles
from heori_consumer.supervisor.context import Context
from heori_consumer.supervisor.options import ConsumerOptions
from heori_consumer.supervisor.registration import REGISTER, consumer_name

SLOTS = 8
FILES_EACH = 3  # connections of one consumer
FILES_BESIDE = 200  # that the program has open, and more


class InstantPool(Pool):
    """A pool without workers, as if its slots were always free.

    Attributes:
        number: of the consumer; negative in the tally, where others have a process id.
    """

    number = 0

    def wanted(self) -> int:
        """How many jobs to claim now."""
        return SLOTS

    def idle(self) -> int:
        """How many slots have nothing to do."""
        return SLOTS

    def dispatch(
        self,
        claims: Sequence[Claim],
        *,
        can_wait: bool = False,  # noqa: ARG002 - they end at once
    ) -> None:
        """Run these, and say so."""
        self._settlement.ended([(claim, self._run(claim)) for claim in claims])

    def _run(self, claim: Claim) -> Outcome:
        fields = JobFields(*msgpack.unpackb(claim.fields, raw=True))
        number, *_ = decode_call(fields.data or b"", ("json",), 1_000).args
        record(number, by=-self.number)
        return Outcome(FINISHED, encode_result(to_json(number), "json"))


class Consumer:
    """One of them."""

    def __init__(self, settings: Settings, options: ConsumerOptions, number: int) -> None:
        self._context = Context(settings, options, consumer_name())
        with mock.patch.object(roles, "Pool", InstantPool):
            self._roles = roles.Roles.create(self._context)
        assert isinstance(self._roles.pool, InstantPool)
        self._roles.pool.number = number

    async def run(self, delay: float, metrics: str) -> None:
        """Register after so many seconds, then have all roles do their duty, for ever."""
        await asyncio.sleep(delay)
        every = self._roles
        await self._context.retry.persist(REGISTER, lambda: every.registration.announce(metrics))
        async with asyncio.TaskGroup() as group:
            for role in every.all():
                if role not in (every.pool, every.gil_sampler):  # there are no workers
                    group.create_task(role.run())


def files_missing(consumers: int) -> str | None:
    """Why so many consumers cannot be here, if they cannot."""
    needed = FILES_EACH * consumers + FILES_BESIDE
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < needed:
        return f"{needed:,} open files are needed, and {most:,} allowed (ulimit -Hn)"
    return None


async def speak(
    consumers: int, first: int, seconds: float, metrics: str, queues: tuple[str, ...]
) -> None:
    """Have them all run, for ever."""
    settings = Settings()
    logs.configure(as_json=True, level="critical")  # thousands would say the same
    options = ConsumerOptions.create(queues, "threads", 1, SLOTS)
    async with asyncio.TaskGroup() as group:
        for number in range(consumers):
            consumer = Consumer(settings, options, first + number)
            group.create_task(consumer.run(seconds * number / consumers, metrics))


def main(words: Sequence[str]) -> None:
    consumers, first, seconds, metrics, *queues = words
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    asyncio.run(speak(int(consumers), int(first), float(seconds), metrics, tuple(queues)))


if __name__ == "__main__":
    main(sys.argv[1:])
