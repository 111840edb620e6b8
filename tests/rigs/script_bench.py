"""A server, and what producers and consumers do to it by their scripts."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import pytest
from rq.job import Job as RqJob
from rq.serializers import JSONSerializer

from heori_common.protocol.commands import (
    LEASE_MARGIN_S,
    Claimed,
    Command,
    Commands,
    Lead,
    Offer,
    Reclaimed,
    Tidied,
)
from heori_common.protocol.job import (
    CRASHED,
    FAILED,
    FINISHED,
    RETURNED,
    Claim,
    NewJob,
    Outcome,
    Settled,
)
from heori_common.protocol.keys import service_of
from heori_common.protocol.payload import Call, encode_failure, encode_result
from tests.rigs.keys_left import tidy

T = TypeVar("T")
ADD = "tests.tasks.sample_tasks.add"
ME = "consumer-1"
EVIDENCE = encode_failure("its consumer was lost 3 times while it ran\n")


class Execute(Protocol):
    """Executes one command, whichever client does it."""

    def __call__(self, command: Command[T], /) -> T: ...


@dataclass
class Bench:
    """A server, and short ways to do to it what producers and consumers do."""

    execute: Execute
    redis: Any  # its hints mix in those of asyncio and of decoded replies
    commands: Commands
    calls: int = 0

    def send(self, *ids: str, queue: str = "default", **when: Any) -> int:
        call = Call(ADD, [1], {"b": 2})
        jobs = [NewJob.create(id_, call, 180) for id_ in ids]
        return self.execute(self.commands.enqueue(queue, jobs, **when)).new

    def look(
        self,
        *queues: str,
        count: int = 100,
        lease: float = 30.0,
        max_payload: int = 1_000_000,
        shares: Sequence[int] = (),
        consumer: str = ME,
        offer: Offer | None = None,
        last_offers: Sequence[Offer] = (),
        received: Sequence[bytes] = (),
    ) -> Claimed:
        self.calls += 1
        claimed = self.execute(
            self.commands.claim(
                queues or ("default",),
                count,
                lease=lease,
                consumer=consumer,
                token=f"{self.calls:016x}",
                max_payload=max_payload,
                shares=shares,
                offer=offer,
                last_offers=last_offers,
                received=received,
            )
        )
        assert claimed.at == pytest.approx(self.now(), abs=60.0)
        return claimed._replace(at=0.0)

    def claim(self, *queues: str, **options: Any) -> list[Claim]:
        claimed = self.look(*queues, **options)
        assert not claimed.empty
        return claimed.claims

    def ack(self, *ended: Settled) -> list[int]:
        told = self.execute(self.commands.ack(ended, consumer=ME))
        assert (told.broken, told.are_left) == ([], False)
        return told.refused

    def release(self, *claims: Claim, counted: bool = True, max_deliveries: int = 3) -> list[str]:
        outcome = Outcome(CRASHED if counted else RETURNED, EVIDENCE)
        return self.give_back(
            *((claim, outcome) for claim in claims), max_deliveries=max_deliveries
        )

    def give_back(self, *settled: Settled, max_deliveries: int = 3) -> list[str]:
        return self.execute(
            self.commands.give_back(settled, consumer=ME, max_deliveries=max_deliveries)
        )

    def reclaim_command(
        self,
        *queues: str,
        interval: float = 0.001,
        max_deliveries: int = 3,
        lease: float = 30.0,
        come_back: float = 0.0,
        leased: int = 0,
        whole: bool = True,
        anew: bool = False,
    ) -> Command[Reclaimed | None]:
        return self.commands.reclaim(
            queues or ("default",),
            service="service",
            whole=whole,
            leased=leased,
            interval=interval,
            lease=lease,
            come_back=come_back,
            consumer=ME,
            max_deliveries=max_deliveries,
            evidence=EVIDENCE,
            anew=anew,
        )

    def reclaim(
        self, *queues: str, interval: float = 0.001, max_deliveries: int = 3
    ) -> tuple[int, int]:
        if interval < 1:
            self.forget_looks(*queues)
        reclaimed = self.execute(
            self.reclaim_command(*queues, interval=interval, max_deliveries=max_deliveries)
        )
        return (reclaimed.queued, reclaimed.dead) if reclaimed else (0, 0)

    def lead(self, *, takes_back: bool = True) -> Lead:
        """As the leader of the queue default does twice a second."""
        return self.execute(
            self.commands.lead(
                service_of(["default"]),
                consumer=ME,
                ttl=30.0,
                interval=1.0,
                max_deliveries=3,
                takes_back=takes_back,
            )
        )

    def tidy(self, forget: float = 0.0) -> Tidied:
        return tidy(self.execute, self.redis, forget=forget)

    def forget_looks(self, *queues: str) -> None:
        """As if nobody had looked for expired leases for a while."""
        watched = (f"rq:heori:watched:{queue}" for queue in queues or ("default",))
        self.redis.delete("rq:heori:watching:service", *watched)

    def undo(self, *queues: str, token: str) -> int:
        command = self.commands.undo_claim(queues, token=token, consumer=ME, max_deliveries=1)
        return self.execute(command)

    def spoil(self, key: str) -> Callable[[], None]:
        """Put something else under a key; returns how to put back what was there."""
        existed = bool(self.redis.exists(key))
        if existed:
            self.redis.rename(key, "aside")
        self.redis.set(key, "text")

        def mend() -> None:
            self.redis.delete(key)
            if existed:
                self.redis.rename("aside", key)

        return mend

    def end_lease(self, claim: Claim, ago: float = 1.0) -> None:
        """As if the lease had run out so many seconds ago."""
        key = f"rq:wip:{claim.queue}"
        assert self.redis.zscore(key, member(claim)) is not None
        self.redis.zadd(key, {member(claim): self.now() + LEASE_MARGIN_S - ago})

    def now(self) -> float:
        seconds, micros = self.redis.time()
        return float(seconds + micros / 1e6)

    def queue(self, name: str = "default") -> list[str]:
        return [item.decode() for item in self.redis.lrange(f"rq:queue:{name}", 0, -1)]

    def wip(self, queue: str = "default") -> dict[str, float]:
        entries = self.redis.zrange(f"rq:wip:{queue}", 0, -1, withscores=True)
        return {name.decode(): score for name, score in entries}

    def field(self, job_id: str, name: str) -> str | None:
        value = self.redis.hget(f"rq:job:{job_id}", name)
        return None if value is None else value.decode()

    def everything(self) -> dict[bytes, Any]:
        """All keys with their content and when they expire, to see that nothing has changed."""
        keys = self.redis.keys("*")
        return {key: (self.redis.dump(key), self.redis.pexpiretime(key)) for key in keys}

    def rq_job(self, job_id: str, serializer: Any = JSONSerializer) -> RqJob:
        return RqJob.fetch(job_id, connection=self.redis, serializer=serializer)


def member(claim: Claim) -> str:
    return f"{claim.job_id}:{claim.execution}"


def done(claim: Claim, value: Any = 3) -> Settled:
    body = encode_result(json.dumps(value).encode(), "json")
    return claim, Outcome(FINISHED, body, run_time=0.25)


def failed(claim: Claim, text: str = "Traceback …\nValueError: no\n") -> Settled:
    return claim, Outcome(FAILED, encode_failure(text), run_time=0.25)


def ids(claims: list[Claim]) -> list[str]:
    return [claim.job_id for claim in claims]
