"""Tells Redis what came of the claims, in batches, and keeps trying until Redis knows."""

import asyncio
import contextlib
import time
from collections.abc import Sequence

from heori_common import logs
from heori_common.metrics import BATCH_JOBS, Histogram
from heori_common.protocol.commands import CALL_BYTES
from heori_common.protocol.job import (
    CRASHED,
    FAILED,
    UNKNOWN_HERE,
    Claim,
    Settled,
    is_restart,
)
from heori_common.protocol.payload import encode_failure
from heori_common.redis.errors import RedisRefused, RedisUnavailable
from heori_consumer.pool.held_results import HeldResults
from heori_consumer.supervisor.context import Context
from heori_consumer.supervisor.dependents import enqueue_dependents

log = logs.get_logger(__name__)

CALL_ENTRIES = 128  # per call at most: Redis does nothing else meanwhile, about 10 µs each
# While other jobs are held, calls begin this far apart: each costs as much as ten of
# its entries, and CPU that the jobs could have.
CALL_GAP_S = 0.005

# The failure of a job that has ended well, and left more than the server takes.
TOO_LARGE = (
    "its result of {} bytes is more than this server takes in one piece (its proto-max-bulk-len); "
    "store it and return where\n"
)


class Acknowledger:
    """Batches by itself: what ends while one call is under way goes into the next.

    Attributes:
        held: the results that Redis does not have yet.
    """

    def __init__(self, context: Context) -> None:
        self._redis = context.redis
        self._commands = context.commands
        self._leases = context.leases
        self._retry = context.retry
        self._failures = context.failures
        self._stand_back = context.stand_back
        self._redis_url = context.settings.redis_url
        self._consumer = context.name
        self._unknown_wait = context.settings.unknown_wait
        self._max_deliveries = context.settings.max_deliveries
        self.held = HeldResults()
        self._ended: list[Settled] = []
        self._given_back: list[Settled] = []
        self._progress: dict[str, tuple[Claim, float, str]] = {}  # the latest, by execution
        self._work = asyncio.Event()
        self._settled = asyncio.Event()
        self._settled.set()
        self._called = 0.0  # time.monotonic() of the last call
        self.batches = Histogram(BATCH_JOBS)
        self.refused = 0  # acknowledgements that came after the lease was lost
        self.redelivered = 0
        self.restarted = 0  # given back uncounted, though they had begun
        self.dead = 0
        self.unknown = 0  # deliveries of jobs that the workers' code does not know
        self.given_up = 0  # of these, jobs that have failed as no consumer's does

    def ended(self, entries: list[Settled]) -> None:
        """Executions that came to an end, or are unknown here."""
        self._ended += entries
        size = 0
        for _, outcome in entries:  # once through them: this is done for each job
            size += len(outcome.body or b"")
            if outcome.status == UNKNOWN_HERE:
                self.unknown += 1
        self.held.add(size)
        self._wake()

    def given_back(self, entries: list[Settled]) -> None:
        """Claims that will not be finished here."""
        self._given_back += entries
        self._wake()

    def progress(self, reports: Sequence[tuple[Claim, float, str]]) -> None:
        """How far jobs are that still run."""
        self._progress.update((report[0].execution, report) for report in reports)
        self._wake()

    async def settled(self) -> None:
        """Wait until Redis knows everything."""
        await self._settled.wait()

    async def run(self) -> None:
        """Settle, for ever.

        Everything here may be sent twice: the second time changes nothing.
        """
        while True:
            await self._work.wait()
            self._work.clear()
            while self._ended or self._given_back or self._progress:
                if self._ended:
                    await self._acknowledge()
                if self._given_back:
                    await self._release()
                if self._progress:
                    await self._tell_progress()
            self._settled.set()

    def _wake(self) -> None:
        self._settled.clear()
        self._work.set()

    async def _acknowledge(self) -> None:
        pause = self._called + CALL_GAP_S - time.monotonic()
        few = len(self._ended) < min(CALL_ENTRIES, len(self._leases))
        if pause > 0 and few and self.held.bytes < CALL_BYTES:
            await asyncio.sleep(pause)
        self._called = time.monotonic()
        batch, size = _first(self._ended)
        self._leases.settling(claim for claim, _ in batch)
        try:
            await self._ack(batch)
        except RedisRefused:
            # One entry's key is of the wrong type, say. The others must not suffer for it; those
            # that were settled before it are told as done.
            for entry in batch:
                await self._ack_alone(entry)
        del self._ended[: len(batch)]
        self.held.remove(size)
        self._leases.drop(claim for claim, _ in batch)

    async def _ack_alone(self, entry: Settled) -> None:
        claim, outcome = entry
        try:
            try:
                await self._ack([entry])
            except RedisRefused as error:
                if not error.is_size or outcome.body is None:
                    raise
                self._failures.of_job("a result is too large for Redis", claim, str(error))
                text = TOO_LARGE.format(len(outcome.body))
                failed = outcome._replace(status=FAILED, body=encode_failure(text), types=None)
                await self._ack([(claim, failed)])
        except RedisRefused as error:
            self._failures.of_job("cannot settle a job", claim, str(error))

    async def _ack(self, batch: list[Settled]) -> None:
        command = self._commands.ack(
            batch, consumer=self._consumer, unknown_wait=self._unknown_wait
        )
        self.batches.observe(len(batch))
        told = await self._retry.persist(lambda: self._redis.execute(command))
        for key in told.broken:
            log.error(
                "a key does not hold what it should; see TYPE", key=key.decode(errors="replace")
            )
        self.refused += len(told.refused)
        for number in told.refused:
            log.warning("lease lost; result refused", job=batch[number][0].job_id)
        self._stand_back.expect(told.pauses)
        self.given_up += len(told.given_up)
        for number in told.given_up:
            self._failures.of_job("no consumer knows the task of a job", batch[number][0])
        if told.awaited:
            claims = [batch[number][0] for number in told.awaited]
            await self._retry.persist(
                lambda: asyncio.to_thread(enqueue_dependents, self._redis_url, claims)
            )

    async def _tell_progress(self) -> None:
        reports, self._progress = list(self._progress.values()), {}
        # Not repeated when Redis is away: the next report says more.
        with contextlib.suppress(RedisUnavailable, RedisRefused):
            for first in range(0, len(reports), CALL_ENTRIES):
                some = reports[first : first + CALL_ENTRIES]
                await self._redis.execute(self._commands.note_progress(some))

    async def _release(self) -> None:
        # From the end, as each job goes to the front of its queue.
        first = max(0, len(self._given_back) - CALL_ENTRIES)
        batch = self._given_back[first:]
        self._leases.settling(claim for claim, _ in batch)
        command = self._commands.give_back(
            batch, consumer=self._consumer, max_deliveries=self._max_deliveries
        )
        try:
            fates = await self._retry.persist(lambda: self._redis.execute(command))
        except RedisRefused as error:  # the leases run out, and the reaper gives them back
            log.error("cannot give jobs back", jobs=len(batch), error=str(error))
            fates = []
        del self._given_back[first : first + len(batch)]
        self._leases.drop(claim for claim, _ in batch)
        for (_, outcome), fate in zip(batch, fates, strict=False):
            self.dead += fate == "dead"
            self.redelivered += fate == "queued" and outcome.status == CRASHED
            self.restarted += fate == "queued" and is_restart(outcome)


def _first(entries: list[Settled]) -> tuple[list[Settled], int]:
    """Those that go into one call, fewer when they are large, and the bytes of their results."""
    size = 0
    for number, (_, outcome) in enumerate(entries[:CALL_ENTRIES]):
        if size >= CALL_BYTES:
            return entries[:number], size
        size += len(outcome.body or b"")
    return entries[:CALL_ENTRIES], size
