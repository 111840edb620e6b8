"""Producers into a queue with a limit, against slow consumers: nothing is lost, nothing grows."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass, field

import psutil

from heori_common.protocol.keys import Keys
from heori_consumer.pool.pool import MOST_BATCHES_AHEAD
from tests.chaos.fleet import QUEUE, Fleet, Report
from tests.chaos.soak import slope
from tests.rigs.waiting import until

SAMPLE = 0.5  # seconds between two looks at memory
BATCH = 1000  # jobs of one call of submit_many
CLAIM = 16  # jobs that the consumer claims at once
# What waits in a worker behind a job that takes long goes back to the front of the queue, and on a
# busy machine any does. The bound is for those who send.
RETURNED = 2 * MOST_BATCHES_AHEAD * CLAIM  # of two workers, at most

SENDER = """
import sys
from heori import Producer
from tests.chaos import tasks
url, first, last, batch = sys.argv[1], *map(int, sys.argv[2:])
with Producer(url) as producer:
    for start in range(first, last, batch):
        numbers = range(start, min(start + batch, last))
        producer.submit_many(tasks.brief, numbers)
"""


@dataclass
class Bounded:
    """What was counted and sampled."""

    model: str
    producers: int
    limit: int
    sent: int = 0
    done: int = 0
    lost: int = 0
    highest: int = 0  # jobs waiting, the most that was ever seen
    seconds: float = 0.0
    memory: dict[str, float] = field(default_factory=dict)  # MB at the end, by kind of process
    slope: dict[str, float] = field(default_factory=dict)  # MB per 100,000 jobs, second half

    def problems(self) -> list[str]:
        """What is not as it must be; the memory is for people to judge."""
        most = self.limit + RETURNED
        found = {
            f"{self.highest} jobs waited, more than {most}": self.highest > most,
            f"{self.lost} of {self.sent} jobs are lost": self.lost,
            f"{self.done} jobs were done of {self.sent}": self.done != self.sent,
        }
        return [f"{self.model}: {problem}" for problem, there in found.items() if there]


def bound(model: str, jobs: int, producers: int, limit: int, report: Report) -> Bounded:
    """Send so many jobs from several processes at once; look at the queue all the while."""
    result = Bounded(model, producers, limit)
    keys = Keys()
    with Fleet(model) as fleet:
        environment = {
            **os.environ,
            "HEORI_QUEUE_LIMITS": f"{QUEUE}={limit}",
            "HEORI_WHEN_FULL": "block",
        }
        share = -(-jobs // producers)
        words = [sys.executable, "-c", SENDER, fleet.server.url]
        start = next_sample = time.monotonic()
        senders = [
            subprocess.Popen(
                [*words, str(first), str(min(first + share, jobs)), str(BATCH)], env=environment
            )
            for first in range(0, jobs, share)
        ]
        server = psutil.Process(int(fleet.redis.info("server")["process_id"]))
        samples: list[tuple[int, dict[str, float]]] = []  # jobs sent and MB
        try:
            until(lambda: fleet.redis.llen(keys.queue(QUEUE)) >= limit)  # as the consumer is late
            result.highest = int(fleet.redis.llen(keys.queue(QUEUE)))
            consumer = fleet.start("--batch", str(CLAIM)).ready()
            while True:
                running = any(sender.poll() is None for sender in senders)
                depth = int(fleet.redis.llen(keys.queue(QUEUE)))
                result.highest = max(result.highest, depth)
                sent = int(fleet.redis.hget(keys.bound(QUEUE), "sent") or 0)
                if (now := time.monotonic()) >= next_sample and running:
                    next_sample = now + SAMPLE
                    samples.append((sent, _memory(senders, server)))
                    report(sent - depth, jobs)
                if not running and depth == 0 and fleet.leases() == 0:
                    break
                time.sleep(0.005)
        finally:
            for sender in senders:
                sender.kill()
                sender.wait()
        result.seconds = time.monotonic() - start
        result.sent = int(fleet.redis.hget(keys.bound(QUEUE), "sent") or 0)
        result.done = int(consumer.metric("heori_jobs_total", outcome="succeeded"))
        result.lost = jobs - result.done
        result.memory = samples[-1][1] if samples else {}
        result.slope = slope(samples) if len(samples) > 3 else {}
        consumer.stop()
    return result


def _memory(senders: list["subprocess.Popen[bytes]"], server: psutil.Process) -> dict[str, float]:
    """Of the producers together, and of the server, in MB."""
    producers = 0.0
    for sender in senders:
        if sender.poll() is None:
            producers += psutil.Process(sender.pid).memory_info().rss / 1e6
    return {"producers": producers, "server": server.memory_info().rss / 1e6}
