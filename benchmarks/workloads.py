"""What users really run, each system at the setting that suits it best.

The same search for all: each system has some settings, of processes × jobs at once. Each is tried
for a moment, and the fastest is measured at length.
"""

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from benchmarks.drain import drain
from benchmarks.kinds import Case, Column, Figures, Kind
from benchmarks.systems import (
    System,
    ardiq,
    celery,
    dramatiq,
    heori,
    huey,
    mayu,
    missing_package,
    rq_pool,
    taskiq,
)
from benchmarks.work import HOOK

ANSWER = 0.005  # seconds until a webhook is answered
PROBE, LENGTH = 1.0, 5.0  # seconds that a try takes at the least, and a measurement about
CORES = 2


@dataclass(frozen=True, slots=True)
class Setting:
    """One way to run a system."""

    system: System
    at_once: int


@dataclass(frozen=True, slots=True)
class Workload:
    """One kind of job.

    Attributes:
        waits: seconds that a job waits.
        cpu: seconds of CPU of a job with what a queue needs for it, at the least.
        needs: a package that it imports.
    """

    name: str
    task: str
    waits: float
    cpu: float
    needs: str

    def jobs(self, setting: Setting, seconds: float) -> int:
        """As many as it can do in that time, if the library takes none of it."""
        busy = max(self.cpu / CORES, (self.waits + self.cpu) / setting.at_once)
        return max(setting.at_once, round(seconds / busy))


WORKLOADS = (
    Workload("mail", "mail", 0.02, 0.0004, "jinja2"),
    Workload("thumbnail", "thumbnail", 0.0, 0.01, "PIL"),
    Workload("JSON import", "import_json", 0.0, 0.002, "pydantic"),
    Workload("webhook", "webhook", ANSWER, 0.0006, "pydantic"),
)
WAITING: Mapping[str, Sequence[Setting]] = {
    "heori": [
        Setting(heori("threads", 1, 50), 50),
        Setting(heori("asyncio", 1, 50), 50),
        Setting(heori("asyncio", 2, 25), 50),
    ],
    "rq": [Setting(rq_pool(4), 4), Setting(rq_pool(16), 16)],
    "celery": [
        Setting(celery("threads", 50, results=True), 50),
        Setting(celery("prefork", 16, results=True), 16),
    ],
    "dramatiq": [
        Setting(dramatiq(1, 50, results=True), 50),
        Setting(dramatiq(2, 25, results=True), 50),
    ],
    "huey": [Setting(huey("thread", 50), 50), Setting(huey("process", 16), 16)],
    "taskiq": [Setting(taskiq(1, at_once=50), 50), Setting(taskiq(2, at_once=25), 50)],
    "ardiq": [Setting(ardiq(1, at_once=50), 50), Setting(ardiq(2, at_once=25), 50)],
    "mayu": [Setting(mayu(1, 50), 50), Setting(mayu(2, 25), 50)],
}
COMPUTING: Mapping[str, Sequence[Setting]] = {
    "heori": [
        Setting(heori("processes", 2, 1), 2),
        Setting(heori("hybrid", 2, 2), 4),
        Setting(heori("threads", 1, 4), 4),
    ],
    "rq": [Setting(rq_pool(2), 2), Setting(rq_pool(4), 4)],
    "celery": [
        Setting(celery("prefork", 2, results=True), 2),
        Setting(celery("threads", 4, results=True), 4),
    ],
    "dramatiq": [
        Setting(dramatiq(2, 1, results=True), 2),
        Setting(dramatiq(2, 8, results=True), 16),
    ],
    "huey": [Setting(huey("process", 2), 2), Setting(huey("thread", 4), 4)],
    "taskiq": [Setting(taskiq(2), 2), Setting(taskiq(1), 1)],
    "ardiq": [Setting(ardiq(2), 32), Setting(ardiq(1), 16)],
    "mayu": [Setting(mayu(2), 2), Setting(mayu(2, 4), 8)],
}

_tried: dict[str, dict[str, float]] = {}  # jobs/s of each setting, by case
_best: dict[str, Setting] = {}  # by case


def _cases(quick: bool) -> list[Case]:
    return [
        Case(
            case(workload, app),
            partial(measure, workload, app, settings[:2] if quick else settings, quick=quick),
            settings[0].system.missing() or missing_package(workload.needs),
        )
        for workload in WORKLOADS
        for app, settings in (WAITING if workload.waits else COMPUTING).items()
    ]


def case(workload: Workload, app: str) -> str:
    """The name of a case."""
    return f"{workload.name}: {app}"


def measure(workload: Workload, app: str, settings: Sequence[Setting], *, quick: bool) -> Figures:
    """Find the best setting in the first turn, and measure that one."""
    name = case(workload, app)
    probe, length = (0.02, 0.04) if quick else (PROBE, LENGTH)
    with hook() as environment:

        def run(setting: Setting, jobs: int) -> Figures:
            return drain(setting.system, jobs, workload.task, environment=environment, weighs=True)

        if name not in _best:
            rates = {
                setting.system.name: run(setting, workload.jobs(setting, probe))["rate"]
                for setting in settings
            }
            _tried[name] = rates
            _best[name] = max(settings, key=lambda setting: rates[setting.system.name])
        best = _best[name]
        return run(best, max(best.at_once, round(_tried[name][best.system.name] * length)))


@contextmanager
def hook(answer: float = ANSWER, at_once: int = 10**6) -> Iterator[dict[str, str]]:
    """Somebody who answers webhooks; yields what says where.

    Args:
        answer: seconds that each takes.
        at_once: of them; the others wait.
    """
    words = [sys.executable, "-m", "benchmarks.hook", str(answer), str(at_once)]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as service:
        assert service.stdout is not None
        yield {HOOK: service.stdout.readline().strip()}
        service.communicate()


def notes() -> str:
    """What was tried, the best first."""
    lines = []
    for name, rates in _tried.items():
        ranked = sorted(rates, key=lambda setting: -rates[setting])
        lines.append(f"{name}: " + ", ".join(f"{each} ({rates[each]:,.0f}/s)" for each in ranked))
    return "\n".join(["Tried for a moment, and the first of each measured:", *lines, ""])


WORKLOAD = Kind(
    "workloads",
    "What users run, at the best setting of each: a mail (rendered, then 20 ms of waiting), a "
    "thumbnail (Pillow), a JSON import (pydantic, 2 ms), a webhook (answered after 5 ms). CPU time "
    "is per job; MB of PSS of the consumer",
    (
        Column("rate", "jobs/s"),
        Column("client_us", "CPU µs/job"),
        Column("server_us", "server µs"),
        Column("memory", "MB", ".1f"),
        Column("repeats", "run twice"),
    ),
    _cases,
    seconds=12,
    notes=notes,
)
