"""`heori lab models`: the same work on every execution model, measured on this machine."""

import contextlib
import json
import os
import random
import subprocess
import sys
import sysconfig
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from redis import Redis
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import heori
import heori_common
import heori_consumer
import heori_producer
from heori import Producer, formats
from heori.demo.processes import (
    Child,
    ChildFailed,
    ConsumerChild,
    Interrupt,
    Interrupted,
)
from heori.examples import fileserver, workloads
from heori.examples.workloads import Workload
from heori.inspect.auto import AutoView, read_auto
from heori.inspect.reader import NONSENSE
from heori.inspect.scraper import NoMetrics, Samples, ask_slots, scrape
from heori.lab import report
from heori.lab.figures import AutoFound, Figures, Interpreter, Setup
from heori.lab.steal import Steal
from heori.terminal import Console
from heori_common import metrics as m
from heori_common.embedded import EmbeddedValkey
from heori_common.platform import usable_cores
from heori_common.protocol.keys import Keys
from heori_common.settings import Settings
from heori_consumer.supervisor.options import THREADS

# All in seconds.
LENGTH = 0.01  # of a job's computing, alone on a core
WAIT = 0.03  # of the file server, per answer
SPAN = 1.0  # that a setup is measured in a turn
QUICK_SPAN = 0.7
WARM = 0.4  # before that, until all slots are at work
RENEWED = 1.3  # until the counters, which are renewed once a second, have all that is over
BETWEEN = 0.2  # two turns
LEARN = 12.0  # that the model auto has to find its size at a workload
QUICK_LEARN = 5.0
AUTO_SPANS = 3  # that it is measured then
START = 3.0  # for a consumer to start and to end, about
TURNS = 3  # of each setup at each workload, so that what disturbs the machine disturbs all of them
TICK = 0.02
LOOK = 0.2  # at whether there are still jobs
END = 30.0  # for jobs that run to end
TRIES = 5  # of a turn
SCRAPE_TIMEOUT = 10.0  # for a consumer to answer with its metrics, while all cores are busy


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """What was asked for."""

    python: Path | None  # another interpreter, to compare with
    seed: int
    quick: bool
    out: Path | None  # where the chart goes
    sizes: dict[str, int]  # of the jobs, by workload; those that are missing take LENGTH
    json: bool


class OtherPython(RuntimeError):
    """The other interpreter cannot do this; the message says why and what to do."""


def run_models(options: ModelOptions, interrupt: Interrupt) -> list[Interpreter]:
    """Measure this interpreter, and the other one if there is one.

    Raises:
        OtherPython: the other interpreter lacks what it needs.
        ChildFailed, EmbeddedValkeyError, RedisUnavailable: a process died, or a job failed.
        Interrupted: a signal came.
    """
    if options.python is None:
        with ExitStack() as stack:
            return [ModelExperiment(options, interrupt, stack).run()]
    check_other(options.python)
    with ExitStack() as stack:
        experiment = ModelExperiment(options, interrupt, stack)
        found = experiment.run()
    same = replace(options, sizes=experiment.sizes)
    return [found, _measure_other(options.python, same, interrupt)]


def setups(cores: int, *, quick: bool) -> list[Setup]:
    """What is compared: one thread, then the models at the sizes that one would choose here."""
    many = [
        Setup("threads", 1, 1),
        Setup("threads", 1, 4 * cores),
        Setup("processes", cores, 1),
        Setup("asyncio", 1, 8 * cores),
    ]
    if quick:
        return many
    more = [Setup("threads", 1, cores), Setup("threads", 1, 8 * cores), Setup("hybrid", cores, 4)]
    order = ["threads", "processes", "hybrid", "asyncio"]
    return sorted([*many, *more], key=lambda setup: (order.index(setup.model), setup.slots))


class ModelExperiment:
    """A Valkey and a file server, started for this; the stack ends them.

    Attributes:
        sizes: of the jobs, by workload.
    """

    def __init__(self, options: ModelOptions, interrupt: Interrupt, stack: ExitStack) -> None:
        self._interrupt = interrupt
        self._stack = stack
        self._cores = usable_cores()
        self._span = QUICK_SPAN if options.quick else SPAN
        self._turns = 1 if options.quick else TURNS
        self._learn = QUICK_LEARN if options.quick else LEARN
        self._dice = random.Random(options.seed)
        self._setups = setups(max(1, int(self._cores)), quick=options.quick)
        all_workloads = workloads.workloads(WAIT)
        self._workloads = all_workloads[:3] if options.quick else all_workloads
        terminal = Console(sys.stderr)
        self._progress = stack.enter_context(
            Progress(
                TextColumn("{task.description:36}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=terminal,
                transient=True,
                disable=options.json or not terminal.is_terminal,
            )
        )
        cases = len(self._setups) * len(self._workloads)
        turn = WARM + self._span + BETWEEN
        seconds = cases * (self._turns * turn + RENEWED) + len(self._setups) * START
        seconds += len(self._workloads) * (self._learn + AUTO_SPANS * self._span + START)
        if not options.json:
            terminal.print(
                f"{len(self._workloads)} kinds of work on {len(self._setups)} setups and auto: "
                f"about {seconds:.0f} s; nothing else should run meanwhile"
            )
        self._bar = self._progress.add_task("starting", total=cases + len(self._workloads))
        self.sizes = {
            each.name: options.sizes.get(each.name) or each.size(LENGTH) for each in self._workloads
        }
        valkey = stack.enter_context(EmbeddedValkey())
        serving = ("127.0.0.1", "0", str(WAIT))
        files = stack.enter_context(Child("file server", fileserver.__name__, *serving))
        self._files = f"http://127.0.0.1:{files.first_report(interrupt)}"
        self._url = valkey.url
        self._redis: Any = stack.enter_context(Redis.from_url(valkey.url, socket_timeout=None))
        # Made without the environment: settings of the user's are for their own server.
        defaults = Settings.model_construct(redis_url=valkey.url)
        self._producer = stack.enter_context(Producer(settings=defaults))

    def run(self) -> Interpreter:
        """Measure every setup at every workload, in an order that the seed decides.

        Raises:
            ChildFailed, RedisUnavailable: one of the processes is gone, or a job failed.
            Interrupted: a signal came.
        """
        found: dict[tuple[Setup, str], Figures] = {}
        steal = Steal()
        with ExitStack() as running:
            consumers = [running.enter_context(self._consume(setup)) for setup in self._setups]
            for work in self._dice.sample(self._workloads, len(self._workloads)):
                trials = [
                    Trial(setup, work, consumer, consumer.first_report(self._interrupt)["metrics"])
                    for setup, consumer in zip(self._setups, consumers, strict=True)
                ]
                for turn in range(self._turns):
                    for trial in self._dice.sample(trials, len(trials)):
                        doing = f"{work.about}, {trial.setup.name}"
                        self._progress.update(self._bar, description=doing)
                        self._take_turn(trial, last=turn == self._turns - 1)
                        self._progress.advance(self._bar, 1 / self._turns)
                for trial in trials:
                    found[trial.setup, work.name] = trial.figures(self._cores)
        ones = {work.name: found[self._setups[0], work.name].rate for work in self._workloads}
        figures = [
            replace(found[setup, work.name], speedup=found[setup, work.name].rate / ones[work.name])
            for work in self._workloads
            for setup in self._setups
        ]
        auto = [self._find_size(work, figures) for work in self._workloads]
        return Interpreter(_version(), self._cores, steal.share(), figures, auto)

    def _find_size(self, work: Workload, fixed: list[Figures]) -> AutoFound:
        """Have a consumer of the model auto find its size for a workload, and measure it there."""
        self._progress.update(self._bar, description=f"{work.about}, auto")
        begin = Setup("auto", max(1, int(self._cores)), THREADS)  # as it does unless told otherwise
        with self._consume(begin) as consumer:
            trial = Trial(begin, work, consumer, consumer.first_report(self._interrupt)["metrics"])
            self._keep_busy(trial, self._learn)
            trial.before = _scrape(trial.url)
            first, since = self._next_end(trial)
            self._keep_busy(trial, AUTO_SPANS * self._span)
            done, until = self._next_end(trial)
            trial.done, trial.span = done - first, until - since
            trial.after = _scrape(trial.url)
            told = _ask_auto(trial.url)
            self._redis.unlink(Keys().queue(_queue(begin)))
            self._until_done(trial)
        self._progress.advance(self._bar, 1)
        trial.jobs, trial.busy = trial.done, trial.span
        trial.setup = Setup("auto", *told.size[:2])
        here = [each for each in fixed if each.workload == work.name]
        best = max(
            (each for each in here if each.setup.model != "asyncio"), key=lambda each: each.rate
        )
        found = trial.figures(self._cores)
        moves = told.moves[::-1]
        sizes = [(begin.processes, begin.slots), *(move.size for move in moves)]
        return AutoFound(
            replace(found, speedup=found.rate / here[0].rate),
            [formats.pool(size[:2]) for size in sizes],
            [f"{move.reason}; {move.came_of}".rstrip("; ") for move in moves],
            best.setup,
            found.rate / best.rate,
        )

    def _keep_busy(self, trial: "Trial", seconds: float) -> None:
        """Have jobs waiting for so long, and until some have ended."""
        began, first = time.monotonic(), self._done(trial)
        ended, least = first, 4 * trial.setup.processes * trial.setup.slots
        while time.monotonic() - began < seconds or ended == first:
            if time.monotonic() - began > seconds + END:
                raise ChildFailed(f"auto does nothing of {trial.work.about}")
            waiting = self._redis.llen(Keys().queue(_queue(trial.setup)))
            now = self._done(trial)
            wanted = max(least, 10 * (now - ended))  # what it does in ten looks
            ended = now
            if waiting < wanted:
                self._send(trial, wanted - waiting)
            self._wait(LOOK, trial.consumer)

    def _consume(self, setup: Setup) -> ConsumerChild:
        sizes = ("--processes", str(setup.processes), "--slots", str(setup.slots))
        return ConsumerChild(
            setup.name,
            *("--queue", _queue(setup), "--model", setup.model, *sizes),
            redis_url=self._url,
            tasks=workloads.__name__,
        )

    def _take_turn(self, trial: "Trial", *, last: bool) -> None:
        """Keep all slots of a setup busy for a while; the other consumers have nothing to do."""
        slots = trial.setup.processes * trial.setup.slots
        if trial.before is None:
            self._send(trial, 2 * slots)  # whatever it imports is imported then
            self._until_done(trial)
            trial.before = _scrape(trial.url)
        began = time.monotonic()
        if not any(self._measure(trial, slots) for _ in range(TRIES)):
            raise ChildFailed(f"{trial.setup.name} ends no job of {trial.work.about} while timed")
        trial.busy += time.monotonic() - began
        if last:
            self._wait(RENEWED, trial.consumer)
            trial.after = _scrape(trial.url)

    def _measure(self, trial: "Trial", slots: int) -> bool:
        """Have jobs done for a while; returns whether not all had ended before it was looked."""
        # More than it can do meanwhile.
        at_once = slots if trial.work.waits else min(slots, self._cores)
        per_job = LENGTH / 2 + trial.work.waits
        self._send(trial, int((WARM + self._span) * 2 * at_once / per_job) + slots)
        self._wait(WARM, trial.consumer)
        first, since = self._next_end(trial)
        self._wait(self._span, trial.consumer)
        done, until = self._next_end(trial)
        # What has not begun is not needed any more.
        self._redis.unlink(Keys().queue(_queue(trial.setup)))
        trial.jobs += self._until_done(trial)
        if done == first:
            return False
        trial.done += done - first
        trial.span += until - since
        return True

    def _until_done(self, trial: "Trial") -> int:
        """Wait for all jobs to end, and forget them; returns how many there were."""
        keys, queue = Keys(), _queue(trial.setup)
        limit = time.monotonic() + END
        while self._redis.exists(keys.queue(queue), keys.wip(queue)):
            self._wait(TICK, trial.consumer)
            if time.monotonic() > limit:
                raise ChildFailed(f"{trial.setup.name} does not end with {trial.work.about}")
        jobs = self._done(trial)
        if failed := self._redis.zcard(keys.failed(queue)):
            raise ChildFailed(f"{failed} jobs of {trial.work.about} failed on {trial.setup.name}")
        self._redis.unlink(keys.finished(queue))
        return jobs

    def _send(self, trial: "Trial", jobs: int) -> None:
        work = trial.work
        function = work.on_loop if trial.setup.model == "asyncio" else work.plain
        size = self.sizes[work.name]
        calls = [(size, self._dice.randrange(2**32), self._files) for _ in range(jobs)]
        self._producer.options(queue=_queue(trial.setup)).submit_many(function, calls)

    def _next_end(self, trial: "Trial") -> tuple[int, float]:
        """Wait until jobs end, or none is left; returns how many have ended, and when that was.

        The ends of brief jobs are told together. A count between two of those moments lacks jobs,
        so that a rate is of the time from one such moment to another.
        """
        keys, queue = Keys(), _queue(trial.setup)
        before, limit = self._done(trial), time.monotonic() + END
        while (done := self._done(trial)) == before:
            if not self._redis.exists(keys.queue(queue), keys.wip(queue)):
                break
            self._wait(TICK, trial.consumer)
            if time.monotonic() > limit:
                raise ChildFailed(f"{trial.setup.name} ends no job of {trial.work.about}")
        return done, time.monotonic()

    def _done(self, trial: "Trial") -> int:
        return int(self._redis.zcard(Keys().finished(_queue(trial.setup))))

    def _wait(self, seconds: float, consumer: ConsumerChild) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if self._interrupt.number:
                raise Interrupted
            consumer.check_alive()
            time.sleep(min(TICK, left))


def _ask_auto(url: str) -> AutoView:
    said = ask_slots({"auto": url}, 0, SCRAPE_TIMEOUT)["auto"]
    try:
        told = None if isinstance(said, NoMetrics) else read_auto(said["auto"])
    except NONSENSE:
        told = None
    if told is None:
        raise ChildFailed("the consumer of the model auto does not tell its size")
    return told


def _scrape(url: str) -> Samples:
    try:
        return scrape(url, timeout=SCRAPE_TIMEOUT)
    except NoMetrics as error:
        raise ChildFailed(f"the consumer's metrics do not answer: {error}") from error


@dataclass(slots=True)
class Trial:
    """A setup at a workload.

    Attributes:
        before, after: all of it, the consumer's counters.
        jobs, busy: all jobs of its turns, and how many seconds they took.
        done, span: jobs of those seconds in which all slots were at work.
    """

    setup: Setup
    work: Workload
    consumer: ConsumerChild
    url: str
    before: Samples | None = None
    after: Samples | None = None
    jobs: int = 0
    busy: float = 0.0
    done: int = 0
    span: float = 0.0

    def figures(self, cores: float) -> Figures:
        """What came of all its turns."""
        before, after = self.before, self.after
        assert before is not None
        assert after is not None

        def spent(metric: m.Metric, **labels: str) -> float:
            return after.get(metric, **labels) - before.get(metric, **labels)

        states = {
            state: spent(m.THREAD_STATE, state=state)
            for state in ("running", "gil_wait", "io_wait", "wait")
        }
        busy = sum(states.values())
        wait = states["gil_wait"] / busy if busy else 0.0
        cpu = spent(m.WORKER_CPU)
        used = cpu / self.busy
        kinds = ("voluntary", "involuntary")
        switches = sum(spent(m.CONTEXT_SWITCHES, kind=kind) for kind in kinds)
        return Figures(
            self.work.name,
            self.work.about,
            self.setup,
            self.jobs,
            self.done / self.span,
            1.0,
            wait,
            min(wait, max(0.0, 1.0 - used / cores)),
            used,
            cpu / self.jobs,
            after.get(m.WORKER_MEMORY, kind="pss") / (self.setup.processes * self.setup.slots),
            switches / self.jobs,
            bool(after.get(m.GIL_ENABLED)),
        )


def _queue(setup: Setup) -> str:
    """Each has its own, so that all can wait for their turns."""
    return f"{setup.model}-{setup.processes}x{setup.slots}"


def check_other(python: Path) -> None:
    """See that another interpreter has what Heori needs.

    Raises:
        OtherPython: it has not, or is none.
    """
    try:
        tried = subprocess.run(
            [python, "-c", "import heori.cli.app, heori.lab.models"],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env=_environment(),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise OtherPython(f"--python {python} cannot be run: {error}") from error
    if tried.returncode:
        *_, reason = tried.stderr.strip().splitlines() or ["it says nothing"]
        raise OtherPython(
            f"--python {python} lacks what Heori needs ({reason}); install it there: "
            f"{python} -m pip install -r requirements.lock"
        )


def _measure_other(python: Path, options: ModelOptions, interrupt: Interrupt) -> Interpreter:
    sizes = json.dumps(options.sizes)
    arguments = ["lab", "models", "--json", "--seed", str(options.seed), "--sizes", sizes]
    if options.quick:
        arguments.append("--quick")
    process = subprocess.Popen(
        [python, "-m", "heori", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=_environment(),
        start_new_session=True,
    )
    with process, contextlib.ExitStack() as stack:
        stack.callback(process.terminate)
        terminal = Console(sys.stderr)
        shown = stack.enter_context(
            Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                console=terminal,
                transient=True,
                disable=options.json or not terminal.is_terminal,
            )
        )
        shown.add_task(f"the same on {python}", total=None)
        while True:
            if interrupt.number:
                raise Interrupted
            try:
                out, err = process.communicate(timeout=0.1)
                break
            except subprocess.TimeoutExpired:
                continue
    if process.returncode:
        raise ChildFailed(f"{python} has failed:\n{err.strip()}")
    [found] = report.interpreters(json.loads(out))
    return found


def _environment() -> dict[str, str]:
    """Ours, with this Heori for other interpreters to import."""
    roots = {
        Path(str(module.__file__)).parents[1]
        for module in (heori, heori_common, heori_consumer, heori_producer)
    }
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sorted(map(str, roots)))}


def _version() -> str:
    threaded = "t" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""
    return f"{'.'.join(map(str, sys.version_info[:3]))}{threaded}"
