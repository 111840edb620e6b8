"""The selection that tells of each goal of being light and fast, and of no more.

Of each kind those of Heori's cases that a goal is about, what they are measured against, and the
peers that are best at it; half an hour with three turns of each.
"""

from collections.abc import Callable
from dataclasses import replace

from benchmarks import bound, claims, drain, kills, locks, memory, queues, sending, start, stored
from benchmarks.drain import FAR, ON_DISK, OURS
from benchmarks.kinds import Case, Kind
from benchmarks.systems import BARE, FLOOR, RQ_SIMPLE, ardiq, dramatiq, heori, huey, mayu, taskiq

HUEY = huey("thread", 1)
HELD = (HUEY, RQ_SIMPLE, ardiq(1), mayu(1))  # whose memory and start are looked at beside ours
SENDERS = (OURS, HUEY, RQ_SIMPLE, ardiq(1), mayu(1))
LOCKS = (locks.HEORI, "redis-py")


def _these(kind: Kind, names: list[str]) -> Kind:
    return _those(kind, lambda case: case.name in names)


def _those(kind: Kind, wanted: Callable[[Case], bool]) -> Kind:
    return replace(kind, cases=lambda quick: list(filter(wanted, kind.cases(quick))))


SELECTION = (
    _these(
        drain.DRAIN,
        [
            *(system.name for system in (FLOOR, OURS, RQ_SIMPLE, ardiq(1), ardiq(2), mayu(2))),
            dramatiq(2, 8, results=True).name,
            OURS.name + ON_DISK,
            *(system.name + FAR for system in (OURS, ardiq(2), mayu(2))),
        ],
    ),
    _these(
        sending.LATENCY,
        [
            sending.BY_RQ,
            *(
                system.name
                for system in (heori("threads", 1, 8), sending.HUEY, ardiq(1), mayu(1), taskiq(2))
            ),
        ],
    ),
    _these(
        bound.IO,
        [
            bound.THREADS,
            bound.COROUTINES,
            heori("threads", 1, bound.AT_ONCE).name,
            heori("asyncio", 1, bound.AT_ONCE).name,
        ],
    ),
    _those(bound.MANY_IO, lambda case: not case.name.startswith("taskiq")),
    _these(bound.CPU, [bound.CEILING, heori("processes", 2, 1).name]),
    _these(
        sending.ENQUEUE,
        [system.name for system in (FLOOR, BARE, OURS, RQ_SIMPLE, ardiq(1), mayu(1))],
    ),
    replace(claims.CLAIM, cases=lambda quick: claims.CLAIM.cases(quick)[-1:]),
    queues.QUEUES,
    _these(
        memory.MEMORY,
        [
            *(system.name for system in (OURS, *HELD)),
            memory.PROCESS,
            memory.THREAD,
            *map(memory.producer_case, SENDERS),
        ],
    ),
    _these(start.START, [system.name for system in (OURS, *HELD)]),
    kills.KILLS,  # what the speed of a peer is worth
    _those(stored.BYTES, lambda case: not case.name.endswith(stored.THEIR_OWN)),
    _those(locks.LOCKS, lambda case: case.name.startswith((locks.BARE, *LOCKS))),
)
