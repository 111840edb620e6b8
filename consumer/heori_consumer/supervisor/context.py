"""What all roles of one consumer share."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Protocol

from heori_common.protocol.commands import Commands
from heori_common.protocol.keys import Keys
from heori_common.redis.async_client import AsyncRedisClient
from heori_common.settings import Settings
from heori_consumer.beat import Beat
from heori_consumer.pool.failures import FailureLog
from heori_consumer.supervisor.broken_keys import BrokenKeys
from heori_consumer.supervisor.leases import Leases
from heori_consumer.supervisor.options import ConsumerOptions
from heori_consumer.supervisor.redis_retry import RedisRetry
from heori_consumer.supervisor.stand_back import StandBack

# What repeats a request sooner is one request: `timeout` and some init systems send SIGTERM to a
# process and to its group, so that it arrives twice at once. A person takes longer.
SAME_REQUEST_S = 0.25


class Role(Protocol):
    """One duty of a consumer."""

    async def run(self) -> None:
        """Do it, until cancelled."""


class StopRequest:
    """Whether the consumer is to stop, and how soon.

    Attributes:
        drain: set when it is to drain.
        at_once: set when it is to stop without waiting for what runs.
    """

    def __init__(self) -> None:
        self.drain = asyncio.Event()
        self.at_once = asyncio.Event()
        self._asked: float | None = None  # time.monotonic()

    def ask(self) -> None:
        """Ask it to drain; if that was asked before, to stop at once."""
        now = time.monotonic()
        if self._asked is None:
            self._asked = now
        elif now - self._asked > SAME_REQUEST_S:
            self.at_once.set()
        self.drain.set()

    def ask_at_once(self) -> None:
        """Ask it to stop without waiting for what runs."""
        self.at_once.set()
        self.drain.set()


@dataclass(slots=True)
class Context:
    """What all roles of one consumer share.

    Attributes:
        name: under which this consumer is known in Redis.
        beat: with which the roles do what they do now and then.
        leases: all claims that it holds.
        failures: what is told of jobs that go wrong.
        stand_back: when jobs are due that other consumers should get.
    """

    settings: Settings
    options: ConsumerOptions
    name: str
    stop: StopRequest = field(default_factory=StopRequest)
    beat: Beat = field(default_factory=Beat)
    retry: RedisRetry = field(default_factory=RedisRetry)
    broken_keys: BrokenKeys = field(default_factory=BrokenKeys)
    failures: FailureLog = field(default_factory=FailureLog)
    stand_back: StandBack = field(default_factory=StandBack)
    redis: AsyncRedisClient = field(init=False)
    commands: Commands = field(init=False)
    leases: Leases = field(init=False)

    def __post_init__(self) -> None:
        self.redis = AsyncRedisClient(self.settings.redis_url)
        self.commands = Commands(Keys(self.settings.key_prefix))
        self.leases = Leases(self.commands.keys)

    @property
    def queues(self) -> tuple[str, ...]:
        """The queues that this consumer serves."""
        return self.options.queues
