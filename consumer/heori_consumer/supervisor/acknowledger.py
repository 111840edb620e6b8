"""Tells Redis what came of the claims, in batches, and keeps trying until Redis knows."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from functools import partial

from heori_common import clock, logs
from heori_common.metrics import BATCH_JOBS, MOST_TASKS, Histogram, bounded
from heori_common.protocol.commands import CALL_BYTES
from heori_common.protocol.job import (
    CRASHED,
    FAILED,
    KILLED,
    RETRIED,
    RETRY,
    SETTLED,
    UNKNOWN_HERE,
    Claim,
    Settled,
    is_restart,
)
from heori_common.protocol.payload import encode_failure
from heori_common.redis.errors import RedisRefused
from heori_consumer.between.frames import Note
from heori_consumer.pool.held_results import HeldResults
from heori_consumer.supervisor.context import Context
from heori_consumer.supervisor.dependents import Dependents
from heori_consumer.supervisor.webhooks import Webhooks

log = logs.get_logger(__name__)

CALL_ENTRIES = 128  # per call at most: Redis does nothing else meanwhile, about 10 µs each
LOST = "lost"  # what comes of a job whose lease was lost: its next delivery decides

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

    def __init__(self, context: Context, dependents: Dependents) -> None:
        self._redis = context.redis
        self._commands = context.commands
        self._leases = context.leases
        self._retry = context.retry
        self._failures = context.failures
        self._stand_back = context.stand_back
        self._rhythm = context.rhythm
        self._dependents = dependents
        self._webhooks = Webhooks(context.failures)
        self._consumer = context.name
        self._unknown_wait = context.settings.unknown_wait
        self._max_deliveries = context.settings.max_deliveries
        self._result_ttl = context.options.result_ttl
        self._keeps_failures = context.options.keeps_failures
        # Called with what has failed only here: its worker has not called it a failure.
        self.on_failed: list[Callable[[list[Settled]], None]] = []
        self.held = HeldResults()
        self._ended: list[Settled] = []
        self._given_back: list[Settled] = []
        self._progress: dict[str, tuple[Claim, float, str]] = {}  # the latest, by execution
        self._meta: dict[str, tuple[Claim, bytes]] = {}  # likewise
        self._work = asyncio.Event()
        self._settled = asyncio.Event()
        self._settled.set()
        self._called = 0.0  # time.monotonic() of the last call
        self._can_wait = True  # whether all that has ended since can
        self.batches = Histogram(BATCH_JOBS)
        self._tasks: set[str] = set()  # that are told one by one
        self.outcomes: Counter[tuple[str, str]] = Counter()  # by task, and status or LOST
        self.executed = 0  # jobs that a worker has run, whatever came of it
        self.last_ended = 0.0  # by `clock.now()`
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
            else:
                self.executed += 1
        self.last_ended = clock.now()
        self.held.add(size)
        self._can_wait = self._can_wait and self._rhythm.can_wait(entries)
        self._wake()

    def given_back(self, entries: list[Settled]) -> None:
        """Claims that will not be finished here."""
        self._given_back += entries
        self._can_wait = False
        self.executed += sum(outcome.status in (CRASHED, KILLED) for _, outcome in entries)
        self.last_ended = clock.now()
        self._wake()

    def note(self, notes: Sequence[tuple[Claim, Note]]) -> None:
        """What jobs that still run tell of themselves; before what comes of them."""
        for claim, note in notes:
            if isinstance(note, bytes):
                self._meta[claim.execution] = claim, note
            else:
                fraction, text = note
                self._progress[claim.execution] = claim, fraction, text
        self._wake()

    @property
    def is_settled(self) -> bool:
        """Whether Redis knows everything."""
        return self._settled.is_set()

    async def settled(self) -> None:
        """Wait until Redis knows everything, and what waited for it is enqueued and sent."""
        await self._settled.wait()
        await self._dependents.settled()
        await self._webhooks.settled()

    async def run(self) -> None:
        """Settle, for ever.

        Everything here may be sent twice: the second time changes nothing.
        """
        while True:
            await self._work.wait()
            self._work.clear()
            while self._ended or self._given_back or self._progress or self._meta:
                await self._save_meta()
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
        if not self._can_wait or len(self._ended) >= min(CALL_ENTRIES, len(self._leases)):
            self._rhythm.change()

    async def _acknowledge(self) -> None:
        # While other jobs are held; else nothing would come that is worth waiting for.
        while len(self._ended) < min(CALL_ENTRIES, len(self._leases)):
            pause = self._rhythm.due(self._called, can_wait=self._can_wait) - time.monotonic()
            if pause <= 0 or self._given_back or self.held.bytes >= CALL_BYTES:
                break
            await self._rhythm.rest(pause)
        await self._save_meta()  # of those whose leases end now
        self._called, self._can_wait = time.monotonic(), True
        batch, size = _first(self._ended)
        self._leases.settling([claim for claim, _ in batch])
        try:
            await self._ack(batch)
        except RedisRefused:
            # One entry's key is of the wrong type, say. The others must not suffer for it; those
            # that were settled before it are told as done.
            for entry in batch:
                await self._ack_alone(entry)
        del self._ended[: len(batch)]
        self.held.remove(size)
        self._leases.drop([claim for claim, _ in batch])

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
                self._failed([(claim, failed)])
        except RedisRefused as error:
            self._failures.of_job("cannot settle a job", claim, str(error))

    async def _ack(self, batch: list[Settled]) -> None:
        command = self._commands.ack(
            batch,
            consumer=self._consumer,
            unknown_wait=self._unknown_wait,
            recorded=self._leases.recorded,
            result_ttl=self._result_ttl,
            keeps_failures=self._keeps_failures,
        )
        self.batches.observe(len(batch))
        told = await self._retry.persist("acknowledge jobs", lambda: self._redis.execute(command))
        for key in told.broken:
            log.error(
                "a key does not hold what it should; see TYPE", key=key.decode(errors="replace")
            )
        self._count(batch, told.refused)
        self._send_webhooks(batch, told.refused, told.given_up)
        self.refused += len(told.refused)
        for number in told.refused:
            log.warning("lease lost; result refused", job=batch[number][0].job_id)
        self._stand_back.expect(told.pauses)
        for number in told.given_up:
            claim, outcome = batch[number]
            if outcome.status == UNKNOWN_HERE:
                self.given_up += 1
                self._failures.of_job("no consumer knows the task of a job", claim)
                self._failed([(claim, outcome._replace(status=FAILED))])
        if told.are_left:
            self._dependents.are_left()

    def _failed(self, entries: list[Settled]) -> None:
        for tell in self.on_failed:
            tell(entries)

    def _send_webhooks(
        self, batch: list[Settled], refused: Collection[int], given_up: Collection[int]
    ) -> None:
        for number, (claim, outcome) in enumerate(batch):
            # What rq's own code has settled, it has told of as well.
            if claim.rest and number not in refused and outcome.status != SETTLED:
                self._webhooks.of(claim, outcome, has_failed=number in given_up)

    def _count(self, batch: list[Settled], refused: list[int]) -> None:
        """Count what came of jobs; most of a batch have the same task, and end alike."""
        ends = [(outcome.task, outcome.settled_as or outcome.status) for _, outcome in batch]
        for number in refused:
            task, status = ends[number]
            ends[number] = (task, status if status == UNKNOWN_HERE else LOST)
        for (task, status), jobs in Counter(ends).items():
            if task and status != UNKNOWN_HERE:  # else no worker has run it
                name = bounded(task, self._tasks, MOST_TASKS)
                self._tasks.add(name)
                self.outcomes[name, RETRY if status == RETRIED else status] += jobs

    async def _tell_progress(self) -> None:
        reports, self._progress = list(self._progress.values()), {}
        for first in range(0, len(reports), CALL_ENTRIES):
            command = self._commands.note_progress(reports[first : first + CALL_ENTRIES])
            # Not repeated: the next report says more.
            await self._retry.once("note progress", self._redis.execute(command))

    async def _save_meta(self) -> None:
        while self._meta:
            saved, self._meta = list(self._meta.values()), {}
            for first in range(0, len(saved), CALL_ENTRIES):
                command = self._commands.save_meta(saved[first : first + CALL_ENTRIES])
                await self._retry.persist("save meta", partial(self._redis.execute, command))

    async def _release(self) -> None:
        await self._save_meta()
        # From the end, as each job goes to the front of its queue.
        first = max(0, len(self._given_back) - CALL_ENTRIES)
        batch = self._given_back[first:]
        self._leases.settling([claim for claim, _ in batch])
        try:
            await self._give_back(batch)
        except RedisRefused:  # as above
            for entry in reversed(batch):  # each goes to the front
                try:
                    await self._give_back([entry])
                except RedisRefused as error:  # its lease runs out, and the reaper gives it back
                    self._failures.of_job("cannot give a job back", entry[0], str(error))
        del self._given_back[first : first + len(batch)]
        self._leases.drop([claim for claim, _ in batch])

    async def _give_back(self, batch: list[Settled]) -> None:
        command = self._commands.give_back(
            batch, consumer=self._consumer, max_deliveries=self._max_deliveries
        )
        fates = await self._retry.persist("give jobs back", lambda: self._redis.execute(command))
        for (claim, outcome), fate in zip(batch, fates, strict=True):
            if claim.rest and fate == "dead":
                self._webhooks.of(claim, outcome, has_failed=True)
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
