"""Consumers are stopped in every way that people and init systems have, at every moment.

A way is a signal, to the supervisor alone or to all of its processes, once or twice; the second
follows after a moment, as from somebody who insists. A moment is what the consumer does then: it
imports the tasks, is idle, runs jobs, or drains already.
"""

import contextlib
import itertools
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.chaos import tasks
from tests.chaos.fleet import Fleet, Report
from tests.rigs.consumers import Consumer, processes_of
from tests.rigs.waiting import until

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
WHOM = ("the supervisor", "all")
MOMENTS = ("importing", "idle", "running", "draining")
AT_ONCE = 4  # cases side by side
GRACE = 60.0  # seconds; far more than a stop takes, also on a busy machine
JOBS = 20  # of each consumer: more than it has slots
JOB = 1.5  # seconds that a job takes: what runs at the first signal still does at the second
AGAIN = 0.4  # seconds until the second signal
# The variable in the environment by which the processes of one case are known.


class Way(NamedTuple):
    """One way to stop a consumer, and when."""

    moment: str
    number: signal.Signals
    whom: str
    times: int

    @property
    def hurries(self) -> bool:
        """Whether jobs that run are given back, rather than finished."""
        if self.number == signal.SIGHUP:
            return False
        asked = self.times + (self.moment == "draining")
        return self.number == signal.SIGQUIT or asked > 1

    def __str__(self) -> str:
        often = "once" if self.times == 1 else "twice"
        return f"{self.number.name} to {self.whom}, {often}, while {self.moment}"


@dataclass
class Deploys:
    """What was counted over all ways of one model."""

    model: str
    stops: int = 0
    sent: int = 0
    finished: int = 0
    lost: int = 0
    charged: int = 0  # jobs whose delivery counts though they did not end
    cut: int = 0  # jobs that had begun and did not get their grace
    twice: int = 0  # runs more than jobs that a stop at once had given back
    left: int = 0  # processes that outlived their consumer
    bad_exits: list[str] = field(default_factory=list)
    longest: dict[str, float] = field(default_factory=dict)  # seconds to the end, by moment
    wrong: list[str] = field(default_factory=list)  # the ways in which something was

    def problems(self) -> list[str]:
        """What is not as it must be."""
        slow = {moment: taken for moment, taken in self.longest.items() if taken > GRACE}
        found = {
            f"{self.lost} jobs are lost": self.lost,
            f"{self.charged} deliveries were charged that did not end": self.charged,
            f"{self.cut} jobs did not get their grace": self.cut,
            f"{self.twice} runs more than what was given back": self.twice,
            f"{self.left} processes outlived their consumer": self.left,
            f"exit codes {', '.join(self.bad_exits)}": self.bad_exits,
            f"some took longer than the grace: {slow}": slow,
        }
        problems = [f"{self.model}: {problem}" for problem, there in found.items() if there]
        return problems + [f"{self.model}: {way}" for way in self.wrong]


def deploys(model: str, report: Report, *, short: bool = False) -> Deploys:
    """Stop a consumer in each way, and see that another one does what is left.

    Args:
        short: each signal at each moment in one way only.
    """
    result = Deploys(model)
    with Fleet(model, HEORI_GRACE=str(GRACE)) as fleet, ThreadPoolExecutor(AT_ONCE) as side_by_side:
        cases = [_Case(fleet, number, way) for number, way in enumerate(_ways(short=short))]
        running = [side_by_side.submit(case.run) for case in cases]
        for done, future in enumerate(as_completed(running), 1):
            future.result().count(result)
            report(done, len(running))
        _finish(fleet, cases, result)
    return result


def _ways(*, short: bool) -> Iterator[Way]:
    for moment, number in itertools.product(MOMENTS, SIGNALS):
        ways = [Way(moment, number, whom, times) for whom in WHOM for times in (1, 2)]
        # In turns, so that all of them come, if not with every signal.
        turn = MOMENTS.index(moment) + SIGNALS.index(number)
        yield from [ways[turn % len(ways)]] if short else ways


class _Case:
    """One consumer on a queue of its own, from its start to what it leaves."""

    def __init__(self, fleet: Fleet, number: int, way: Way) -> None:
        self.queue = f"q{number}"
        self.way = way
        self._fleet = fleet
        self._runs = fleet.directory / self.queue
        self._runs.touch()
        self._importing = fleet.directory / f"{self.queue}-importing"
        self._sent: list[str] = []
        self._code: int | None = None
        self._took = 0.0

    def run(self) -> "_Case":
        """Have the consumer stopped."""
        consumer = self.consumer = self._start()
        if self.way.moment != "idle":
            self._send()
        if self.way.moment == "importing":
            until(self._importing.exists)
        else:
            consumer.ready()
        if self.way.moment in ("running", "draining"):
            slots = consumer.metric("heori_slots")
            until(lambda: self.runs().total() >= slots)
        if self.way.moment == "draining":
            consumer.process.send_signal(signal.SIGTERM)
            consumer.wait_for("draining")
            time.sleep(AGAIN)
        began = time.monotonic()
        for turn in range(self.way.times):
            time.sleep(turn * AGAIN)
            if consumer.process.poll() is None:
                self._signal(consumer)
        try:
            self._code = consumer.join(3 * GRACE)
        except subprocess.TimeoutExpired:  # which is counted as no exit code
            consumer.process.kill()
            consumer.join()
        self._took = time.monotonic() - began
        return self

    def count(self, result: Deploys) -> None:
        """Add what has become of it."""
        redis, keys = self._fleet.redis, self._fleet.keys
        finished = self._fleet.finished(self.queue)
        waiting = redis.lrange(keys.queue(self.queue), 0, -1)
        pipeline = redis.pipeline(transaction=False)
        for job_id in waiting:
            pipeline.hget(keys.job(job_id.decode()), "heori_deliveries")
        charged = sum(int(deliveries or 0) for deliveries in pipeline.execute())
        lost = len(self._sent) - finished - len(waiting)
        cut = 0 if self.way.hurries else self.runs().total() - finished
        left = self._left()
        result.stops += 1
        result.sent += len(self._sent)
        result.lost += lost
        result.charged += charged
        result.cut += cut
        result.left += left
        if self._code != 0:
            result.bad_exits.append(str(self._code))
        if lost or charged or cut or left or self._code != 0:
            result.wrong.append(
                f"{self.way}: lost {lost}, charged {charged}, cut {cut}, left {left}, "
                f"exit code {self._code}"
            )
        moment = self.way.moment
        result.longest[moment] = max(result.longest.get(moment, 0.0), self._took)

    def runs(self) -> "Counter[int]":
        """How often each of its jobs has begun."""
        return Counter(int(line) for line in self._runs.read_bytes().split())

    def _start(self) -> Consumer:
        importing = self.way.moment == "importing"
        return self._fleet.start(
            queues=[self.queue],
            HEORI_TASKS="tests.chaos.importing" if importing else "tests.chaos.tasks",
            CHAOS_IMPORTING=str(self._importing),
        )

    def _send(self) -> None:
        words = (JOB, str(self._fleet.directory / "finish"))
        for first, kind in enumerate([tasks.run_for, tasks.run_for_later]):
            task: Any = kind
            calls = [(str(self._runs), number, *words) for number in range(first, JOBS, 2)]
            handles = self._fleet.producer.options(queue=self.queue).submit_many(task, calls)
            self._sent += [handle.id for handle in handles]

    def _signal(self, consumer: Consumer) -> None:
        if self.way.whom == "all":
            consumer.signal_group(self.way.number)
        else:
            consumer.process.send_signal(self.way.number)

    def _left(self) -> int:
        with contextlib.suppress(AssertionError):
            until(lambda: not processes_of([self.consumer]))
        return len(processes_of([self.consumer]))


def _finish(fleet: Fleet, cases: list[_Case], result: Deploys) -> None:
    """Have what is left done, which shows that nothing is lost."""
    given_back = {case: case.runs().total() - fleet.finished(case.queue) for case in cases}
    (fleet.directory / "finish").touch()
    consumer = fleet.start(queues=[case.queue for case in cases]).ready()

    def finished() -> int:
        return sum(fleet.finished(case.queue) for case in cases)

    with contextlib.suppress(AssertionError):
        until(lambda: finished() == result.sent)
    consumer.stop()
    result.finished = finished()
    result.lost = max(result.lost, result.sent - result.finished)
    for case in cases:
        runs = case.runs()
        allowed = given_back[case] if case.way.hurries else 0
        result.twice += max(0, runs.total() - len(runs) - allowed)
