"""Strangers at the ports of a consumer and of the HTTP service, and whether honest ones get in."""

import contextlib
import json
import resource
import time
import urllib.request
from collections.abc import Collection
from dataclasses import dataclass, field

import psutil

from tests.chaos.fleet import Fleet, Report
from tests.chaos.strangers import ATTACKS, TASK, TOKEN, Got, Siege
from tests.rigs.consumers import Consumer
from tests.rigs.service_rig import Service, serving
from tests.rigs.waiting import until

FILES = 512  # that the consumer, and the service, may have open
MANY_FILES = 4096  # that the strangers may
TASKS = "tests.tasks.served_tasks"
# What an attack may cost at most: bytes of both logs, seconds of the next honest request, series in
# the metrics of both, and files that are still open when it is over.
MOST_LOGGED = 20_000
MOST_SECONDS = 30.0
MOST_SERIES = 250
MOST_LEFT = 10
# What nobody is to get, beside a status of 5xx.
BAD = ("no answer", "left", "more than 2 MB")


@dataclass
class Attack:
    """What became of one.

    Attributes:
        got: what the strangers got, and how often.
        logged: bytes by which both logs grew.
        waited: seconds that the next honest request took, while the strangers were still there.
        series: by which both metrics grew.
        left: files that stayed open.
    """

    name: str
    got: Got
    logged: int = 0
    waited: float = 0.0
    series: int = 0
    left: int = 0


@dataclass
class Attacks:
    """What became of all, and of an honest job in the end."""

    done: list[Attack] = field(default_factory=list)
    job: str = ""  # its status
    ended: list[str] = field(default_factory=list)  # of the programs, those that did

    def problems(self) -> list[str]:
        """What is not as it must be."""
        found = {f"an honest job is {self.job}": self.job != "finished"}
        found |= {f"the {name} has ended": True for name in self.ended}
        for each in self.done:
            bad = [got for got in each.got if got.startswith("5") or got in BAD]
            found |= {
                f"{each.name}: {bad}": bool(bad),
                f"{each.name}: {each.logged:,} bytes logged": each.logged > MOST_LOGGED,
                f"{each.name}: {each.waited:.1f} s for the next": each.waited > MOST_SECONDS,
                f"{each.name}: {each.series} series more": each.series > MOST_SERIES,
                f"{each.name}: {each.left} files still open": each.left > MOST_LEFT,
            }
        return [problem for problem, there in found.items() if there]

    def row(self) -> dict[str, str]:
        """What a table shows of it: each attack is a line of it."""
        lines = [
            {
                "attack": each.name,
                "what they got": ", ".join(f"{n:,} {got}" for got, n in sorted(each.got.items())),
                "log, bytes": f"{each.logged:,}",
                "series": f"{each.series:+}",
                "files left": str(each.left),
                "next, s": f"{each.waited:.3f}",
            }
            for each in self.done
        ]
        return {heading: "\n".join(line[heading] for line in lines) for heading in lines[0]}


def attacks(only: Collection[str], report: Report) -> Attacks:
    """Attack, with each in turn or with some of them only."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(MANY_FILES, hard), hard))
    result = Attacks()
    few = {"OPEN_FILES": str(FILES), "HEORI_TASKS": TASKS}
    try:
        with Fleet("hybrid") as fleet, contextlib.ExitStack() as running:
            url, program = fleet.server.url, "tests.rigs.few_files"
            consumer = fleet.start(program=program, queues=("default", "shop"), **few).ready()
            service = running.enter_context(serving(url, program, HEORI_API_TOKENS=TOKEN, **few))
            local = running.enter_context(serving(url, program, **few))
            siege = Siege(consumer.url, service.url, local.url, fleet.redis)
            honest = Honest(consumer, service)
            honest.ask()
            chosen = [name for name in ATTACKS if name in only or not only]
            for number, name in enumerate(chosen):
                report(number, len(chosen))
                result.done.append(honest.beside(name, siege))
            report(len(chosen), len(chosen))
            result.job = honest.job()
            result.ended = honest.ended()
            consumer.stop()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return result


class Honest:
    """Whoever uses the consumer and the service as they are meant to be used."""

    def __init__(self, consumer: Consumer, service: Service) -> None:
        self._consumer = consumer
        self._service = service
        self._programs = {
            "consumer": psutil.Process(consumer.process.pid),
            "service": psutil.Process(service.process.pid),
        }
        service.headers["Authorization"] = f"Bearer {TOKEN}"

    def beside(self, name: str, siege: Siege) -> Attack:
        """Attack, and see how it is for others."""
        files, logged, series = self._files(), self._logged(), self._series()
        with siege.held:
            attack = Attack(name, ATTACKS[name](siege))
            began = time.monotonic()
            self.ask()
            attack.waited = time.monotonic() - began
        with contextlib.suppress(AssertionError):
            until(lambda: self._files() <= files + MOST_LEFT, timeout=60)
        attack.left = max(0, self._files() - files)
        attack.logged = self._logged() - logged
        attack.series = self._series() - series
        return attack

    def ask(self) -> None:
        """Ask both for what they are there for."""
        assert self._service.ask("GET", "/v1/queues").status == 200
        for path in ("/readyz", "/metrics"):
            with urllib.request.urlopen(self._consumer.url + path, timeout=30) as answer:
                assert answer.status == 200

    def job(self) -> str:
        """The status of a job that is sent, and awaited."""
        sent = self._service.ask("POST", TASK, {"article": "tea"})
        return str(self._service.ask("GET", f"/v1/jobs/{sent.body['id']}?wait=30").body["status"])

    def ended(self) -> list[str]:
        """Those of the programs that do not run any more."""
        return [name for name, process in self._programs.items() if not process.is_running()]

    def _files(self) -> int:
        return sum(process.num_fds() for process in self._programs.values())

    def _logged(self) -> int:
        lines = [*self._service.log, *map(json.dumps, self._consumer.log)]
        return sum(map(len, lines))

    def _series(self) -> int:
        with urllib.request.urlopen(self._consumer.url + "/metrics", timeout=30) as answer:
            told = answer.read().decode() + self._service.ask("GET", "/metrics").body
        return len([line for line in told.splitlines() if not line.startswith("#")])
