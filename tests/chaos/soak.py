"""Many jobs, with failures and retries among them: memory stays, and keys go when they are due."""

import statistics
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psutil

from heori_common.protocol.commands import Commands
from heori_common.protocol.job import NewJob
from heori_common.protocol.keys import tenant_queue
from heori_common.protocol.payload import Call
from heori_common.redis.client import RedisClient
from heori_common.tasks import Task, find
from tests.chaos import tasks
from tests.chaos.fleet import QUEUE, Fleet, Report
from tests.rigs.consumers import Consumer
from tests.rigs.keys_left import OF_ONE_CONSUMER, lasting, tidy
from tests.rigs.waiting import until

WAITING = 20_000  # jobs on the queue at most
CHUNK = 500  # jobs sent in one call
SAMPLE = 2.0  # seconds between two looks at memory
KEPT = 10  # seconds for which results and failures are kept


class ShortLived(NewJob):
    """A job whose record goes soon; the producer has no such option, other clients of RQ have."""

    __slots__ = ()

    def fields(self) -> list[str | bytes | int]:
        """As any job's, and how long it is to be kept."""
        return [*super().fields(), "result_ttl", KEPT, "failure_ttl", KEPT]


@dataclass
class Soak:
    """What was counted and sampled."""

    model: str
    jobs: int
    succeeded: int = 0
    failed: int = 0
    retried: int = 0
    expected: dict[str, int] = field(default_factory=dict)  # the same three
    deaths: int = 0  # of workers; nothing in here kills them
    seconds: float = 0.0
    memory: dict[str, float] = field(default_factory=dict)  # MB at the end, by kind of process
    slope: dict[str, float] = field(default_factory=dict)  # MB per 100,000 jobs, second half
    keys: dict[str, int] = field(default_factory=dict)  # at the end, by kind
    overdue: int = 0  # entries of registries whose time has passed
    lasting: set[str] = field(default_factory=set)  # keys that stay for ever, if there are more

    def problems(self) -> list[str]:
        """What is not as it must be; the memory is for people to judge."""
        got = {"succeeded": self.succeeded, "failed": self.failed, "retried": self.retried}
        records = self.keys.get("job", 0) + self.keys.get("results", 0)
        found = {
            f"jobs ended as {got}, not as {self.expected}": got != self.expected,
            f"{self.deaths} workers died": self.deaths,
            f"{records} keys of jobs are kept beyond their time": records > 0,
            f"{len(self.lasting)} keys stay for ever, such as {min(self.lasting, default='')}": (
                self.lasting
            ),
            f"{self.overdue} entries of registries are kept beyond their time": self.overdue,
        }
        return [f"{self.model}: {problem}" for problem, there in found.items() if there]


def soak(model: str, jobs: int, report: Report) -> Soak:
    """Send jobs, never more than 20,000 waiting, and look at memory all the while."""
    result = Soak(model, jobs)
    with Fleet(model) as fleet, RedisClient(fleet.server.url) as client:
        marks = fleet.directory / "marks"
        marks.mkdir()
        consumer = fleet.start().ready()
        feed = _Feed(client, str(marks))
        samples: list[tuple[int, dict[str, float]]] = []  # jobs done and MB
        start = next_sample = time.monotonic()

        def ended() -> int:
            return int(
                consumer.metric("heori_jobs_total", outcome="succeeded")
                + consumer.metric("heori_jobs_total", outcome="failed")
            )

        done = 0
        while done < jobs:
            if feed.sent < jobs and fleet.redis.llen(fleet.keys.queue(QUEUE)) <= WAITING - CHUNK:
                feed.send(min(CHUNK, jobs - feed.sent))
            else:
                time.sleep(0.05)
            if (now := time.monotonic()) >= next_sample or feed.sent == jobs:
                done = ended()
                report(done, jobs)
            if now >= next_sample:
                next_sample = now + SAMPLE
                samples.append((done, _memory(consumer)))
        result.seconds = time.monotonic() - start
        until(lambda: consumer.metric("heori_jobs_held") == 0)
        for outcome in ("succeeded", "failed", "retried"):
            setattr(result, outcome, int(consumer.metric("heori_jobs_total", outcome=outcome)))
        result.expected = feed.expected.copy()
        result.deaths = int(consumer.metric("heori_worker_restarts_total"))
        result.memory = _memory(consumer)
        result.slope = slope(samples)
        time.sleep(KEPT + 1)  # what TTLs explain goes with them
        for _ in range(3):  # until queues that are not used are forgotten
            tidy(client.execute, fleet.redis)
        result.keys, result.overdue = _keys(fleet)
        result.lasting = lasting(fleet.redis) - OF_ONE_CONSUMER
        consumer.stop()
    return result


class _Feed:
    """The mixture: of a hundred jobs one fails, one fails once, two return 10 kB, ten are async.

    With each call, the last job is of a new tenant, and another one that is sent to a queue of its
    own is cancelled.
    """

    def __init__(self, client: RedisClient, marks: str) -> None:
        self._redis = client
        self._marks = marks
        self._commands = Commands()
        self.sent = 0
        self.expected = {"succeeded": 0, "failed": 0, "retried": 0}

    def send(self, number: int) -> None:
        """Send so many."""
        jobs = [self._make(each) for each in range(self.sent, self.sent + number)]
        tenant, once = f"t{self.sent}", f"once{self.sent}"
        last = [jobs.pop()]
        self._redis.execute(self._commands.enqueue(tenant_queue(QUEUE, tenant), last))
        if jobs:
            self._redis.execute(self._commands.enqueue(QUEUE, jobs))
        canceled = ShortLived.create(once, Call("nobody.runs.it", (), {}), 60)
        self._redis.execute(self._commands.enqueue(once, [canceled]))
        self._redis.execute(self._commands.cancel(once, [once]))
        self.sent += number

    def _make(self, number: int) -> NewJob:
        function: Callable[..., Any] = tasks.nothing
        arguments: tuple[Any, ...] = (number,)
        match number % 100:
            case 10:
                function = tasks.fail
            case 20:
                function, arguments = tasks.fail_once, (self._marks, number)
                self.expected["retried"] += 1
            case 30 | 80:
                function = tasks.large
            case rest if rest % 10 == 5:
                function = tasks.nothing_later
        self.expected["failed" if function is tasks.fail else "succeeded"] += 1
        task: Task[..., Any] = find(function)
        delays = task.retry.delays() if task.retry else ()
        call = Call(task.name, arguments, {})
        return ShortLived.create(str(uuid.uuid4()), call, task.timeout, delays)


def slope(samples: list[tuple[int, dict[str, float]]]) -> dict[str, float]:
    """By how much memory grew in the second half: least squares, MB per 100,000 jobs."""
    second = samples[len(samples) // 2 :]
    done = [float(number) for number, _ in second]
    if len(set(done)) < 2:
        return {}
    return {
        kind: statistics.linear_regression(done, [memory[kind] for _, memory in second]).slope
        * 100_000
        for kind in second[0][1]
    }


def _memory(consumer: Consumer) -> dict[str, float]:
    """The proportional set size of the supervisor, and of all workers, in MB."""

    def size(processes: list[psutil.Process]) -> float:
        return sum(process.memory_full_info().pss for process in processes) / 1e6

    return {
        "supervisor": size([psutil.Process(consumer.process.pid)]),
        "workers": size(consumer.workers),
    }


def _keys(fleet: Fleet) -> tuple[dict[str, int], int]:
    """How many keys there are of each kind, and how many entries of registries are overdue."""
    kinds: Counter[str] = Counter()
    for key in fleet.redis.scan_iter(count=1000):
        kinds[key.decode().split(":")[1]] += 1
    now = fleet.redis.time()[0]
    registries = (fleet.keys.finished(QUEUE), fleet.keys.failed(QUEUE))
    overdue = sum(int(fleet.redis.zcount(each, "-inf", now)) for each in registries)
    return dict(kinds), overdue
