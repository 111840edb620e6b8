"""`heori load`: a producer that sends the example tasks' jobs at a given pace.

The pace is a plan, how many jobs are due at each moment, so nothing is lost by rounding or by a
slow moment: what Redis could not take is sent when it can. Jobs keep their ids when they are sent
again, and Redis takes each id once, so what it counts is what there is.
"""

import contextlib
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from prometheus_client import CollectorRegistry

from heori import formats
from heori.demo.processes import Interrupt
from heori.demo.sender import LoadSender
from heori.examples.tasks import QUEUE
from heori.outage import Outage
from heori.plain import say, say_json
from heori_common.errors import cut
from heori_common.protocol.commands import Commands
from heori_common.protocol.keys import Keys
from heori_common.redis.client import RedisClient
from heori_common.redis.errors import RedisRefused, RedisUnavailable
from heori_common.settings import Settings
from heori_consumer.supervisor.endpoint import MetricsEndpoint

Profile = Literal["steady", "burst", "ramp"]

# What --mix calls the example tasks.
NAMES = {"tokens": "count_tokens", "fetch": "fetch", "digest": "digest"}
FASTEST = 100_000  # jobs a second; far more than a Redis takes
MOST = 500  # jobs in one call: Redis does nothing else meanwhile
LOCAL = ("127.0.0.1", "localhost")

# All in seconds.
PERIOD, BURST = 10.0, 2.0  # of a burst: how often, and how long
RAMP = 60.0  # unless --for says how long
TICK = 0.02
TELL_EVERY = 5.0
PATIENCE = 0.2  # between two looks whether all is done
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0  # between two tries while Redis takes nothing


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """How many jobs of which tasks are to be sent, and when."""

    profile: Profile
    rate: float  # jobs a second, on average; of a ramp, at its end
    mix: Mapping[str, int]  # weights, by the names in `ALL`
    seconds: float | None  # how long; None until a signal

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
    """Read weights, such as ``tokens=1,fetch=3``; returned by the names of the tasks.

    Raises:
        ValueError: a name or a weight does not fit.
    """
    mix: dict[str, int] = {}
    for part in text.split(","):
        name, equals, weight = (word.strip() for word in part.partition("="))
        if name not in NAMES or NAMES[name] in mix:
            raise ValueError(f"--mix {cut(text)}: each of {', '.join(NAMES)} may be in it once")
        if equals and not (weight.isascii() and weight.isdecimal() and int(weight) <= 1000):
            raise ValueError(f"--mix {cut(text)}: weights are whole numbers from 0 to 1000")
        mix[NAMES[name]] = int(weight) if equals else 1
    if not any(mix.values()):
        raise ValueError(f"--mix {cut(text)}: nothing would be sent")
    return mix


class Load:
    """Sends the jobs that are due by a plan, also after Redis was away.

    Args:
        files_url: of the file server, if any job needs it.
        check: raises ChildFailed when that has gone.
    """

    def __init__(
        self,
        settings: Settings,
        plan: LoadPlan,
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
        self._began = time.monotonic()
        self._outage = Outage()
        # A command that has failed is sent again here, where a signal ends the waiting.
        self._redis = RedisClient(settings.redis_url, patience=0)
        self._sender = LoadSender(self._redis, self._commands, plan.mix, files_url)
        self._endpoint = MetricsEndpoint(
            settings.metrics_host,
            settings.metrics_port,
            CollectorRegistry,
            ready=self._health,
            alive=lambda: True,  # it ends by itself when it cannot go on
        )

    def run(self) -> None:
        """Send until all is sent or a signal comes.

        Raises:
            RedisRefused: what Redis would refuse again, however long one waits.
        """
        say(f"sending to {self._redis.address}", error=True)
        next_tell = TELL_EVERY
        while not self._interrupt.number:
            seconds = time.monotonic() - self._began
            missing = self._plan.due(seconds) - self._sender.made
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
        """Go on serving files until all jobs are done, as some have not fetched theirs yet."""
        counts = self._commands.counts(QUEUE)[:3]  # waiting, scheduled, running
        while not self._interrupt.number:
            with contextlib.suppress(RedisUnavailable, RedisRefused):
                left: list[int] = self._redis.execute_many(counts)
                if not any(left):
                    return
            time.sleep(PATIENCE)

    def close(self) -> None:
        """Close the connections and the port."""
        self._endpoint.close()
        self._redis.close()

    def _send(self, count: int) -> None:
        """Send so many jobs; return when Redis has them, or on a signal while it takes none."""
        self._sender.make(count)
        pause = FIRST_PAUSE
        while not self._is_sent() and not self._interrupt.number:
            time.sleep(pause)
            pause = min(LONGEST_PAUSE, pause * 2)

    def _is_sent(self) -> bool:
        """Send what was made; returns whether Redis has it."""
        try:
            self._sender.flush()
        except (RedisUnavailable, RedisRefused) as error:
            if isinstance(error, RedisRefused) and not self._may_pass(error):
                raise
            self._outage.note(error)
            self._redis.close()  # the next connection may lead to another primary
            return False
        self._outage.end()
        return True

    def _may_pass(self, refusal: RedisRefused) -> bool:
        """Whether Redis may take the same jobs later."""
        if refusal.is_passing or refusal.code == "OOM":
            return True
        # A login that was good once may be so again, as when passwords are changed.
        return refusal.is_general and any(self._sender.sent.values())

    def _health(self) -> tuple[bool, dict[str, Any]]:
        away = self._outage.since is not None
        return not away, {
            "redis": "away" if away else "up",
            "sent": sum(self._sender.sent.values()),
        }

    def _tell(self, seconds: float) -> None:
        sent = self._sender.sent
        waiting: int | None = None
        [length, *_] = self._commands.counts(QUEUE)
        with contextlib.suppress(RedisUnavailable, RedisRefused):  # then it is not known
            waiting = self._redis.execute(length)
        total = sum(sent.values())
        unanswered = self._sender.made - total
        if self._json:
            record = {
                "seconds": round(seconds, 1),
                "sent": sent,
                "unanswered": unanswered,
                "waiting": waiting,
            }
            say_json(record)
            return
        each = ", ".join(f"{name} {formats.count(count)}" for name, count in sent.items())
        rest = f", {formats.count(waiting)} wait" if waiting is not None else ""
        open_ = f", {formats.count(unanswered)} not answered for" if unanswered else ""
        text = f"{formats.count(total)} sent ({each}), {total / seconds:,.1f}/s{rest}{open_}"
        say(f"{seconds:6.0f} s  {text}")
