"""Bytes in Redis: of a job that waits, and of one that has ended, its result kept."""

import random
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import redis

from benchmarks.kinds import Case, Column, Figures, Kind
from benchmarks.rig import Refused, Rig, stop
from benchmarks.sender import Order
from benchmarks.systems import KEYS, QUEUE, RQ_SIMPLE, System, heori

OURS = heori("threads", 1, 1)
# Settings that Heori's embedded server has of its own, as Redis and Valkey have them.
THEIRS: Mapping[str, Any] = {"stream-node-max-bytes": 4096, "hash-max-listpack-value": 64}
SMALL, LETTER = "a small job", "300 B of arguments"
LETTER_BYTES = 300
COUNTED_EACH, MOST_COUNTS = 1.2, 10  # seconds from count to count of what connections have
SAME = 10_000  # bytes, between two counts
THEIR_OWN = ", Redis's own settings"  # after the name of a case


def _bytes(quick: bool) -> list[Case]:
    jobs = 100 if quick else 2_000
    tasks: Mapping[str, tuple[str, tuple[str, ...]]] = {
        SMALL: ("nothing", ()),
        LETTER: ("carry", (letter(LETTER_BYTES),)),
    }
    servers: Mapping[str, Mapping[str, Any]] = {"": {}, THEIR_OWN: THEIRS}
    return [
        Case(
            bytes_case(system, arguments) + server,
            partial(stored, system, jobs, *tasks[arguments], config=config),
            system.missing(),
        )
        for server, config in servers.items()
        for arguments in tasks
        for system in (OURS, RQ_SIMPLE)
    ]


def bytes_case(system: System, arguments: str) -> str:
    """The name of a case, with the settings of the embedded server."""
    return f"{system.name}: {arguments}"


def letter(size: int) -> str:
    """So many bytes that compress as prose does: common words in any order."""
    words = ["the", "of", "your", "order", "has", "been", "sent", "we", "thank", "you", "with"]
    chance = random.Random(0)
    return " ".join(chance.choice(words) + str(chance.randrange(100)) for _ in range(size))[:size]


def stored(
    system: System, jobs: int, task: str, rest: tuple[str, ...], *, config: Mapping[str, Any]
) -> Figures:
    """What Redis holds for each job while it waits, and when it has ended."""
    with Rig(system, config=config) as rig:
        rig.consume()
        rig.warm_up()
        stop(rig.consumers[-1])
        before = _used(rig.client)
        base = rig.finished()
        rig.send(Order("bulk", task, jobs, rest=rest))
        waiting = _used(rig.client) - before
        rig.consume()
        rig.until(lambda: rig.done(jobs, base))
        stop(rig.consumers[-1])
        used = _used(rig.client) - before
        rig.verify(jobs)
        [last] = rig.client.zrange(KEYS.finished(QUEUE), -1, -1)
        assert isinstance(last, bytes)
        sample = last.decode()
        return {
            "waiting": waiting / jobs,
            "used": used / jobs,
            "job": _usage(rig.client, KEYS.job(sample)),
            "result": _usage(rig.client, KEYS.results(sample)),
        }


def _used(client: "redis.Redis") -> int:
    """Bytes, without what connections have.

    The server counts what these have once a second or less, so that it is waited for until two
    counts of the whole are the same.
    """
    before = _counted(client)
    for _ in range(MOST_COUNTS):
        time.sleep(COUNTED_EACH)
        now = _counted(client)
        if abs(now - before) < SAME:
            return now
        before = now
    raise Refused("the memory of the server does not hold still")


def _counted(client: "redis.Redis") -> int:
    memory = client.info("memory")
    return int(memory["used_memory"] - memory["mem_clients_normal"])


def _usage(client: "redis.Redis", key: str) -> float:
    return float(client.memory_usage(key, samples=0) or 0)


BYTES = Kind(
    "bytes",
    "Bytes in Redis per job: growth of used_memory while it waits and when it has ended, and "
    "MEMORY USAGE of the keys of one that has ended; with the embedded server's settings, or "
    "Redis's own",
    (
        Column("waiting", "waiting"),
        Column("used", "finished"),
        Column("job", "job hash"),
        Column("result", "result stream"),
    ),
    _bytes,
    seconds=5,
)
