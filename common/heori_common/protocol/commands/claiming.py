"""What consumers send to get jobs: claims, and the offers that are left when there are none."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import msgpack

from heori_common.protocol.commands.builder import (
    CALL_BYTES,
    COME_BACK_S,
    EXECUTION_MARK,
    HANDOVER_LEASE_US,
    LEASE_MARGIN_S,
    MOST_HOPS,
    PARKED_LOOK_S,
    RESULT_TTL_S,
    Builders,
    Command,
    text,
    unpack,
)
from heori_common.protocol.job import Claim, MalformedJob, parse_timeout
from heori_common.protocol.keys import service_of, tenant_queue
from heori_common.protocol.records import ClaimReply

# How long it stays known which queues a service takes from, in seconds: then it is written again.
SERVICE_TOLD_S = 600
HANDED = b"handed"  # the kind of what is told to a consumer whose offer was taken; see offers.lua
_PLAIN = len(ClaimReply._fields) - len(ClaimReply._field_defaults)  # what is told of a plain job
_NO_TTLS = None, None
_NO_MORE = tuple(Claim._field_defaults.values())
MOST_PARKED = 200  # jobs that a claim leaves to wait for locks, about


class Offer(NamedTuple):
    """What an idle consumer leaves with Redis when there is nothing to claim; see offers.lua."""

    consumer: str
    token: str  # new and unique for each offer; names the executions
    slots: int  # that are free
    lease_s: float
    margin_s: float  # by which a score in wip lies after the lease's end
    max_payload: int

    def to_wire(self) -> bytes:
        """As it is kept."""
        # cmsgpack knows the old format only, which has one type for text and bytes.
        packed: bytes = msgpack.packb(
            self._replace(token=EXECUTION_MARK + self.token), use_bin_type=False
        )
        return packed


class HandOver(NamedTuple):
    """What a consumer is told whose offer was taken.

    Attributes:
        told: as it is confirmed with the next claim.
        at: when, in epoch seconds, by the server's clock.
        claims: jobs that were claimed for it; without any it is to claim itself.
        token: of the offer that was taken.
    """

    told: bytes
    at: float
    claims: list[Claim]
    token: str


def read_hand_over(at: float, told: bytes, claims: Sequence[Sequence[Any]]) -> HandOver:
    """Read what comes on `Keys.told`."""
    _, token, queue, _ = unpack(told)
    queues = [text(queue)]
    read = [read_claim(claimed, queues, at) for claimed in claims]
    return HandOver(told, at, read, token.decode().removeprefix(EXECUTION_MARK))


class Claimed(NamedTuple):
    """What a claim has brought.

    Attributes:
        empty: whether there was no id at all. Without claims and not empty, all were dropped.
        suspended: whether `rq suspend` holds all claims back.
        broken: keys of the wrong type; their queues were passed over.
        taken_back: the numbers of the hand-overs that came too late, and are others' by now.
        withdrawn: whether the latest of the last offers was still there.
        overdue: whether the leader has not taken back what was to be.
        gone: queue and id of each that was dropped, as nothing is left of its job.
        expired: the queue of each job that was not to begin any more.
        at: when, in epoch seconds, by the server's clock.
        through: how many of the queues, from the first on, have nothing more.
    """

    claims: list[Claim]
    empty: bool = True
    suspended: bool = False
    broken: frozenset[str] = frozenset()
    taken_back: Sequence[int] = ()
    withdrawn: bool = False
    overdue: bool = False
    gone: Sequence[tuple[str, str]] = ()
    expired: Sequence[str] = ()
    at: float = 0.0
    through: int = 0


class ClaimingCommands(Builders):
    """Claims, offers and wake-ups."""

    def claim(
        self,
        queues: Sequence[str],
        count: int,
        *,
        lease: float,
        consumer: str,
        token: str,
        max_payload: int,
        shares: Sequence[int] = (),
        service: str | None = None,
        about: tuple[str, int] = ("", 0),
        deadlock: str = "raise",
        offer: Offer | None = None,
        last_offers: Sequence[Offer] = (),
        received: Sequence[bytes] = (),
        strict: bool = False,
        careful: bool = False,
    ) -> Command[Claimed]:
        """Pop and lease up to `count` jobs: first each queue's share, then in their order.

        Fewer when their payloads come to CALL_BYTES before.

        Args:
            offer: left with Redis when there is nothing to claim.
            last_offers: that may have been left before, and hold no more.
            received: each `HandOver.told` that is not confirmed yet.
            lease: seconds.
            token: new and unique for each call; names the executions.
            service: the consumer's, if these are not all of its queues.
            shares: for the first queues, in their order; the rest is taken in the order of all.
            about: host and pid of the consumer, for those who look into the locks of its jobs.
            strict: record each execution at once.
            careful: look at the leases first, as the last claim was told of a broken key.
            deadlock: raise fails a job whose wait for its locks would never end.
        """

        def parse(reply: bytes) -> Claimed:
            (
                at,
                popped,
                suspended,
                broken,
                claims,
                taken_back,
                withdrawn,
                overdue,
                gone,
                expired,
                through,
            ) = unpack(reply)
            return Claimed(
                [read_claim(claimed, queues, at) for claimed in claims],
                not popped,
                suspended,
                frozenset(text(key) for key in broken),
                tuple(taken_back),
                withdrawn,
                overdue,
                tuple((queues[number], text(job_id)) for number, job_id in gone),
                tuple(queues[number] for number in expired),
                at,
                through,
            )

        return self._call(
            "claim",
            [],
            parse,
            queues=_pack(tuple(queues)),
            service=service or _service(tuple(queues)),
            count=count,
            shares=shares,
            lease_s=lease,
            margin_s=LEASE_MARGIN_S,
            consumer=consumer,
            token=EXECUTION_MARK + token,
            max_payload=max_payload,
            most_bytes=CALL_BYTES,
            most_parked=MOST_PARKED,
            offer=offer.to_wire() if offer else b"",
            last_offers=[each.to_wire() for each in last_offers],
            received=received,
            told_s=SERVICE_TOLD_S,
            strict=strict,
            careful=careful,
            result_ttl_s=RESULT_TTL_S,
            host=about[0],
            pid=about[1],
            deadlock=deadlock,
            most_hops=MOST_HOPS,
            look_again_s=PARKED_LOOK_S,
            come_back_s=COME_BACK_S,
            handover_lease_us=HANDOVER_LEASE_US,
        )

    def wake(self, queues: Sequence[str]) -> Command[int]:
        """Wake consumers that wait, where jobs of these queues wait for them.

        Reads for how many of these jobs nobody waits.
        """
        return self._call("wake", [], int, queues=list(queues))


@lru_cache(maxsize=64)
def _pack(queues: tuple[str, ...]) -> bytes:
    """Names of queues as claim.lua reads them."""
    packed: bytes = msgpack.packb(queues, use_bin_type=False, unicode_errors="surrogateescape")
    return packed


_service = lru_cache(maxsize=64)(service_of)


def read_claim(claimed: Sequence[Any], queues: Sequence[str], now: float) -> Claim:
    """What a consumer gets to know of a job that was claimed for it.

    Args:
        claimed: a `ClaimReply`, or the beginning of one.
    """
    timeout, problem = _timeout(claimed[4])
    if len(claimed) == _PLAIN and problem is None:  # as most, for which this takes half as long
        number, job_id, execution, deliveries, _, fields = claimed
        read = (
            text(job_id),
            queues[number],
            execution.decode(),
            deliveries,
            now,
            None,
            timeout,
            *_NO_TTLS,
            fields,
            *_NO_MORE,
        )
        return tuple.__new__(Claim, read)  # which twice as long a call of Claim does as well
    return _read_claim(ClaimReply(*claimed), queues, now, timeout, problem)


@lru_cache(64)  # most jobs have the timeout of the one before
def _timeout(value: bytes | Literal[False]) -> tuple[int, str | None]:
    """Seconds, and what is the matter with them."""
    try:
        return parse_timeout(value or None), None
    except MalformedJob as error:
        return -1, str(error)


def _read_claim(
    claimed: ClaimReply, queues: Sequence[str], now: float, timeout: int, problem: str | None
) -> Claim:
    if claimed.problem:
        problem = claimed.problem.decode("utf-8", "backslashreplace")
    return Claim(
        text(claimed.job_id),
        tenant_queue(queues[claimed.queue_number], text(claimed.tenant)),
        claimed.execution.decode(),
        claimed.deliveries,
        now,
        problem,
        timeout,
        claimed.result_ttl or None,
        claimed.failure_ttl or None,
        claimed.packed_fields,
        [(key.decode(), fence) for key, fence in claimed.locks or ()],
        claimed.waited_s,
        claimed.suspicion,
        claimed.special,
        claimed.rate_limit_key or None,
        claimed.rest,
    )
