"""What the supervisor and a worker say to each other: frames, lists that begin with their kind.

They travel over a socket pair, as msgpack, which needs no length before a frame.
"""

from collections.abc import Sequence
from typing import Any

import msgpack

# What a frame between supervisor and worker is about: its first element.
# To the worker: [jobs, {number: Claim}, whether their ends may wait for company].
JOBS = "jobs"
# To the worker: [recall] or [recall, [number, …]], to send back all that no slot has taken yet, or
# what of these.
RECALL = "recall"
STOP = "stop"  # to the worker: [stop, number of a job that is to be ended]
# To the worker: [resize, threads, jobs on the event loop at most] that it is to have from now on.
RESIZE = "resize"
# To the worker: [apart, [name of a task, …], jobs that may stand aside], to run one job of all of
# these tasks at a time.
APART = "apart"
LOST = "lost"  # to the worker: [lost, [number of a job that has lost its lease, …]]
# To a worker, to have its middleware hear of it: [died, Claim, name of the task, status of the
# Outcome, why, name of its consumer if that is another one], of a job whose own worker cannot speak
# any more.
DIED = "died"
LOOK = "look"  # to the worker: sample the states of its own threads, as nobody else can
# To the supervisor: [importing, module], which is one of the tasks', or None when all are imported.
IMPORTING = "importing"
# To the supervisor, before it is ready, if asked to: [published, {task: what is published of it}].
PUBLISHED = "published"
# To the supervisor, when all is imported: [ready, memory in bytes, its GIL's futex, libraries,
# sentences about modules without tasks, its process, [[name, packed entry], …] of periodic jobs].
READY = "ready"
# To the supervisor: [broken, why it can take no jobs, in a line, a traceback if there is one].
BROKEN = "broken"
TASK = "task"  # to the supervisor: [task, number, name]: how the slot table calls it
OUTCOMES = "outcomes"  # to the supervisor: [outcomes, {number: Outcome}, {task: totals}]
FAILURES = "failures"  # to the supervisor: [failures, [Failure, …]], before their outcomes
# To the supervisor, as the answer to a recall: [unbegun, [number, …], whether that was of all].
UNBEGUN = "unbegun"
# To the supervisor: [again, number, Outcome], of a job that is to be run again in another process.
AGAIN = "again"
PROGRESS = "progress"  # to the supervisor: [progress, {number of a job: [fraction, text]}]
META = "meta"  # to the supervisor: [meta, {number of a job: the field}], before their outcomes
LOCKS = "locks"  # to the supervisor: [locks, [Statistics.to_wire(), …]], of tasks' own locks
# To the supervisor: [in line, {number of a job: [[kind, name of a lock, since when], …]}], of those
# that stand in line for locks in their slots, by `clock.now()`.
IN_LINE = "in line"
SEEN = "seen"  # to the supervisor: [seen, {state: s}, {task: {state: s}}] so far, as LOOK asks for
# To the supervisor: [waits, jobs that wait for others, jobs that ask after others, [queue of those
# others, …], [[queue, id], …] of those that are to run before all others, slots
# lent, jobs that there may be beside those of its slots and of those lent, jobs that stand aside]
WAITS = "waits"
WORN = "worn"  # to the supervisor: [worn, reason]: no further jobs, another process is needed

# What a running job tells of itself: fraction and text of its progress, or the field of its meta.
Note = list[Any] | bytes


# What an unpacker has room for at first, in bytes; it makes more for a frame that is larger. All of
# it is used before it begins anew, and msgpack would take a megabyte.
_ROOM = 1 << 16


def pack(frame: Sequence[Any]) -> bytes:
    """A frame as it travels: msgpack, which needs no length before it."""
    packed: bytes = msgpack.packb(frame, unicode_errors="surrogateescape")
    return packed


def unpacker() -> "msgpack.Unpacker":
    """Reads frames out of a stream of bytes."""
    return msgpack.Unpacker(
        read_size=_ROOM,
        unicode_errors="surrogateescape",
        max_buffer_size=2**31 - 1,
        strict_map_key=False,
    )
