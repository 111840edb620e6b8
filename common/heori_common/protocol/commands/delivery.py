"""What consumers send about jobs that they have claimed: leases, and what came of them."""

from collections.abc import Container, Iterable, Sequence
from typing import Any, NamedTuple

from heori_common.protocol.commands.builder import (
    COME_BACK_S,
    EXECUTION_MARK,
    FAILURE_TTL_S,
    HANDOVER_LEASE_US,
    LEASE_MARGIN_S,
    PARKED_LOOK_S,
    RESULT_TTL_S,
    Builders,
    Command,
    text,
    unpack,
)
from heori_common.protocol.job import CRASHED, FINISHED, KILLED, Claim, Outcome, Settled

# Expired leases are looked for once an interval. When nobody has for so many intervals, nobody
# could, and nobody could extend a lease.
UNWATCHED_INTERVALS = 3
# Entries struck from a registry in one call: it takes Redis about 10 ms, and is more than ends in
# the second between two calls.
MOST_STRUCK = 30_000
MOST_LOOKED_AT = 100  # of those, and of overdue locks, in one call
MOST_TENANTS = 100  # whose queues are looked after in one call; it takes Redis about a millisecond
# Nobody asks what CPU a job took that ran for less, and there may be very many of these.
TELLS_CPU_S = 0.01
FEW_TENANTS = 3  # where none of them has a job that waits or is worked on

# Seconds for which a job whose task no consumer knows waits for one that does, unless it is said.
UNKNOWN_WAIT_S = 300.0

# Jobs that wait for others and are looked at in one call; it takes Redis about 2 ms.
MOST_SETTLED = 200

# How the failure of a job begins whose wait for its locks would never end; see take_job_locks.lua.
DEADLOCK = "its wait for a lock would never end (deadlock)"


class Acknowledged(NamedTuple):
    """What came of an acknowledgement; the entries of a batch by their numbers, from 0.

    Attributes:
        refused: whose lease was lost.
        are_left: whether jobs are left that wait for these, see `settle_dependents`.
        broken: keys that hold something else than they should.
        pauses: seconds until those are due that were unknown here and are put off.
        given_up: that have failed as no consumer knows them, or as they have returned RQ's Retry
            more often than that allows.
    """

    refused: list[int]
    are_left: bool
    broken: list[bytes]
    pauses: list[float]
    given_up: list[int]


class SettledUpTo(NamedTuple):
    """Where among the jobs that have ended, and those that wait for them, a call has stopped."""

    skip: int
    mark: bytes
    cursor: bytes


class Reclaimed(NamedTuple):
    """What became of the jobs whose lease had run out."""

    queued: int
    dead: int
    coming_back: bool  # nobody could look for a while: leases should be extended now
    broken: frozenset[str]  # keys of the wrong type; their queues were passed over
    dead_ids: Sequence[str]  # of dead letters, a thousand at most


BEGINNING = SettledUpTo(0, b"", b"0")


class Extended(NamedTuple):
    """What could not be extended.

    Attributes:
        lost: the numbers of the leases that are lost.
        unlocked: of those whose job has lost a lock.
    """

    lost: list[int]
    unlocked: list[int]


class DeliveryCommands(Builders):
    """Leases, and what came of the jobs."""

    def ack(
        self,
        ended: Sequence[Settled],
        *,
        consumer: str,
        unknown_wait: float = UNKNOWN_WAIT_S,
        recorded: Container[str] = (),
        result_ttl: int = RESULT_TTL_S,
        keeps_failures: bool = True,
    ) -> Command[Acknowledged]:
        """Acknowledge.

        Args:
            recorded: executions that may be recorded where rq's tools look for them.
            unknown_wait: seconds for which a job that is unknown here waits for another consumer.
            result_ttl: seconds for which a job that does not say is kept; -1 for ever.
            keeps_failures: whether a job that has failed gets a result and is listed, as RQ's
                default exception handler has it.
        """
        queues = _queues(claim for claim, _ in ended)
        return self._call(
            "ack",
            [self.keys.worker(consumer)],
            lambda reply: Acknowledged(*unpack(reply)),
            queues=list(queues),
            entries=[
                value
                for claim, outcome in ended
                for value in _entry(queues[claim.queue], claim, outcome, recorded)
            ],
            consumer=consumer,
            unknown_wait_s=unknown_wait,
            result_ttl_s=result_ttl,
            failure_ttl_s=FAILURE_TTL_S,
            keeps_failures=keeps_failures,
            handover_lease_us=HANDOVER_LEASE_US,
        )

    def settle_dependents(self, place: SettledUpTo = BEGINNING) -> Command[SettledUpTo | None]:
        """Queue what waits for jobs that have ended, where that was not done with their end.

        Reads where to go on; None when all are queued that can be.

        Args:
            place: where the call before has stopped.
        """

        def parse(reply: bytes) -> SettledUpTo | None:
            goes_on, skip, mark, cursor = unpack(reply)
            return SettledUpTo(skip, mark, cursor) if goes_on else None

        return self._call(
            "settle_dependents",
            [self.keys.ended()],
            parse,
            most=MOST_SETTLED,
            **place._asdict(),
        )

    def tell_begun(self, jobs: Sequence[tuple[Claim, bool]]) -> Command[int]:
        """Answer whoever has asked whether jobs have begun; reads how many are still claimed so."""
        return self._call(
            "tell_begun",
            [],
            int,
            jobs=[(claim.job_id, claim.execution, has_begun) for claim, has_begun in jobs],
        )

    def note_progress(self, progress: Sequence[tuple[Claim, float, str]]) -> Command[int]:
        """Note how far jobs are; reads for how many of them the lease still stood."""
        return self._call(
            "note",
            [],
            int,
            entries=[
                [
                    claim.job_id,
                    claim.execution,
                    ["heori_progress", repr(fraction), "heori_progress_text", text],
                ]
                for claim, fraction, text in progress
            ],
        )

    def save_meta(self, saved: Sequence[tuple[Claim, bytes]]) -> Command[int]:
        """Keep the meta of running jobs; reads for how many of them the lease still stood."""
        return self._call(
            "note",
            [],
            int,
            entries=[[claim.job_id, claim.execution, ["meta", field]] for claim, field in saved],
        )

    def record_executions(
        self, claims: Sequence[Claim], *, consumer: str, lease: float
    ) -> Command[int]:
        """Record executions where rq's tools look for them; reads how many still last."""
        queues = _queues(claims)
        return self._call(
            "record_executions",
            [self.keys.wip(queue) for queue in queues],
            int,
            executions=[[queues[claim.queue], claim.job_id, claim.execution] for claim in claims],
            consumer=consumer,
            lease_s=lease,
        )

    def extend_leases(
        self,
        claims: Sequence[Claim],
        *,
        lease: float,
        consumer: str = "",
        recorded: Container[str] = (),
    ) -> Command[Extended]:
        """Extend leases, and the jobs' locks with them, in seconds from now.

        Args:
            consumer: that holds them.
            recorded: executions that are recorded, and are to be for as long.
        """
        queues = _queues(claims)
        return self._call(
            "extend_leases",
            [self.keys.wip(queue) for queue in queues],
            lambda reply: Extended(*unpack(reply)),
            leases=[
                [
                    queues[claim.queue],
                    f"{claim.job_id}:{claim.execution}",
                    claim.job_id,
                    [key for key, _ in claim.locks] or False,
                    claim.execution in recorded,
                ]
                for claim in claims
            ],
            consumer=consumer,
            lease_s=lease,
            margin_s=LEASE_MARGIN_S,
        )

    def advance(self, jobs: Sequence[tuple[str, str]]) -> Command[list[int]]:
        """Put jobs, each by queue and id, to the front of their queues; the last comes first.

        Reads the numbers of those that waited there.
        """
        queues = {queue: number for number, queue in enumerate(dict.fromkeys(q for q, _ in jobs))}
        return self._call(
            "advance",
            [self.keys.queue(queue) for queue in queues],
            unpack,
            jobs=[[queues[queue], job_id] for queue, job_id in jobs],
        )

    def give_back(
        self, given_back: Sequence[Settled], *, consumer: str, max_deliveries: int
    ) -> Command[list[str]]:
        """Give jobs back to the front of their queues, in the order given.

        Of CRASHED the delivery counts, and that of KILLED is the last; of RETURNED it does not,
        and what its evidence says is added up there.

        Reads the fate of each: queued, dead, gone (deleted), lost (the lease) or kept (under its
        lease, because a key of its queue has the wrong type).
        """
        queues = _queues(claim for claim, _ in given_back)
        return self._call(
            "give_back",
            self._delivery_keys(queues),
            lambda reply: [fate.decode() for fate in reversed(unpack(reply))],
            entries=[
                [
                    queues[claim.queue],
                    claim.job_id,
                    claim.execution,
                    "last" if outcome.status == KILLED else outcome.status == CRASHED,
                    outcome.body or False,
                    [word for pair in (outcome.evidence or {}).items() for word in pair],
                ]
                for claim, outcome in reversed(given_back)
            ],
            **self._giving_back(consumer, max_deliveries),
        )

    def reclaim(
        self,
        queues: Sequence[str],
        *,
        service: str,
        whole: bool,
        leased: int,
        interval: float,
        lease: float,
        consumer: str,
        max_deliveries: int,
        evidence: bytes,
        come_back: float = COME_BACK_S,
        anew: bool = False,
    ) -> Command[Reclaimed | None]:
        """Give back jobs whose lease has run out; None when it was not yet time to look again.

        Also strikes from the registries the jobs whose results have expired.

        Args:
            whole: whether these are all queues of the service.
            leased: how many of the queues, from the first on, are known to have leases.
            interval: seconds within which no other consumer looks again.
            lease: seconds for which this consumer extends.
            come_back: seconds that holders get to extend when nobody could for a while.
            anew: whether this consumer knows that nobody could.
        """
        keys = [
            self.keys.queues(),
            self.keys.leased(),
            self.keys.watching(service),
        ]

        def parse(reply: bytes | None) -> Reclaimed | None:
            if reply is None:
                return None
            queued, dead, coming_back, broken, ids = unpack(reply)
            keys = frozenset(text(key) for key in broken)
            return Reclaimed(queued, dead, coming_back, keys, [text(each) for each in ids])

        return self._call(
            "reclaim",
            keys,
            parse,
            queues=list(queues),
            service=service,
            interval_ms=round(interval * 900),  # each look may come a little early
            watch_ms=round(interval * 1000) * UNWATCHED_INTERVALS,
            whole=whole,
            leased=leased,
            few_tenants=FEW_TENANTS,
            lease_s=lease,
            come_back_s=come_back,
            anew=anew,
            margin_s=LEASE_MARGIN_S,
            mark=EXECUTION_MARK,
            evidence=evidence,
            most_struck=MOST_STRUCK,
            look_again_s=PARKED_LOOK_S,
            most_looked_at=MOST_LOOKED_AT,
            most_tenants=MOST_TENANTS,
            **self._giving_back(consumer, max_deliveries),
        )

    def undo_claim(
        self, queues: Sequence[str], *, token: str, consumer: str, max_deliveries: int
    ) -> Command[int]:
        """Give back what the claim of that token took, if it took anything; reads how many."""
        return self._call(
            "undo_claim",
            [self.keys.queues(), *self._delivery_keys(queues)],
            int,
            token=EXECUTION_MARK + token,
            **self._giving_back(consumer, max_deliveries),
        )

    def find_canceled(self, ids: Sequence[str]) -> Command[list[int]]:
        """Look which jobs were cancelled or deleted since; reads their numbers."""
        return self._call(
            "find_canceled",
            [],
            unpack,
            ids=ids,
        )

    def _delivery_keys(self, queues: Iterable[str]) -> list[str]:
        return [
            key
            for queue in queues
            for key in (self.keys.queue(queue), self.keys.wip(queue), self.keys.failed(queue))
        ]


def _entry(queue: int, claim: Claim, outcome: Outcome, recorded: Container[str]) -> tuple[Any, ...]:
    """How a job has ended, as ack.lua reads it: of few jobs there is more to tell than of most."""
    ttl = claim.result_ttl if outcome.status == FINISHED else claim.failure_ttl
    tells_cpu, is_recorded = outcome.run_time >= TELLS_CPU_S, claim.execution in recorded
    rest: Any = False
    if (  # asked first, as of most jobs nothing of it is there
        tells_cpu
        or is_recorded
        or outcome.error
        or outcome.types
        or outcome.retry
        or claim.locks
        or claim.special
        or outcome.again
        or claim.rate_limit_key
        or outcome.gil_time
    ):
        rest = [
            each or False
            for each in (
                outcome.error,
                outcome.types,
                outcome.retry,
                [key for key, _ in claim.locks],
                claim.special,
                outcome.again,
                is_recorded,
                claim.rate_limit_key,
                tells_cpu and f"{outcome.cpu_time:.6f}",
                outcome.gil_time and f"{outcome.gil_time:.3f}",
            )
        ]
    return (
        queue,
        claim.job_id,
        claim.execution,
        outcome.status,
        claim.claimed_at,
        outcome.run_time,
        ttl or False,
        outcome.body or False,
        rest,
    )


def _queues(claims: Iterable[Claim]) -> dict[str, int]:
    """The queues of these claims, numbered in the order of their first appearance."""
    return {queue: number for number, queue in enumerate(dict.fromkeys(c.queue for c in claims))}
