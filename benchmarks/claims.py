"""The cost of a claim, by how many jobs wait."""

import itertools
import statistics
import time
import uuid
from collections import defaultdict
from functools import partial
from typing import Any

import psutil
import redis

from benchmarks.kinds import Case, Column, Figures, Kind
from benchmarks.rig import Refused, Rig
from benchmarks.sender import Order
from benchmarks.systems import KEYS, QUEUE, heori
from heori_common.protocol.commands import Commands
from heori_common.protocol.job import RETURNED, Outcome
from heori_common.redis.client import RedisClient

SENT = heori("threads", 1, 1)  # whose jobs are claimed
BATCHES = (1, 64)  # jobs a claim
COMMANDS = Commands()
SHORT, LONG, LONGEST = 1_000, 1_000_000, 10_000_000  # jobs in a queue
AT_ONCE = 20_000  # jobs that are copied by one script
SPARE = 3e9  # bytes of the machine's memory that are left alone
# Copies a job so often, each with an id of its own, and lists the copies behind what waits.
COPY = """
local fields = redis.call('HGETALL', KEYS[1])
for number = ARGV[1], ARGV[2] do
  local id = string.format('%08x-0000-4000-8000-%012x', number * 2654435761 % 4294967296, number)
  redis.call('HSET', ARGV[3] .. id, unpack(fields))
  redis.call('RPUSH', KEYS[2], id)
end
"""

# Puts as many jobs as were claimed, and given back to the front, behind all others.
ROTATE = """
for _ = 1, ARGV[1] do
  redis.call('LMOVE', KEYS[1], KEYS[1], 'LEFT', 'RIGHT')
end
"""


def _claim(quick: bool) -> list[Case]:
    rounds = 20 if quick else 500
    long, longest = (20_000, 50_000) if quick else (LONG, LONGEST)
    return [
        Case(case(jobs), partial(claims, jobs, rounds), SENT.missing()) for jobs in (long, longest)
    ]


def case(long: int) -> str:
    """The name of a case."""
    return f"heori, {SHORT:,} and {long:,} jobs"


def claims(long: int, rounds: int) -> Figures:
    """Claim from a short and a long queue in turn: the jobs that come next, and these again.

    The next ones of a long queue are in no cache of the processor, but those that were claimed just
    now are: how much less these take is what the memory costs.
    """
    times: dict[str, list[float]] = defaultdict(list)
    with Rig(SENT) as few, Rig(SENT) as many:
        few.send(Order("bulk", "nothing", SHORT))
        long, bytes_each = fill(many, long)
        with RedisClient(few.url) as at_short, RedisClient(many.url) as at_long:
            queues = {"short": (few, at_short), "long": (many, at_long)}
            for _, count, name in itertools.product(range(rounds), BATCHES, queues):
                rig, at_queue = queues[name]
                times[f"{name}_{count}"].append(_claim_once(at_queue, count))
                times[f"{name}_again_{count}"].append(_claim_once(at_queue, count))
                rig.client.eval(ROTATE, 1, KEYS.queue(QUEUE), count)
    figures = {name: statistics.median(taken) for name, taken in times.items()}
    for count in BATCHES:
        for again in ("", "again_"):
            of_short = figures[f"short_{again}{count}"]
            figures[f"ratio_{again}{count}"] = figures[f"long_{again}{count}"] / of_short
    return {**figures, "jobs": long, "bytes": bytes_each}


def fill(rig: Rig, jobs: int) -> tuple[int, float]:
    """Fill the queue with so many, or as many as there is memory for; returns how many, and bytes.

    All are copies of one that was sent, made by the server, as to send them would take minutes.
    """
    client = rig.client
    before = _used(client)
    rig.send(Order("bulk", "nothing", 1))
    [first] = _ids(client)
    copy = client.register_script(COPY)
    each = filled = 0
    while filled < jobs:
        if filled and _used(client) + AT_ONCE * each > before + _room(rig):
            break
        Rig.tell(f"{filled:,} of {jobs:,} jobs")
        last = min(jobs, filled + AT_ONCE)
        copy([KEYS.job(first), KEYS.queue(QUEUE)], [filled + 1, last, KEYS.job("")])
        filled = last
        each = (_used(client) - before) // filled
    return filled, each


def _room(rig: Rig) -> float:
    """How much the server may hold."""
    return rig.server.memory_info().rss + psutil.virtual_memory().available - SPARE


def _ids(client: "redis.Redis") -> list[str]:
    listed: Any = client.lrange(KEYS.queue(QUEUE), 0, -1)
    return [each.decode() for each in listed]


def _used(client: "redis.Redis") -> int:
    return int(client.info("memory")["used_memory"])


def _claim_once(redis_client: RedisClient, count: int) -> float:
    """Claim so many jobs and give them back; returns what the claim took, in µs."""
    command = COMMANDS.claim(
        [QUEUE], count, lease=30, consumer="bench", token=uuid.uuid4().hex, max_payload=10**6
    )
    started = time.perf_counter()
    claims = redis_client.execute(command).claims
    taken = (time.perf_counter() - started) * 1e6
    if len(claims) != count:
        raise Refused(f"a claim did not get its {count} jobs")
    back = [(each, Outcome(RETURNED)) for each in claims]
    redis_client.execute(COMMANDS.give_back(back, consumer="bench", max_deliveries=3))
    return taken


CLAIM = Kind(
    "claim",
    "One claim of 1 or 64 jobs from a short and a long queue, in turn: median µs at the client. "
    "Each job of the long one has a hash of its own; as many as there is memory for. Again: the "
    "same jobs at once, when they are in the processor's caches",
    (
        Column("jobs", "long queue"),
        Column("bytes", "B a job"),
        *(
            Column(f"{figure}_{count}", f"{figure.replace('_', ' ')}, {count}", form)
            for count in BATCHES
            for figure, form in (
                ("short", ",.0f"),
                ("long", ",.0f"),
                ("ratio", ".3f"),
                ("ratio_again", ".3f"),
            )
        ),
    ),
    _claim,
    seconds=150,
    turns=1,  # its own turns are single calls; to fill the long queue takes minutes
)
