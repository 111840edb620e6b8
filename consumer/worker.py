"""A worker process: runs jobs in its slots, and nothing else.

    supervisor ──jobs──▶ main thread ─▶ inbox ─▶ slots (threads) ─▶ outbox ─▶ sender ──outcomes──▶

Every execution model is this, with other numbers of processes and slots. The process holds no
connection to Redis and answers to no signal: its supervisor ends it, by message, by closing the
socket, or by SIGKILL.
"""

import contextlib
import os
import queue
import select
import signal
import socket
import threading
import time
import traceback
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgpack

from common import tasks
from consumer.execution import Policy, Runner, Work
from consumer.slot_table import SlotTable
from consumer.totals import Outcome, Totals, count

# What a frame between supervisor and worker is about: its first element.
JOBS = "jobs"  # to the worker: [jobs, [number, id, claimed at, problem, values], …]
RECALL = "recall"  # to the worker: send back what no slot has taken yet
READY = "ready"  # to the supervisor: the tasks are imported
BROKEN = "broken"  # to the supervisor: they cannot be, and why
OUTCOMES = "outcomes"  # to the supervisor: [outcomes, [outcome, …], {task: totals}]
RETURNED = "returned"  # to the supervisor: [returned, [number, …]], the answer to a recall

# How often slots are checked for jobs that are late, in seconds.
TICK = 0.1
# Outcomes per frame at most: enough to make the frame's cost small, few enough to be on time.
FRAME = 64
# How long an outcome may wait for others while there are more jobs at hand, in seconds.
LINGER = 0.002


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """What a worker needs to know; crosses to the new process by pickle."""

    slots: int
    policy: Policy


def pack(frame: list[Any]) -> bytes:
    """A frame as it travels: msgpack, which needs no length before it."""
    packed: bytes = msgpack.packb(frame, unicode_errors="surrogateescape")
    return packed


def unpacker() -> "msgpack.Unpacker":
    """Reads frames out of a stream of bytes."""
    return msgpack.Unpacker(unicode_errors="surrogateescape", max_buffer_size=2**31 - 1)


def main(link: socket.socket, options: WorkerOptions, table: SlotTable) -> None:
    """The worker process, from its start to its end."""
    for number in (signal.SIGINT, signal.SIGTERM):
        # A handler rather than SIG_IGN, which programs that a task starts would inherit.
        signal.signal(number, lambda *_: None)
    try:
        tasks.load(options.policy.tasks)
    except BaseException:
        link.sendall(pack([BROKEN, traceback.format_exc()]))
        return
    try:
        _Worker(link, options, table).run()
    except BaseException:  # a task has closed our socket, say; our supervisor starts another
        traceback.print_exc()
        os._exit(1)
    # Without a goodbye: a task may have left threads or exit handlers behind that never end.
    os._exit(0)


class _Worker:
    def __init__(self, link: socket.socket, options: WorkerOptions, table: SlotTable) -> None:
        self._link = link
        self._options = options
        self._table = table
        self._inbox: queue.SimpleQueue[Work] = queue.SimpleQueue()
        self._outbox: deque[Outcome | list[int]] = deque()
        self._sendable = threading.Semaphore(0)
        self._sent_at = 0.0  # time.monotonic() when the sender was woken last
        self._runners: list[Runner] = []

    def run(self) -> None:
        """Serve the supervisor until it closes the socket."""
        threading.Thread(target=self._send, name="sender", daemon=True).start()
        for slot in range(self._options.slots):
            threading.Thread(target=self._slot, args=(slot,), name=f"slot-{slot}").start()
        for kind, *rest in self._frames():
            if kind == JOBS:
                for job in rest[0]:
                    self._inbox.put(Work(*job))
            elif kind == RECALL:
                self._outbox.append(self._recall())
                self._sendable.release()

    def _slot(self, slot: int) -> None:
        runner = Runner(self._options.policy)
        self._runners.append(runner)
        while True:
            work = self._inbox.get()
            now = time.monotonic()
            self._table.take(slot, work.number, now)
            self._outbox.append(runner.run(work))
            self._table.finish(slot)
            # With more jobs at hand, the sender may wait for company: each wake-up costs as much
            # as a small job. What is left over when a long job follows goes with the next tick.
            if self._inbox.empty() or len(self._outbox) >= FRAME or now - self._sent_at > LINGER:
                self._sent_at = now
                self._sendable.release()

    def _recall(self) -> list[int]:
        numbers = []
        with contextlib.suppress(queue.Empty):
            while True:
                numbers.append(self._inbox.get_nowait().number)
        return numbers

    def _frames(self) -> Iterator[list[Any]]:
        """Frames from the supervisor; between them, the watch over late jobs."""
        stream = unpacker()
        self._link.setblocking(True)
        poll = select.poll()
        poll.register(self._link, select.POLLIN)
        self._link.sendall(pack([READY]))
        next_tick = time.monotonic() + TICK
        while True:
            now = time.monotonic()
            if now >= next_tick:
                for runner in self._runners:
                    runner.interrupt_if_late(now)
                if self._outbox:
                    self._sendable.release()
                next_tick = now + TICK
            if not poll.poll(max(0.0, next_tick - now) * 1000):
                continue
            try:
                received = self._link.recv(1 << 18)
            except ConnectionResetError:
                return
            if not received:
                return
            stream.feed(received)
            yield from stream

    def _send(self) -> None:
        """Sends outcomes, as many at a time as there are, and counts them on the way."""
        totals: Totals = {}
        while True:
            self._sendable.acquire()
            while self._outbox:
                items = [self._outbox.popleft() for _ in range(min(len(self._outbox), FRAME))]
                outcomes = [item for item in items if isinstance(item, Outcome)]
                frames = []
                if outcomes:
                    touched = {name: totals[name].to_wire() for name in count(totals, outcomes)}
                    frames.append(pack([OUTCOMES, outcomes, touched]))
                frames += [
                    pack([RETURNED, item]) for item in items if not isinstance(item, Outcome)
                ]
                try:
                    self._link.sendall(b"".join(frames))
                except OSError:  # the supervisor is gone, and with it our leases
                    os._exit(1)
