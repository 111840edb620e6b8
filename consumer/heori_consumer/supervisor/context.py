"""What all roles of one consumer share."""

import secrets
from dataclasses import dataclass, field
from typing import Protocol

from heori_common.protocol.commands import Commands
from heori_common.protocol.keys import Keys
from heori_common.redis.async_client import AsyncRedisClient
from heori_common.redis.retries import ANSWER_TIMEOUT_S, QUIET_S
from heori_common.settings import Settings
from heori_consumer.beat import Beat
from heori_consumer.pool.failures import FailureLog
from heori_consumer.supervisor.broken_keys import BrokenKeys
from heori_consumer.supervisor.drain_request import DrainRequest
from heori_consumer.supervisor.leases import Leases
from heori_consumer.supervisor.options import ConsumerOptions
from heori_consumer.supervisor.redis_retry import RedisRetry
from heori_consumer.supervisor.refusals import Refusals
from heori_consumer.supervisor.rhythm import Rhythm
from heori_consumer.supervisor.stand_back import StandBack
from heori_consumer.supervisor.stop_request import StopRequest


def new_token() -> str:
    """How the names of all executions of one claim, or of one offer, begin.

    It is short, as it stands in the hash of each job and with each result; and no two claims whose
    jobs run at the same time have the same, as it has 48 random bits.
    """
    return secrets.token_urlsafe(6)


class Role(Protocol):
    """One duty of a consumer."""

    async def run(self) -> None:
        """Do it, until cancelled."""


@dataclass(slots=True)
class Context:
    """What all roles of one consumer share.

    Attributes:
        name: under which this consumer is known in Redis.
        beat: with which the roles do what they do now and then.
        leases: all claims that it holds.
        failures: what is told of jobs that go wrong.
        stand_back: when jobs are due that other consumers should get.
        rhythm: how long what has ended may wait for company.
        refusals: the queues of which it may run nothing.
        drain: whether it is to claim nothing for now.
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
    rhythm: Rhythm = field(default_factory=Rhythm)
    redis: AsyncRedisClient = field(init=False)
    commands: Commands = field(init=False)
    leases: Leases = field(init=False)
    refusals: Refusals = field(init=False)
    drain: DrainRequest = field(default_factory=DrainRequest)

    def __post_init__(self) -> None:
        # Leases are extended when a third is over; what is not answered is asked again in time.
        soon = min(ANSWER_TIMEOUT_S, max(QUIET_S, self.settings.lease / 3))
        self.redis = AsyncRedisClient(self.settings.redis_url, answer_timeout=soon)
        self.commands = Commands(Keys(self.settings.key_prefix))
        self.leases = Leases(self.commands.keys, strict=self.settings.records == "strict")
        self.refusals = Refusals(self.queues, self.stop)

    @property
    def queues(self) -> tuple[str, ...]:
        """The queues that this consumer serves."""
        return self.options.queues
