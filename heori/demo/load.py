"""`heori load`: a producer that sends the example tasks' jobs at a given pace.

The pace is a plan, how many jobs are due at each moment, so nothing is lost by rounding or by a
slow moment: what Redis could not take is sent when it can. Jobs keep their ids when they are sent
again, and Redis takes each id once, so what it counts is what there is.
"""

import contextlib
import json
import math
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from prometheus_client import CollectorRegistry
from redis.exceptions import ResponseError

from heori.demo.processes import Interrupt
from heori.examples import corpus
from heori.examples import tasks as examples
from heori_common import tasks
from heori_common.protocol.commands import Commands
from heori_common.protocol.job import NewJob
from heori_common.protocol.keys import Keys
from heori_common.protocol.payload import Call
from heori_common.redis.client import RedisClient
from heori_common.redis.errors import RedisUnavailable
from heori_common.settings import Settings
from heori_consumer.supervisor.endpoint import MetricsEndpoint
from heori_consumer.supervisor.queue_order import QueueOrder

Profile = Literal["steady", "burst", "ramp"]

NAMES: dict[str, Callable[..., Any]] = {
    "tokens": examples.count_tokens,
    "fetch": examples.fetch,
    "digest": examples.digest,
}
FASTEST = 100_000  # jobs a second; far more than a Redis takes
MOST = 500  # jobs in one call: Redis does nothing else meanwhile
LOCAL = ("127.0.0.1", "localhost")
FETCH = tasks.find(examples.fetch).name

# All in seconds.
PERIOD, BURST = 10.0, 2.0  # of a burst: how often, and how long
RAMP = 60.0  # unless --for says how long
TICK = 0.02
TELL_EVERY = 5.0
PATIENCE = 0.2  # between two looks whether all is done
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0  # between two tries while Redis takes nothing


@dataclass(frozen=True, slots=True)
class Plan:
    """How many jobs of which tasks are to be sent, and when."""

    profile: Profile
    rate: float  # jobs a second, on average; of a ramp, at its end
    mix: Mapping[str, int]  # weights by name
    seconds: float | None  # how long; None: until it is told to stop

    def due(self, at: float) -> int:
        """How many jobs are to be sent in the first `at` seconds."""
        if self.seconds is not None:
            at = min(at, self.seconds)
        match self.profile:
            case "steady":
                seconds = at
            case "burst":
                periods, rest = divmod(at, PERIOD)
                seconds = periods * PERIOD + min(rest, BURST) * PERIOD / BURST
            case "ramp":
                rising = self.seconds or RAMP
                seconds = min(at, rising) ** 2 / (2 * rising) + max(0.0, at - rising)
        return math.floor(seconds * self.rate + 1e-6)  # 0.1 * 30 is a little under 3


def parse_mix(text: str) -> dict[str, int]:
    """Read weights, such as ``tokens=1,fetch=3``.

    Raises:
        ValueError: a name or a weight does not fit.
    """
    mix: dict[str, int] = {}
    for part in text.split(","):
        name, equals, weight = (word.strip() for word in part.partition("="))
        if name not in NAMES or name in mix:
            raise ValueError(f"--mix {text}: each of {', '.join(NAMES)} may be in it once")
        if equals and not (weight.isascii() and weight.isdecimal() and int(weight) <= 1000):
            raise ValueError(f"--mix {text}: weights are whole numbers from 0 to 1000")
        mix[name] = int(weight) if equals else 1
    if not any(mix.values()):
        raise ValueError(f"--mix {text}: nothing would be sent")
    return mix


class Sender:
    """Sends what a plan says, whatever Redis does meanwhile.

    Args:
        files_url: of the file server, if any job needs it.
        check: raises ChildFailed when that has gone.
    """

    def __init__(
        self,
        settings: Settings,
        plan: Plan,
        files_url: str,
        check: Callable[[], None],
        interrupt: Interrupt,
        *,
        as_json: bool,
    ) -> None:
        self._plan = plan
        self._files_url = files_url
        self._check = check
        self._interrupt = interrupt
        self._json = as_json
        self._commands = Commands(Keys(settings.key_prefix))
        self._tasks = [tasks.find(NAMES[name]) for name in plan.mix]
        self._order = QueueOrder(len(self._tasks), tuple(plan.mix.values()))
        self._files = corpus.files()
        self._made = [0] * len(self._tasks)  # jobs, by task; each goes on with the next file
        self._sent = [0] * len(self._tasks)
        self._began = time.monotonic()
        self._away_since: float | None = None
        # A command that has failed is sent again here, where a signal ends the waiting.
        self._redis = RedisClient(settings.redis_url, patience=0)
        self._endpoint = MetricsEndpoint(
            settings.metrics_host, settings.metrics_port, CollectorRegistry(), self._health
        )

    def run(self) -> None:
        """Send until all is sent or a signal comes."""
        print(f"sending to {self._redis.address}", file=sys.stderr, flush=True)
        next_tell = TELL_EVERY
        while not self._interrupt.number:
            seconds = time.monotonic() - self._began
            made = sum(self._made)
            missing = self._plan.due(seconds) - made
            if missing:
                self._send(min(missing, MOST))
            elif self._plan.seconds is not None and seconds >= self._plan.seconds:
                break
            else:
                time.sleep(TICK)
            if seconds >= next_tell:
                self._check()
                self._tell(seconds)
                next_tell = seconds - seconds % TELL_EVERY + TELL_EVERY
        seconds = time.monotonic() - self._began
        if self._files_url:
            self._serve_on()
        self._tell(seconds)

    def _serve_on(self) -> None:
        """Be there until all that was sent is done, as its files may not have been fetched yet."""
        counts = self._commands.counts(examples.QUEUE)[:3]  # waiting, scheduled, running
        while not self._interrupt.number:
            with contextlib.suppress(RedisUnavailable, ResponseError):
                left: list[int] = self._redis.execute_many(counts)
                if not any(left):
                    return
            time.sleep(PATIENCE)

    def close(self) -> None:
        """Close the connections and the port."""
        self._endpoint.close()
        self._redis.close()

    def _send(self, count: int) -> None:
        """Send so many jobs, divided by the mix; return when Redis has them, or on a signal."""
        for number, share in enumerate(self._order.shares(count)):
            if not share or self._interrupt.number:
                continue
            jobs = [self._job(number) for _ in range(share)]
            command = self._commands.enqueue(examples.QUEUE, jobs)
            pause = FIRST_PAUSE
            while True:
                try:
                    self._redis.execute(command)
                    break
                except (RedisUnavailable, ResponseError) as error:
                    self._away(error)
                    self._redis.close()  # the next connection may lead to another primary
                if self._interrupt.number:
                    return
                time.sleep(pause)
                pause = min(LONGEST_PAUSE, pause * 2)
            self._sent[number] += share
            self._back()

    def _job(self, number: int) -> NewJob:
        task = self._tasks[number]
        path = self._files[self._made[number] % len(self._files)]
        self._made[number] += 1
        args = (self._files_url, path) if task.name == FETCH else (path,)
        delays = task.retry.delays() if task.retry else ()
        return NewJob.create(str(uuid.uuid4()), Call(task.name, args, {}), task.timeout, delays)

    def _away(self, error: Exception) -> None:
        if self._away_since is None:
            self._away_since = time.monotonic()
            print(f"heori: {error}; trying again", file=sys.stderr, flush=True)

    def _back(self) -> None:
        if self._away_since is not None:
            seconds = time.monotonic() - self._away_since
            print(f"heori: Redis is back after {seconds:.1f} s", file=sys.stderr, flush=True)
            self._away_since = None

    def _health(self) -> tuple[bool, dict[str, Any]]:
        away = self._away_since is not None
        return not away, {"redis": "away" if away else "up", "sent": sum(self._sent)}

    def _tell(self, seconds: float) -> None:
        sent = {
            task.name.rpartition(".")[2]: count
            for task, count in zip(self._tasks, self._sent, strict=True)
        }
        waiting: int | None = None
        [length, *_] = self._commands.counts(examples.QUEUE)
        with contextlib.suppress(RedisUnavailable, ResponseError):  # then it is not known
            waiting = self._redis.execute(length)
        total, unanswered = sum(self._sent), sum(self._made) - sum(self._sent)
        if self._json:
            record = {
                "seconds": round(seconds, 1),
                "sent": sent,
                "unanswered": unanswered,
                "waiting": waiting,
            }
            print(json.dumps(record), flush=True)
            return
        each = ", ".join(f"{name} {count:,}" for name, count in sent.items())
        rest = f", {waiting:,} wait" if waiting is not None else ""
        open_ = f", {unanswered:,} not answered for" if unanswered else ""
        rate = total / seconds
        print(f"{seconds:6.0f} s  {total:,} sent ({each}), {rate:,.1f}/s{rest}{open_}", flush=True)
