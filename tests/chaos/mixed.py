"""Stock rq workers and consumers serve the same two queues, and both are killed; jobs are counted.

What stock workers lose is told apart. One that listens on two queues takes a job off its list
(BLPOP) before anything is written of that; killed just then, it leaves a job that is queued and on
no list. A claim of ours is one step with what is written of it.
"""

import contextlib
import itertools
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import psutil
from rq import Queue, Retry
from rq.rate_limit import RateLimit
from rq.serializers import JSONSerializer

from tests.chaos.fleet import Fleet, Report, ready
from tests.rigs.consumers import new_mark, processes_of, put_mark

QUEUES = ("one", "two")
TASK = "tests.chaos.tasks.run"
ENDED = ("finished", "failed", "stopped", "canceled")
LEASE_S = 1.0
MOST_WAITING = 200  # jobs, so that few are left when the time is over
SETTLE_S = 200.0  # in which something of what was left behind must be done
CLEANING_LOCK_S = 899  # rq.queue.Queue.acquire_maintenance_lock
CLEANING_S = 20.0  # that a stock worker takes to look after a queue, at most, unless it was killed
STRIKES = {
    "horse SIGKILL": 3,
    "stock worker SIGKILL": 2,
    "worker SIGKILL": 3,
    "consumer SIGKILL": 2,
}


@dataclass
class Mixed:
    """What was counted.

    `lost` are jobs that have not ended and that nobody will run. Those of them that stock workers
    lost are in `lost_by_stock` instead.
    """

    model: str
    sent: int = 0
    finished: int = 0
    failed: int = 0  # as the stock worker that ran them died, and they had no retry left
    failed_here: int = 0  # in a consumer, which should not be
    kept: int = 0  # children of those, which wait for ever, as with rq
    lost: Counter[str] = field(default_factory=Counter)  # by status, and who had it last
    lost_by_stock: int = 0
    wrong: Counter[str] = field(default_factory=Counter)  # changes of status after the end
    wrong_by_stock: int = 0
    by: Counter[str] = field(default_factory=Counter)  # whose jobs ended
    slots: int = 0  # of rate limits that are left over
    strikes: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def problems(self) -> list[str]:
        """What is not as it must be."""
        found = [f"{n} jobs are lost with the status {status}" for status, n in self.lost.items()]
        found += [f"{n} times {change}" for change, n in self.wrong.items()]
        if self.failed_here:
            found.append(f"{self.failed_here} jobs have failed in a consumer")
        if self.slots:
            found.append(f"{self.slots} slots of rate limits are left over")
        if not (self.by["stock"] and self.by["heori"]):
            found.append(f"only one kind has run jobs: {dict(self.by)}")
        return found

    def row(self) -> dict[str, str]:
        """What a table shows of it."""
        return {
            "sent": f"{self.sent:,}",
            "finished": f"{self.finished:,}",
            "failed": f"{self.failed:,}",
            "lost": f"{self.lost.total():,}",
            "by stock": f"{self.lost_by_stock:,}",
            "wrong": f"{self.wrong.total():,}",
            "by stock ": f"{self.wrong_by_stock:,}",
            "ended by": "\n".join(f"{n:,} {kind}" for kind, n in sorted(self.by.items())),
            "strikes": "\n".join(f"{n} {kind}" for kind, n in sorted(self.strikes.items())),
            "seconds": f"{self.seconds:.0f}",
        }


def mixed(
    model: str,
    seconds: float,
    chance: random.Random,
    report: Report,
    *,
    every: float = 1.0,
    pace: float = 0.01,
) -> Mixed:
    """Send jobs for so long, strike one of four now and then, and count in the end.

    Args:
        every: seconds between two strikes.
        pace: seconds that one job takes.
    """
    counted = Mixed(model)
    with Fleet(model, HEORI_LEASE=str(LEASE_S), HEORI_MAX_DELIVERIES="10000") as fleet:
        fleet.redis.config_set("notify-keyspace-events", "Kh")
        with _Statuses(fleet, counted) as statuses, _Storm(fleet, chance) as storm:
            start = time.monotonic()
            numbers = itertools.count()
            next_strike = start + every
            while (now := time.monotonic()) < start + seconds:
                report(int(now - start), int(seconds))
                storm.look_after()
                if now >= next_strike:
                    counted.strikes[storm.strike()] += 1
                    next_strike = now + every
                if sum(fleet.redis.llen(f"rq:queue:{queue}") for queue in QUEUES) < MOST_WAITING:
                    _send(fleet, numbers, pace)
                time.sleep(0.02)
            counted.sent = next(numbers)
            storm.calm()
            _settle(fleet)
            statuses.catch_up()
        _count(fleet, counted)
        counted.seconds = time.monotonic() - start
    return counted


def _send(fleet: Fleet, numbers: "itertools.count[int]", pace: float) -> None:
    """A few jobs of each kind, on both queues; with a rate limit only while few wait for that."""
    are_limited = fleet.redis.zcard("rq:rl:api:rate_limited") < MOST_WAITING
    for name in QUEUES:
        queue = Queue(name, connection=fleet.redis, serializer=JSONSerializer)

        def job(queue: Queue = queue, **how: Any) -> Any:
            number = next(numbers)
            args = (str(fleet.path), number, pace)
            words = {"args": args, "job_id": f"job{number}", "result_ttl": 86_400}
            if delay := how.pop("delay", None):
                return queue.enqueue_in(timedelta(seconds=delay), TASK, **words, **how)
            return queue.enqueue(TASK, **words, **how)

        for _ in range(3):
            job()
            job(retry=Retry(max=50))
            job(retry=Retry(max=50, interval=1))
        job(delay=1, retry=Retry(max=50))
        parent = job(retry=Retry(max=50))
        job(depends_on=parent, retry=Retry(max=50))
        if are_limited:
            job(depends_on=[parent], rate_limit=RateLimit("api", 2), retry=Retry(max=50))
            job(rate_limit=RateLimit("api", 2), retry=Retry(max=50))


class _Storm:
    """Two stock workers and two consumers, and what is done to them.

    Attributes:
        mark: of all that the stock workers start. They do not end what their jobs leave behind.
    """

    def __init__(self, fleet: Fleet, chance: random.Random) -> None:
        self._fleet = fleet
        self._chance = chance
        self._stock: list[subprocess.Popen[bytes]] = []
        self.mark = new_mark()

    def __enter__(self) -> Self:
        self.look_after()
        ready(self._fleet.consumers)
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._stock:
            self._kill(worker)
        for program in processes_of([self]):
            with contextlib.suppress(psutil.NoSuchProcess):
                program.kill()

    def look_after(self) -> None:
        """Have two of each."""
        self._stock = [worker for worker in self._stock if worker.poll() is None]
        while len(self._stock) < 2:
            # One that listens on one queue, and one on both: each pops in its own way.
            queues = QUEUES if any(_served(each) == 1 for each in self._stock) else QUEUES[:1]
            self._stock.append(_start_stock(self._fleet, queues))
            put_mark(self._stock[-1].pid, self.mark)
        while len(self._fleet.living()) < 2:
            self._fleet.start(queues=QUEUES)

    def strike(self) -> str:
        """Kill something; returns what."""
        kind = self._chance.choices([*STRIKES], weights=[*STRIKES.values()])[0]
        with contextlib.suppress(psutil.NoSuchProcess):
            match kind:
                case "horse SIGKILL":
                    horses = [h for each in self._stock for h in _children(each.pid)]
                    if not horses:
                        return "horse, none there"
                    self._chance.choice(horses).kill()
                case "stock worker SIGKILL":
                    self._kill(self._chance.choice(self._stock))
                case "worker SIGKILL":
                    workers = self._chance.choice(self._fleet.living()).workers
                    if not workers:
                        return "worker, none there"
                    self._chance.choice(workers).kill()
                case _:
                    self._chance.choice(self._fleet.living()).process.kill()
        return kind

    def calm(self) -> None:
        """Strike no more, and have everyone there to finish."""
        self.look_after()

    def _kill(self, worker: "subprocess.Popen[bytes]") -> None:
        """With its horse half of the time: else that one may yet finish its job."""
        horses = _children(worker.pid) if self._chance.random() < 0.5 else []
        worker.kill()
        worker.wait()
        for horse in horses:
            with contextlib.suppress(psutil.NoSuchProcess):
                horse.kill()


def _start_stock(fleet: Fleet, queues: tuple[str, ...]) -> "subprocess.Popen[bytes]":
    words = ["worker", *queues, "--url", fleet.server.url, "--quiet", "--path", str(Path.cwd())]
    return subprocess.Popen(
        [sys.executable, "-m", "rq.cli", *words, "--serializer", "json"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _served(worker: "subprocess.Popen[bytes]") -> int:
    assert isinstance(worker.args, list)
    return sum(word in QUEUES for word in worker.args)


def _children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children()
    except psutil.NoSuchProcess:
        return []


class _Statuses:
    """Reads the status of each job whose hash has changed, as soon as Redis tells so."""

    def __init__(self, fleet: Fleet, counted: Mixed) -> None:
        self._redis = fleet.redis
        self._counted = counted
        self._last: dict[bytes, bytes] = {}
        self._heard = fleet.redis.pubsub()
        self._heard.psubscribe("__keyspace@0__:rq:job:*")
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.catch_up()

    def catch_up(self) -> None:
        """Read what has changed until now, and no more."""
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.is_set():
            changed = set()
            message = self._heard.get_message(timeout=0.05)
            while message:
                if message["type"] == "pmessage":
                    changed.add(message["channel"].partition(b":")[2])
                message = self._heard.get_message(timeout=0)
            self._read(sorted(changed))

    def _read(self, keys: list[bytes]) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        for key in keys:
            pipeline.hmget(key, "status", "worker_name")
        for key, (status, worker) in zip(keys, pipeline.execute(), strict=True):
            before = self._last.get(key, b"").decode()
            if status is None or status.decode() == before:
                continue
            self._last[key] = status
            if before in ENDED:
                if (worker or b"").startswith(b"heori-") or not worker:
                    self._counted.wrong[f"{before} → {status.decode()}"] += 1
                else:
                    self._counted.wrong_by_stock += 1


def _settle(fleet: Fleet) -> None:
    """Wait until nothing is left to do; what dead stock workers hold is over at once."""
    last, since = _waits(fleet), time.monotonic()
    while any(last) and time.monotonic() < since + SETTLE_S:
        _let_time_pass(fleet)
        time.sleep(0.5)
        now = _waits(fleet)
        if now != last:
            last, since = now, time.monotonic()


def _waits(fleet: Fleet) -> list[int]:
    """How much is still to be done, at one moment: a job may go from one place to another."""
    with fleet.redis.pipeline(transaction=True) as together:
        for queue in QUEUES:
            together.llen(f"rq:queue:{queue}")
            together.llen(f"rq:queue:{queue}:intermediate")
            for registry in ("wip", "scheduled", "ready"):
                together.zcard(f"rq:{registry}:{queue}")
        # A slot of a job that stands nowhere is found by the janitor's second look, after a minute.
        for waiting in ("rate_limited", "allowed"):
            together.zcard(f"rq:rl:api:{waiting}")
        together.zcard("rq:heori:ended")
        found: list[int] = together.execute()
    return found


def _let_time_pass(fleet: Fleet) -> None:
    """As if the leases of dead stock workers were over, and what they popped was seen long ago.

    A stock worker that looks after a queue reads first, and strikes later all that is over by
    then. So nothing may change meanwhile. Its lock says so; one that was killed has left the lock.
    """
    redis = fleet.redis
    alive = {key.decode() for key in redis.smembers("rq:workers") if _is_alive(redis, key)}
    past = redis.time()[0] - 100
    for queue in QUEUES:
        lock = f"rq:clean_registries:{queue}"
        is_ours = redis.set(lock, 1, nx=True, ex=CLEANING_LOCK_S)
        if not is_ours and redis.ttl(lock) > CLEANING_LOCK_S - CLEANING_S:
            continue
        for entry in redis.zrange(f"rq:wip:{queue}", 0, -1):
            job, _, execution = entry.decode().partition(":")
            worker = redis.hget(f"rq:execution:{job}:{execution}", "worker_name") or b""
            is_stock = not execution.startswith("heori")
            if is_stock and f"rq:worker:{worker.decode()}" not in alive:
                redis.zadd(f"rq:wip:{queue}", {entry: past}, xx=True)
                redis.delete(f"rq:execution:{job}:{execution}")
        for job in redis.lrange(f"rq:queue:{queue}:intermediate", 0, -1):
            redis.set(f"rq:queue:{queue}:intermediate:first_seen:{job.decode()}", past, ex=86_400)
        for key in redis.scan_iter(f"rq:queue:{queue}:intermediate:first_seen:*", count=10_000):
            redis.set(key, past, xx=True, keepttl=True)
        redis.delete(lock)


def _is_alive(redis: Any, key: bytes) -> bool:
    pid = redis.hget(key, "pid")
    return bool(pid) and psutil.pid_exists(int(pid))


def _count(fleet: Fleet, counted: Mixed) -> None:
    redis = fleet.redis
    statuses: dict[str, str] = {}
    for number in range(counted.sent):
        name = f"job{number}"
        status, worker = redis.hmget(f"rq:job:{name}", "status", "worker_name")
        statuses[name] = (status or b"gone").decode()
        if statuses[name] in ENDED:
            kind = "heori" if (worker or b"").startswith(b"heori-") else "stock"
            counted.by[kind] += 1
            counted.failed_here += kind == "heori" and statuses[name] == "failed"
    counted.finished = sum(status == "finished" for status in statuses.values())
    counted.failed = sum(status == "failed" for status in statuses.values())
    for name, status in statuses.items():
        if status in ENDED:
            continue
        parents = [each.decode() for each in redis.smembers(f"rq:job::{name}:dependencies")]
        if status == "deferred" and any(statuses.get(each) != "finished" for each in parents):
            counted.kept += 1
        elif status == "queued":  # and on no list, as these are empty
            counted.lost_by_stock += 1
        else:
            worker = (redis.hget(f"rq:job:{name}", "worker_name") or b"nobody").decode()
            kind = "a consumer" if worker.startswith("heori-") else "a stock worker"
            counted.lost[f"{status}, last with {kind if worker != 'nobody' else worker}"] += 1
    counted.slots = redis.zcard("rq:rl:api:allowed")
