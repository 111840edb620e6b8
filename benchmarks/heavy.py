"""What jobs with large payloads and results do to everything beside them.

One consumer runs them. Another one runs small jobs, of which each is sent when the one before has
ended: what these wait for is the server, which they share with the large ones.
"""

import base64
import dataclasses
import os
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import redis

from benchmarks.kinds import Case, Column, Figures, Kind
from benchmarks.rig import Rig
from benchmarks.systems import KEYS, QUEUE, heori
from heori_common.protocol.commands import Commands
from heori_common.protocol.job import NewJob
from heori_common.protocol.payload import Call
from heori_common.redis.client import RedisClient

COMMANDS = Commands(KEYS)
BESIDE = "beside"  # the queue of the small jobs
# Functions that every checkout has: one makes a large result of small arguments, the other a small
# one of large arguments.
MAKE, TAKE = "operator.mul", "operator.contains"
PATIENCE = 40.0  # seconds for a load; one that stands still has not done all of its jobs by then
SETTLE = 2.0  # seconds from the end of a load until memory is looked at again
PING_EVERY = 0.002  # seconds


@dataclass(frozen=True, slots=True)
class Load:
    """Jobs that weigh something, and who runs them."""

    name: str
    jobs: int
    slots: int
    result: int = 0  # bytes
    payload: int = 0  # bytes, once compressed
    config: Mapping[str, str] = field(default_factory=dict)  # of the server

    def job(self) -> NewJob:
        call = Call(MAKE, ["x", self.result], {})
        if self.payload:  # base64 is a third longer than what it compresses to
            text = base64.b64encode(os.urandom(self.payload)).decode()
            call = Call(TAKE, [text, "x"], {})
        return NewJob.create(str(uuid.uuid4()), call, 180)


LOADS = (
    Load("1,500 results of 0.9 MB", 1500, 100, result=900_000),
    Load("150 results of 9 MB", 150, 100, result=9_000_000),
    Load(
        "300 payloads of 0.9 MB, output limit 16 MB",
        *(300, 50),
        payload=900_000,
        config={"client-output-buffer-limit": "normal 16mb 16mb 0"},
    ),
)


def _cases(quick: bool) -> list[Case]:
    return [_case(load, load.jobs // 30 if quick else load.jobs) for load in LOADS]


def _case(load: Load, jobs: int) -> Case:
    system = heori("threads", 1, load.slots)
    return Case(f"heori, {load.name}", lambda: measure(load, jobs), system.missing())


def measure(load: Load, jobs: int) -> Figures:
    """Have the load run, and small jobs one after the other until it is done."""
    small = heori("threads", 1, 1)
    small = dataclasses.replace(
        small, words=tuple(BESIDE if word == QUEUE else word for word in small.words)
    )
    environment = {"HEORI_MAX_PAYLOAD": "20000000", "HEORI_ALLOW": "operator."}
    with Rig(heori("threads", 1, load.slots), environment=environment) as rig:
        rig.consume(small)
        heavy = rig.consume()
        rig.warm_up()
        for name, value in load.config.items():
            rig.client.config_set(name, value)
        with RedisClient(rig.url) as client, Pings(rig.url) as pings:
            _small_job(client)
            base = rig.finished()
            before = _memory(heavy.pid, "VmRSS")
            job = load.job()
            began = time.monotonic()
            for _ in range(jobs):
                job = job._replace(id=str(uuid.uuid4()))
                client.execute(COMMANDS.enqueue(QUEUE, [job]))
            waits = [_small_job(client)]
            deadline = time.monotonic() + PATIENCE
            while rig.finished() - base < jobs and time.monotonic() < deadline:
                waits.append(_small_job(client))
            took = time.monotonic() - began
        time.sleep(SETTLE)
        return {
            "done": rig.finished() - base,
            "seconds": took,
            "small": max(waits) * 1000,
            "block": pings.slowest * 1000,
            "before": before,
            "peak": _memory(heavy.pid, "VmHWM"),
            "after": _memory(heavy.pid, "VmRSS"),
        }


def _small_job(client: RedisClient) -> float:
    """Seconds from the sending of a job until its result is there."""
    job = NewJob.create(str(uuid.uuid4()), Call("operator.add", [1, 2], {}), 180)
    sent = time.monotonic()
    client.execute(COMMANDS.enqueue(BESIDE, [job]))
    while not client.execute(COMMANDS.wait_for_result(job.id, 5)):
        pass
    return time.monotonic() - sent


def _memory(pid: int, what: str) -> float:
    """Megabytes of one process, by its name in /proc."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name == what:
            return int(rest.split()[0]) * 1024 / 1e6
    raise OSError(f"/proc/{pid}/status has no {what}")


class Pings:
    """Asks a server again and again for nothing, as a context manager.

    Attributes:
        slowest: seconds that it has taken to answer, at most.
        sent: how often it was asked.
    """

    def __init__(self, url: str) -> None:
        self.slowest = 0.0
        self.sent = 0
        self._client = redis.Redis.from_url(url)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()
        self._client.close()

    def _run(self) -> None:
        while not self._over.wait(PING_EVERY):
            began = time.monotonic()
            self._client.ping()
            self.sent += 1
            self.slowest = max(self.slowest, time.monotonic() - began)


HEAVY = Kind(
    "heavy",
    "Beside large jobs: the slowest small job and the longest silence of the server, ms; memory of "
    "the supervisor that has the large ones, MB",
    (
        Column("done", "done"),
        Column("seconds", "in s", ".1f"),
        Column("small", "slowest small job", ",.0f"),
        Column("block", "longest silence", ",.0f"),
        Column("before", "memory before"),
        Column("peak", "at most"),
        Column("after", "2 s after"),
    ),
    _cases,
    seconds=40,
    turns=1,
)
