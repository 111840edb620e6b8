"""What each page and answer of `heori serve` takes, where very much waits, is dead and runs."""

import atexit
import functools
import statistics
import subprocess
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any
from urllib.parse import quote

from rq import Queue
from rq.serializers import JSONSerializer

from benchmarks.apps.heori_tasks import one_more
from benchmarks.fleet_rig import Fleet
from benchmarks.kinds import Case, Column, Figures, Kind
from benchmarks.rig import Refused, Rig
from benchmarks.simulated import files_missing
from benchmarks.systems import QUEUE, heori
from heori import Producer
from heori_common.protocol.keys import Keys

SYSTEM = heori("threads", 1, 8)
WAITING = "orders"  # which no consumer serves, so that its jobs stay
FAILS = "failing"
KEYS = Keys()
ASKED = 20  # times each
IDLE_S = 4.0
PATIENCE_S = 120.0
PATHS = {
    "the overview": "/",
    "all queues": "/queues",
    "one queue": f"/queues/{WAITING}",
    "jobs that wait": f"/v1/jobs?queue={WAITING}&state=queued",
    "jobs by task": f"/v1/jobs?queue={WAITING}&state=queued&task=nothing.like.it",
    "jobs by a text": "/v1/jobs?q=no+such+text",
    "one job": "/v1/jobs/{job}",
    "dead letters": "/v1/dead",
    "dead letters by a text": "/v1/dead?q=no+such+text",
    "groups of dead letters": "/v1/dead/groups",
    "locks": "/locks",
    "the schedule": "/schedule",
    "page of jobs": f"/jobs?queue={WAITING}&state=queued",
    "page of one job": "/jobs/{job}",
    "page of dead letters": "/dead",
    "page of consumers": "/consumers",
    # The last, as it takes letters away.
    "a step of a purge": "POST /v1/dead/purge?all=true",
}


class Crowded:
    """A server where very much is, and the service that shows it.

    Attributes:
        url: of the service.
        job: the id of one that waits.
    """

    def __init__(self, jobs: int, dead: int, consumers: int) -> None:
        """Have all of it, which takes a minute or two."""
        self._open = ExitStack()
        atexit.register(self._open.close)
        self._rig = self._open.enter_context(
            Fleet(SYSTEM, environment={"HEORI_ALLOW": "operator.", "HEORI_ACCEPT": "json"})
        )
        self._rig.start(1)
        Rig.tell(f"{dead:,} dead letters")
        self._fail(dead)
        Rig.tell(f"{jobs:,} jobs that wait")
        with Producer(self._rig.url) as producer:
            sender = producer.options(queue=WAITING)
            self.job = [
                sender.submit_many(one_more, range(first, min(first + 10_000, jobs)))
                for first in range(0, jobs, 10_000)
            ][-1][-1].id
        Rig.tell(f"{consumers:,} consumers")
        self._rig.simulate(consumers - 1, 10.0)
        self._rig.until_ready(consumers)
        self.url = self._serve()

    def _fail(self, dead: int) -> None:
        """Have a few jobs fail, and copy them under as many ids."""
        client = self._rig.client
        queue = Queue(QUEUE, connection=client, serializer=JSONSerializer)
        few = [queue.enqueue("operator.truediv", number, 0) for number in range(min(20, dead))]
        self._rig.until(lambda: client.zcard(KEYS.failed(QUEUE)) >= len(few))
        kept = [[_dump(client, key) for key in _keys(job.id)] for job in few]
        end = client.zscore(KEYS.failed(QUEUE), few[0].id) or 0.0
        for first in range(0, dead - len(few), 1000):
            with client.pipeline(transaction=False) as pipe:
                for number in range(first, min(first + 1000, dead - len(few))):
                    name = f"copy-{number}"
                    for key, value in zip(_keys(name), kept[number % len(few)], strict=True):
                        pipe.restore(key, 0, value)
                    pipe.zadd(KEYS.failed(QUEUE), {name: end})
                pipe.execute()

    def _serve(self) -> str:
        process = subprocess.Popen(
            [Rig.checkout.python, "-m", "heori", "serve", "--port", "0"],
            env=self._rig._environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._open.callback(process.wait)
        self._open.callback(process.terminate)
        assert process.stderr is not None
        url = process.stderr.readline().split()[-1]
        self._rig.until(lambda: _answers(url))
        return url

    def ask(self, path: str) -> Figures:
        """Ask for one path several times.

        Args:
            path: with a method before it where that is not GET.
        """
        method, _, path = path.rpartition(" ")
        address = urllib.request.Request(
            self.url + path.format(job=quote(self.job)), method=method or "GET"
        )
        self._once(address)  # templates are read, and the monitor looks
        idle = self._cpu_s(lambda: time.sleep(IDLE_S)) / IDLE_S
        took: list[float] = []
        began = time.perf_counter()
        used = self._cpu_s(lambda: took.extend(self._once(address) for _ in range(ASKED)))
        used -= idle * (time.perf_counter() - began)
        return {
            "ms": statistics.median(took) * 1000,
            "slowest_ms": max(took) * 1000,
            "redis_ms": max(0.0, used) / ASKED * 1000,
        }

    def _once(self, address: urllib.request.Request) -> float:
        began = time.perf_counter()
        try:
            with urllib.request.urlopen(address, timeout=PATIENCE_S) as answer:
                answer.read()
        except OSError as error:
            raise Refused(f"{address.full_url}: {error}") from error
        return time.perf_counter() - began

    def _cpu_s(self, act: Callable[[], object]) -> float:
        def used() -> float:
            info = self._rig.client.info("cpu")
            return float(info["used_cpu_user"] + info["used_cpu_sys"])

        before = used()
        act()
        return used() - before


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/livez", timeout=PATIENCE_S):
            return True
    except OSError:
        return False


def _keys(job: str) -> tuple[str, str]:
    return KEYS.job(job), KEYS.results(job)


def _dump(client: Any, key: str) -> bytes:
    value: bytes = client.dump(key)
    return value


@functools.cache
def _crowded(jobs: int, dead: int, consumers: int) -> Crowded:
    """One for all paths, as to make it takes minutes."""
    return Crowded(jobs, dead, consumers)


def _cases(quick: bool) -> list[Case]:
    size = (2_000, 500, 4) if quick else (1_000_000, 100_000, 200)
    missing = SYSTEM.missing() or files_missing(size[2])
    return [Case(name, partial(_asked, size, path), missing) for name, path in PATHS.items()]


def _asked(size: tuple[int, int, int], path: str) -> Figures:
    return _crowded(*size).ask(path)


PAGE = Kind(
    "page",
    "Pages and answers of heori serve: 1,000,000 jobs wait, 100,000 are dead, 200 consumers",
    (
        Column("ms", "ms", ",.1f"),
        Column("slowest_ms", "slowest ms", ",.1f"),
        Column("redis_ms", "ms of Redis", ",.2f"),
    ),
    _cases,
    seconds=20,
    turns=1,
)
