"""A worker's conversation with its supervisor: jobs come in, outcomes go out.

supervisor ──jobs──▶ receiver ─▶ inbox ─▶ slots ─▶ outbox ─▶ sender ──outcomes──▶
"""

import contextlib
import select
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from heori_common import logs
from heori_common.background import Bell
from heori_common.locks.standing import Standing
from heori_common.periodic.entry import ScheduleEntry
from heori_common.platform import give_back_memory, own_peak_memory
from heori_common.process_id import process_id
from heori_common.protocol.job import RETURNED, Claim, Outcome
from heori_common.published import describe_all, offered
from heori_consumer.between.frames import (
    AGAIN,
    APART,
    DIED,
    FAILURES,
    IN_LINE,
    JOBS,
    LOCKS,
    LOOK,
    LOST,
    META,
    OUTCOMES,
    PROGRESS,
    PUBLISHED,
    READY,
    RECALL,
    RESIZE,
    SEEN,
    STOP,
    TASK,
    UNBEGUN,
    WAITS,
    WORN,
    pack,
    unpacker,
)
from heori_consumer.between.options import WorkerOptions
from heori_consumer.between.slot_table import SlotTable
from heori_consumer.between.totals import Totals, count
from heori_consumer.gil.inside import find_gil, gil_enabled, look_around
from heori_consumer.worker.execution import Runner
from heori_consumer.worker.lending import WaitingJobs
from heori_consumer.worker.mixed import MixedRunner, MixedSlots
from heori_consumer.worker.running_job import RunningJob
from heori_consumer.worker.slots import CoroutineSlots, Slots, ThreadSlots

log = logs.get_logger(__name__)

T = TypeVar("T")

# How often slots are checked for jobs that are late, and progress is told; and how often where
# there are no jobs: each time costs the machine a wake-up.
TICK_S, IDLE_TICK_S = 0.1, 1.0
# Outcomes per frame at most: as many as the supervisor acknowledges in one call. More frames than
# calls would wake it, and have this process's threads change places, for nothing.
FRAME_OUTCOMES = 128
FRAME_BYTES = 1_000_000  # of results in a frame, about: there is a copy of each while it is sent
# After so many bytes of payloads and results, memory is given back, once no more of them come.
BURST_BYTES = 32_000_000
# How long an outcome may wait for others while there are more jobs at hand: each frame wakes the
# supervisor. The job runs again if its worker is killed meanwhile.
LINGER_S = 0.01
# The same while many more wait in Redis. Each worker of a machine sends when another such span of
# its clock has begun, so that theirs come together.
LONG_LINGER_S = 0.04


class LinkedSlots:
    """The slots of one process and their link to the supervisor.

    The only slot of a process is its main thread, where a task may do what Python allows nowhere
    else: handle signals. Another thread receives then.
    """

    def __init__(
        self,
        link: socket.socket,
        options: WorkerOptions,
        table: SlotTable,
        abandon: Callable[[], None],
    ) -> None:
        """Prepare.

        Args:
            link: to the supervisor.
            options: what it is told.
            table: what its slots are doing.
            abandon: ends the process, when the supervisor has gone and a job keeps the main thread.
        """
        self._link = link
        self._abandon = abandon
        self._table = table
        self._outbox: deque[tuple[int, Outcome] | list[Any]] = deque()
        self._sendable = Bell()  # which a job that is struck cannot spoil
        self._sent_at = 0.0  # time.monotonic() when the sender was woken last
        self._prompt = 0  # the number of the latest job whose end is not to wait for long
        self._progress: dict[int, tuple[float, str]] = {}  # the latest, of each job that tells
        self._meta: dict[int, bytes] = {}  # the latest, of each job that has saved it
        self._locks: list[Any] = []  # what was told of them last
        self._in_line: dict[int, list[Any]] = {}  # likewise, of who stands in line for them
        self._moved = [0, 0]  # bytes received and sent since memory was given back
        self._moved_before = 0  # their sum, one tick ago
        self._lend = options.lend
        self._to_publish = options.policy.tasks if options.publishes else None
        self._waiting = WaitingJobs(0, 0, [], [])  # as settled last
        self._told: list[Any] = []  # of that
        self._worn = False
        self._broken = False
        self._runner = (MixedRunner if options.kind == "mixed" else Runner)(
            options.policy,
            table,
            self._report,
            self._save,
            self._introduce,
            self._wear_out,
            self._sendable.ring,
        )
        told = self._runner, table, self._hand_over, self._wear_out, self._break_down
        self._main_slot: ThreadSlots | None = None
        self._mixed: MixedSlots | None = None
        self._slots: Slots
        if isinstance(self._runner, MixedRunner):
            self._slots = self._mixed = MixedSlots(
                self._runner,
                *told[1:],
                coroutines=options.coroutines,
                most_threads=options.most_slots + options.lend,
                hand_on=self._sendable.ring,
                changed=self._runner.lending.look,
            )
        elif options.kind == "coroutines":
            self._slots = CoroutineSlots(*told, hand_on=self._sendable.ring)
        elif options.slots == 1 and threading.current_thread() is threading.main_thread():
            self._slots = self._main_slot = ThreadSlots(
                *told, first_is_main=True, restores_handlers=options.home != "caller"
            )
        else:
            self._slots = ThreadSlots(*told)

    def run(self, used: list[str], empty: list[str], entries: Sequence[ScheduleEntry]) -> None:
        """Serve the supervisor until it closes the socket.

        Args:
            used: the libraries that the tasks use.
            empty: a sentence for each module that should have tasks, and has none.
            entries: the periodic jobs.
        """
        if self._to_publish is not None:
            published = describe_all(offered(self._to_publish))
            self._link.sendall(pack([PUBLISHED, published]))
        # Told by itself: its first job may end it before the supervisor looks at it.
        self._table.tell_gil(enabled=gil_enabled())
        periodic = [(entry.name, entry.pack()) for entry in entries]
        ready = [READY, own_peak_memory(), find_gil(), used, empty, process_id(), periodic]
        self._link.sendall(pack(ready))
        threading.Thread(target=self._send, name="sender", daemon=True).start()
        if self._main_slot is not None:
            threading.Thread(target=self._receive, name="receiver", daemon=True).start()
            self._main_slot.run_main()
        else:
            self._serve()
        if self._broken:
            raise RuntimeError("a slot of this worker has broken down")

    @property
    def is_idle(self) -> bool:
        """Whether no job runs in it."""
        return self._runner.is_idle

    def _receive(self) -> None:
        try:
            self._serve()
        except BaseException:  # as in `process.serve`
            log.critical("this worker has failed", exc_info=True)
            self._broken = True
        assert self._main_slot is not None
        if self._runner.is_idle:
            self._main_slot.close()
        else:
            self._abandon()

    def _serve(self) -> None:
        try:
            self._obey()
        finally:
            self._slots.recall()  # no slot is to begin anything more

    def _obey(self) -> None:
        for kind, *rest in self._frames():
            if kind == JOBS:
                self._put(rest[0], can_wait=rest[1])
            elif kind == RECALL:
                self._tell([UNBEGUN, self._slots.recall(*rest), not rest])
            elif kind in (RESIZE, APART) and self._mixed is not None:
                (self._mixed.resize if kind == RESIZE else self._mixed.keep_apart)(*rest)
            elif kind == STOP:
                self._runner.stop(rest[0])
            elif kind == LOST:
                self._runner.lease_lost(rest[0])
            elif kind == DIED:
                raw, *told = rest
                died = (Claim._make(raw), *told)
                # It may take long: to send it somewhere, say.
                threading.Thread(target=self._runner.died, args=died, name="died").start()
            elif kind == LOOK:
                threading.Thread(target=self._look, name="sampler", daemon=True).start()

    def _put(self, jobs: Mapping[int, Sequence[Any]], *, can_wait: bool) -> None:
        if self._worn:
            self._tell([UNBEGUN, list(jobs), False])
            return
        if not can_wait:  # nor can those before them, as Redis has no more of these
            self._prompt = max(jobs, default=self._prompt)
        self._slots.put([(number, Claim._make(job)) for number, job in jobs.items()])

    def _hand_over(self, number: int, outcome: Outcome, *, more: bool) -> None:
        if outcome.status == RETURNED:
            self._tell([AGAIN, number, outcome])
            return
        self._outbox.append((number, outcome))
        # With more jobs at hand, the sender may wait for company: each wake-up costs as much
        # as a small job. What is left over when a long job follows goes with the next tick.
        now = time.monotonic()
        if number > self._prompt:
            is_due = now - now % LONG_LINGER_S > self._sent_at
        else:
            is_due = now - self._sent_at > LINGER_S
        if not more or is_due or len(self._outbox) >= FRAME_OUTCOMES:
            self._sent_at = now
            self._sendable.ring()

    def _tell(self, frame: list[Any]) -> None:
        self._outbox.append(frame)
        self._sendable.ring()

    def _report(self, number: int, fraction: float, text: str) -> None:
        # As it can travel: without lone surrogates.
        self._progress[number] = (fraction, text.encode("utf-8", "backslashreplace").decode())

    def _save(self, number: int, field: bytes) -> None:
        self._meta[number] = field

    def _introduce(self, number: int, task: str) -> None:
        self._tell([TASK, number, task])

    def _look(self) -> None:
        try:
            look_around(
                self._table, find_gil(), lambda threads, tasks: self._tell([SEEN, threads, tasks])
            )
        except PermissionError:
            self._tell([SEEN])

    def _wear_out(self, reason: str) -> None:
        if not self._worn:
            self._worn = True
            self._tell([WORN, reason])
        self._tell([UNBEGUN, self._slots.recall(), True])

    def _break_down(self) -> None:
        """End this worker: who receives finds its socket closed."""
        self._broken = True
        with contextlib.suppress(OSError):
            self._link.shutdown(socket.SHUT_RDWR)

    def _frames(self) -> Iterator[list[Any]]:
        """Frames from the supervisor; between them, what is due every tick."""
        stream = unpacker()
        self._link.setblocking(True)
        poll = select.poll()
        poll.register(self._link, select.POLLIN)
        self._table.be_alive(time.monotonic())
        next_tick = time.monotonic() + TICK_S
        while True:
            now = time.monotonic()
            if now >= next_tick:
                self._tick(now)
                next_tick = now + (IDLE_TICK_S if self._is_idle() else TICK_S)
            if not poll.poll(max(0.0, next_tick - now) * 1000):
                continue
            try:
                received = self._link.recv(1 << 18)
            except ConnectionResetError:
                return
            if not received:
                return
            now = time.monotonic()
            self._table.be_alive(now)
            next_tick = min(next_tick, now + TICK_S)
            self._moved[0] += len(received)
            stream.feed(received)
            yield from stream

    def _is_idle(self) -> bool:
        """Whether nothing happens here until the next job comes."""
        is_burst = sum(self._moved) > BURST_BYTES
        expects_more = self._outbox or self._runner.lending.expects_more or is_burst
        return self._runner.is_idle and not expects_more

    def _tick(self, now: float) -> None:
        lingering = len(self._outbox)
        self._table.be_alive(now)
        self._runner.watch(now)
        self._slots.watch()
        self._table.tell_gil(enabled=gil_enabled())  # what a task imports may switch it on
        if self._progress:
            self._outbox.append([PROGRESS, _take_all(self._progress)])
        if self._meta:
            self._outbox.append([META, {}])  # whoever sends adds what there is
        self._give_back_memory()
        # Most tasks use no locks; their workers need not load what counts them.
        if locks := sys.modules.get("heori_common.locks.session"):
            seen = [statistics.to_wire() for statistics in locks.statistics()]
            if seen != self._locks:
                self._locks = seen
                self._outbox.append([LOCKS, seen])
            in_line = _in_line(locks.standing())
            if in_line != self._in_line:
                self._in_line = in_line
                self._outbox.append([IN_LINE, in_line])
        if self._runner.lending.expects_more:
            self._runner.lending.look()
        # What lingers goes with what follows it soon, if it does.
        if len(self._outbox) > lingering or (lingering and now - self._sent_at > LONG_LINGER_S):
            self._sendable.ring()

    def _give_back_memory(self) -> None:
        """When a burst of large payloads or results is over: else all of its memory is kept."""
        moved = sum(self._moved)
        if moved > BURST_BYTES and moved == self._moved_before:
            self._moved, moved = [0, 0], 0
            give_back_memory()
        self._moved_before = moved

    def _send(self) -> None:
        """Sends outcomes, as many at a time as there are, and counts them on the way."""
        try:
            self._send_all()
        except OSError:
            return  # who receives sees it, too, and knows what to do
        except BaseException:  # a task has ruined something that this stands on
            with contextlib.suppress(Exception):
                log.critical("outcomes cannot be sent", exc_info=True)
            self._break_down()

    def _settle(self) -> None:
        """Lend the slots of jobs that wait for others, as far as may be, and tell of it."""
        now = self._runner.lending.settle()
        if now != self._waiting:
            if now.first and not self._waiting.first:
                # What waits here for a slot would take those that are left to lend.
                self._outbox.append([UNBEGUN, self._slots.recall(), True])
            self._waiting = now
            self._slots.lend(min(now.waiting, self._lend))
        mixed = self._mixed
        beside = (mixed.beside, mixed.aside) if mixed is not None else (0, 0)
        told = [*now, min(now.waiting, self._lend), *beside]
        if told != self._told:
            self._told = told
            self._outbox.append([WAITS, *told])

    def _send_all(self) -> None:
        totals: Totals = {}
        while True:
            self._sendable.wait(float("inf"))
            if self._runner.lending.changed:
                self._settle()
            while self._outbox:
                outcomes, frames = self._next()
                if outcomes:
                    tasks_of = count(totals, outcomes.values())
                    touched = {name: totals[name].to_wire() for name in tasks_of}
                    frames.insert(0, pack([OUTCOMES, outcomes, touched]))
                    if failures := self._runner.failures.take():
                        frames.insert(0, pack([FAILURES, failures]))
                if self._meta:
                    # The sender alone takes it, after the outcomes that it goes before.
                    frames.insert(0, pack([META, _take_all(self._meta)]))
                data = b"".join(frames)
                self._link.sendall(data)
                self._moved[1] += len(data)
                del data, outcomes, frames  # they may be large, and this the last for long

    def _next(self) -> tuple[dict[int, Outcome], list[bytes]]:
        """The outcomes that make the next frame, and the other frames that go with it."""
        outcomes: dict[int, Outcome] = {}
        frames = []
        size = 0
        while self._outbox and len(outcomes) < FRAME_OUTCOMES and size < FRAME_BYTES:
            item = self._outbox.popleft()
            if isinstance(item, tuple):
                number, outcome = item
                outcomes[number] = outcome
                size += len(outcome.body or b"")
            else:
                frames.append(pack(item))
        return outcomes, frames


def _take_all(told: dict[int, T]) -> dict[int, T]:
    """What jobs have told, one by one: others tell meanwhile, and nothing may be missed."""
    taken = {}
    for _ in range(len(told)):
        number, latest = told.popitem()
        taken[number] = latest
    return taken


def _in_line(standing: Sequence[Standing]) -> dict[int, list[Any]]:
    """By the number of a job, as it travels: the locks for which it stands in line."""
    found: dict[int, list[Any]] = {}
    for job, locks, since in standing:
        if isinstance(job, RunningJob):  # else nobody has given it to this worker
            found.setdefault(job.number, []).extend([kind, name, since] for kind, name in locks)
    return found
