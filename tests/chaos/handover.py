"""Idle consumers are struck at the moment at which a job is handed to them; jobs are counted.

They are sent by Heori's producer or as stock rq does it. What is sent in between goes to the
others.
"""

import random
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import msgpack

from heori_common.protocol.keys import service_of
from tests.chaos import tasks
from tests.chaos.fleet import QUEUE, Fleet, Report
from tests.chaos.strikes import RESTART, Strikes
from tests.rigs.proxy import proxy
from tests.rigs.stock_rq import enqueue

CONSUMERS = 8
BEHIND_PROXIES = 4  # of them
LEASE = 10.0  # seconds; longer than any pause, and than this program may stand still beside it
LATE = 1.0  # seconds from sending until the job begins
# Whatever was struck, a job is forgotten that has not begun by then: a lease, the second until the
# next look for those that are over, and what consumers get to come back.
FORGOTTEN = 40.0
CALM = 4  # sends between two strikes, or more while many are struck
RESTART_EVERY = 1500  # hand-overs and wake-ups, about; but one at least
WAITED = 0.1  # seconds for which a job that is not struck is waited for before the next is sent
LONG = 1.0  # seconds that some jobs take: more than the time to confirm a hand-over
LOOK_EVERY = 0.02  # seconds between two looks who leads
OTHERS = "none"  # what is not sent to be struck, though its consumer may be
LEADERLESS = "any, and the leader"
HELD = "killed when it had it"  # by whoever knew of it; its lease has to run out
VERY_LATE = 2.0  # seconds; these jobs are told one by one


@dataclass
class Handover:
    """What was counted in one run.

    Attributes:
        told: hand-overs and wake-ups.
        hit: how many of these were for a consumer that could not hear them just then, by strike.
        twice: jobs that have begun twice though no struck consumer held them.
        in_flight: jobs that struck consumers held.
        charged: jobs that began once and count another delivery, though nobody killed had one.
        late: jobs that began more than a second after they were sent, by the strike. Where
            the leader was struck meanwhile, who takes back what is not confirmed, by that. And by
            that alone where a consumer was killed that had it.
        longest: seconds until a job began, likewise.
        very_late: those jobs, the latest first.
    """

    model: str
    sent: int = 0
    by_rq: int = 0
    told: dict[str, int] = field(default_factory=dict)
    hit: dict[str, int] = field(default_factory=dict)
    strikes: dict[str, int] = field(default_factory=dict)
    lost: int = 0
    twice: int = 0
    in_flight: int = 0
    in_flight_twice: int = 0
    charged: int = 0
    late: dict[str, int] = field(default_factory=dict)
    longest: dict[str, float] = field(default_factory=dict)
    very_late: list[str] = field(default_factory=list)
    left: dict[str, int] = field(default_factory=dict)
    bad_exits: list[int] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)  # jobs with which something was
    seconds: float = 0.0

    def problems(self) -> list[str]:
        """What is not as it must be; what was late is for people to judge."""
        forgotten = {cause: took for cause, took in self.longest.items() if took > FORGOTTEN}
        left = {what: number for what, number in self.left.items() if number}
        found = {
            f"{self.lost} jobs are lost": self.lost,
            f"{self.twice} jobs ran twice that nobody struck held": self.twice,
            f"{self.charged} jobs count a delivery that was none": self.charged,
            f"jobs were forgotten for a while: {forgotten}": forgotten,
            f"left over: {left}": left,
            f"SIGTERM ended consumers with {self.bad_exits}": self.bad_exits,
        }
        problems = [f"{self.model}: {problem}" for problem, there in found.items() if there]
        return problems + [f"{self.model}: {job}" for job in self.wrong]


def handover(
    model: str,
    number: int,
    chance: random.Random,
    report: Report,
    *,
    limit: float = 1200.0,
) -> Handover:
    """Send until so many hand-overs and wake-ups were told, and strike those that are told.

    Args:
        limit: seconds after which it is given up.

    Raises:
        TimeoutError: it took longer.
    """
    parts = max(2, number // RESTART_EVERY)
    own = {"HEORI_LEASE": str(LEASE), "HEORI_MAX_DELIVERIES": "10000"}
    with Fleet(model, persistent=True, **own) as fleet, ExitStack() as exits:
        port = int(fleet.server.url.rpartition(":")[2].partition("/")[0])
        proxies = [exits.enter_context(proxy(port)) for _ in range(BEHIND_PROXIES)]
        strikes = Strikes(fleet, chance, proxies)
        exits.callback(strikes.calm)
        strikes.start(CONSUMERS)
        storm = _Storm(fleet, chance, strikes)
        start = time.monotonic()
        for part in range(1, parts + 1):
            while (told := storm.told.total()) < number * part // parts:
                if time.monotonic() > start + limit:
                    raise TimeoutError(f"{model}: {told} of {number} in {limit} s")
                report(told, number)
                storm.send()
            if part < parts:
                storm.restart()
        report(number, number)
        storm.settle()
        return storm.result(time.monotonic() - start)


@dataclass(eq=False)
class _Job:
    id: str
    sent: float  # seconds since 1970
    cause: str  # of its lateness, if it should be late
    told: list[str] = field(default_factory=list)  # who was
    begun: list[float] = field(default_factory=list)

    @property
    def latency(self) -> float:
        """Seconds until it began first."""
        return self.begun[0] - self.sent

    def __str__(self) -> str:
        times = " and ".join(f"{begun - self.sent:.3f} s" for begun in self.begun)
        return f"{self.id} ({self.cause}), told to {', '.join(self.told)}, begun after {times}"


class _Storm:
    """What is sent to consumers that are struck, and what becomes of it."""

    def __init__(self, fleet: Fleet, chance: random.Random, strikes: Strikes) -> None:
        self._fleet = fleet
        self._chance = chance
        self._strikes = strikes
        self._jobs: list[_Job] = []
        self._by_id: dict[str, _Job] = {}
        self._by_rq = 0
        self._witness = fleet.path.open("rb")
        self._cut = b""  # of its last line, which may be read while it is written
        self._leaderless: list[float] = []  # times at which the leader was struck, since 1970
        self._look_for_leader = 0.0  # time.monotonic()
        self._told_of = self._listen()
        self._hit: Counter[str] = Counter()
        self.told: Counter[str] = Counter()

    def send(self) -> None:
        """Send to the one that is next in line, and strike it or not."""
        self._look()
        victim = self._strikes.next_in_line()
        if victim is None:
            time.sleep(0.001)
        elif self._chance.randrange(CALM + 1) or not (kind := self._strikes.choose(victim)):
            self._submit(OTHERS)
            self._wait()
        else:
            with self._strikes.strike(kind, victim):
                self._submit(kind, LONG if "SIGTERM" in kind else None)

    def restart(self) -> None:
        """Have the server killed and started again while it hands over."""
        self._strikes.restart(lambda: self._submit(RESTART))
        self._told_of.close()
        self._told_of = self._listen()

    def settle(self) -> None:
        """Leave them in peace until all jobs are done, or not for ever: the counts will tell.

        And until nothing is left that was told to a consumer which was killed: others do what it
        was woken for, and may be done with that before its wake-up is taken back.
        """
        self._strikes.calm()
        deadline = time.monotonic() + 2 * FORGOTTEN
        while time.monotonic() < deadline and (
            self._fleet.finished() < len(self._jobs) or self._unconfirmed()
        ):
            self._look()
            time.sleep(0.01)
        self._strikes.complete()

    def result(self, seconds: float) -> Handover:
        """Stop them, and count."""
        result = Handover(self._fleet.model, sent=len(self._jobs), by_rq=self._by_rq)
        result.bad_exits = self._strikes.drain()
        self._look()
        self._witness.close()
        self._told_of.close()
        result.told, result.hit, result.strikes = (
            dict(sorted(each.items())) for each in (self.told, self._hit, self._strikes.counts)
        )
        result.in_flight = len(self._strikes.in_flight)
        result.left = {
            "hand-overs": self._unconfirmed(),
            "leases": self._fleet.leases(),
            "processes": self._fleet.left(),
        }
        done = self._fleet.redis.zrange(self._fleet.keys.finished(QUEUE), 0, -1)
        finished = {job_id.decode() for job_id in done}
        for job in self._jobs:
            self._judge(job, finished, result)
        began = [job for job in self._jobs if job.begun and job.latency > VERY_LATE]
        result.very_late = [str(job) for job in sorted(began, key=lambda job: -job.latency)]
        result.seconds = seconds
        return result

    def _unconfirmed(self) -> int:
        return self._fleet.count(self._fleet.keys.handed(service_of([QUEUE])))

    def _judge(self, job: _Job, finished: set[str], result: Handover) -> None:
        begun_once = len(job.begun) == 1
        deliveries = self._fleet.redis.hget(self._fleet.keys.job(job.id), "heori_deliveries")
        is_lost = not job.begun or job.id not in finished
        is_twice = len(job.begun) > 1 and job.id not in self._strikes.in_flight
        is_charged = begun_once and job.id not in self._strikes.confirmed and deliveries != b"1"
        if is_lost or is_twice or is_charged:
            result.wrong.append(f"{job}, deliveries {deliveries!r}")
        result.lost += is_lost
        result.twice += is_twice
        result.charged += is_charged
        result.in_flight_twice += len(job.begun) > 1 and not is_twice
        if job.begun:
            took = job.latency
            cause = job.cause
            if took > LATE and job.id in self._strikes.confirmed:
                cause = HELD
            elif took > LATE and any(job.sent < time < job.begun[0] for time in self._leaderless):
                cause = LEADERLESS
            if took > LATE:
                result.late[cause] = result.late.get(cause, 0) + 1
            result.longest[cause] = max(result.longest.get(cause, 0.0), took)

    def _listen(self) -> Any:
        told_of = self._fleet.redis.pubsub()
        told_of.psubscribe(self._fleet.keys.told("*"))
        return told_of

    def _submit(self, cause: str, pace: float | None = None) -> None:
        """Send a job, or sometimes a few, that take so many seconds, or hardly any time."""
        count = self._chance.randrange(2, 13) if self._chance.random() < 0.05 else 1
        if pace is None:
            [pace] = self._chance.choices([0.0, 0.02, LONG], [14, 5, 1])
        first = len(self._jobs)
        calls = [(str(self._fleet.path), first + number, pace) for number in range(count)]
        sent = time.time()
        if self._chance.random() < 0.25:
            self._by_rq += count
            module = tasks.__name__
            made: Any = enqueue(self._fleet.redis, "run_on_time", *calls, module=module)
        else:
            made = self._fleet.producer.submit_many(tasks.run_on_time, calls)
        jobs = [_Job(each.id, sent, cause) for each in made]
        self._jobs += jobs
        self._by_id.update((job.id, job) for job in jobs)

    def _wait(self) -> None:
        """Until the last job has begun, for a while."""
        deadline = time.monotonic() + WAITED
        while not self._jobs[-1].begun and time.monotonic() < deadline:
            time.sleep(0.001)
            self._look()

    def _look(self) -> None:
        """Have strikes ended; hear what was told, and read what has begun."""
        self._strikes.look()
        if time.monotonic() > self._look_for_leader:
            self._look_for_leader = time.monotonic() + LOOK_EVERY
            if self._strikes.is_leader_struck():
                self._leaderless.append(time.time())
        while message := self._told_of.get_message(ignore_subscribe_messages=True):
            self._hear(message["data"])
        *lines, self._cut = (self._cut + self._witness.read()).split(b"\n")
        for line in lines:
            number, began = line.split()
            self._jobs[int(number)].begun.append(int(began) / 1e9)

    def _hear(self, data: bytes) -> None:
        kind, *words = msgpack.unpackb(data, raw=True)
        if kind != b"handed":
            return
        name, _, _, jobs = msgpack.unpackb(words[1], raw=True)
        self.told["hand-overs" if jobs else "wake-ups"] += 1
        for job_id in jobs[::2]:
            self._by_id[job_id.decode()].told.append(name.decode())
        if struck := self._strikes.on(name.decode()):
            self._hit[struck] += 1
