"""`heori up`: an embedded Valkey, a file server, a producer and a consumer, on real work.

Each of them is a process in a session of its own, so that Ctrl-C in the terminal reaches this
one alone. It ends them in order: the producer stops, the consumer drains, the jobs in Redis are
counted, and Redis goes last.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console

from common.broker import Broker, BrokerUnavailable
from common.embedded import EmbeddedValkey, EmbeddedValkeyError
from common.protocol.commands import Commands, QueueCounts
from common.settings import Model
from consumer.supervisor import Options
from heori.audit import Audit, Metrics, Outcome, scrape
from heori.examples import corpus
from heori.examples.tasks import QUEUE
from heori.feed import FeedOptions
from heori.view import Moment, Plan, View, make_view, report

FAILED, REFUSED, BY_SIGNAL = 1, 2, 128  # exit codes; the last is added to the signal's number

# All in seconds.
TICK = 0.1  # between two looks at the queue
SHOW_EVERY = 0.5
START = 60.0  # for a child to say that it is there
DRAIN = 35.0  # for a child to end in good order: longer than a consumer's grace
HURRY = 5.0  # for a child to end when something has gone wrong


@dataclass(frozen=True, slots=True)
class UpOptions:
    """What was asked for."""

    seconds: float | None  # how long; None: every file through every task once
    forever: bool
    model: Model
    processes: int | None
    slots: int | None
    json: bool


class ChildFailed(RuntimeError):
    """A process of the run has ended by itself, or does not answer; the message says why."""


class Interrupted(Exception):
    """A signal came before all processes were there."""


@dataclass(slots=True)
class Interrupt:
    """Whether a signal has asked to stop."""

    number: int = 0  # the signal's


def run(options: UpOptions) -> int:
    """Run it all; returns the exit code.

    0: every job was done, and once. 1: some failed or were lost or repeated, or a process died.
    2: the options do not fit together. 128 and a signal's number: that signal stopped it, with
    jobs left.
    """
    try:
        if options.forever and options.seconds is not None:
            raise ValueError("--for and --forever exclude each other")
        consumer = Options.create((QUEUE,), options.model, options.processes, options.slots)
    except ValueError as error:
        print(f"heori: {error}", file=sys.stderr)
        return REFUSED
    once = options.seconds is None and not options.forever
    files = len(corpus.files())
    plan = Plan(consumer.model, consumer.processes, consumer.slots, files, once, options.seconds)
    console = Console()
    with _signals() as interrupt:
        try:
            with make_view(console, plan, json=options.json) as view, ExitStack() as stack:
                going = Run(plan, interrupt, view, stack)
                outcome = going.end(going.watch())
        except Interrupted:
            print("heori: stopped while it was starting", file=sys.stderr)
            return BY_SIGNAL + interrupt.number
        except (ChildFailed, EmbeddedValkeyError) as error:
            print(f"heori: {error}", file=sys.stderr)
            return FAILED
        except BrokerUnavailable as error:
            print(f"heori: the embedded Valkey has ended: {error}", file=sys.stderr)
            return FAILED
    report(console, plan, outcome, json=options.json)
    if outcome.well:
        return 0
    return BY_SIGNAL + interrupt.number if outcome.interrupted else FAILED


class Run:
    """The processes of a run, started one after the other; the stack ends them, last first."""

    def __init__(self, plan: Plan, interrupt: Interrupt, view: View, stack: ExitStack) -> None:
        self._plan = plan
        self._interrupt = interrupt
        self._view = view
        view.say("starting a Valkey, a file server, a consumer and a producer …")
        valkey = stack.enter_context(EmbeddedValkey())
        self._files = stack.enter_context(Child("file server", "heori.examples.fileserver"))
        self._consumer = stack.enter_context(ConsumerChild(plan, valkey.url))
        files_url = f"http://127.0.0.1:{self._files.first_report(interrupt)}"
        sends = json.dumps(asdict(FeedOptions(valkey.url, files_url, plan.once)))
        self._feed = stack.enter_context(Child("producer", "heori.feed", sends))
        self._feed.first_report(interrupt)
        self._metrics_url: str = self._consumer.first_report(interrupt)["metrics"]
        self._broker = stack.enter_context(Broker(valkey.url))
        self._audit = Audit(self._broker)

    def watch(self) -> float:
        """Show how it goes until all is done or a signal comes; returns how long it took.

        Raises:
            ChildFailed, BrokerUnavailable: one of the processes is gone.
        """
        self._view.say("Ctrl-C drains the consumer and ends everything")
        counts = Commands().counts(QUEUE)
        began = time.monotonic()
        seconds = next_show = 0.0
        idle = 0  # looks in a row that found no job; one look may miss a job on its way back
        while idle < 2 and not self._interrupt.number:
            seconds = time.monotonic() - began
            if self._plan.limit is not None and seconds >= self._plan.limit:
                self._feed.ask_to_end()
            fed = self._feed.finished
            found = QueueCounts(*self._broker.execute_many(counts))
            idle = idle + 1 if fed and found.waiting == found.running == 0 else 0
            if seconds >= next_show:
                running = self._audit.running()
                self._view.show(Moment(seconds, self._feed.report, running, self._metrics()))
                self._audit.count_and_forget()
                next_show += SHOW_EVERY
            time.sleep(TICK)
        return seconds

    def end(self, seconds: float) -> Outcome:
        """End the producer and then the consumer in good order, and count.

        Raises:
            As `watch`.
        """
        interrupted = self._interrupt.number != 0
        metrics = self._metrics()
        if interrupted:
            self._view.say("draining: what runs is finished, what waits stays in the queue …")
        self._feed.end(DRAIN)
        self._consumer.end(DRAIN)
        self._view.say("counting the jobs in Redis …")
        self._audit.finish(self._feed.report)
        agrees = self._audit.agrees(metrics, interrupted=interrupted)
        return Outcome(self._audit.counts, seconds, agrees, interrupted, self._audit.failure)

    def _metrics(self) -> Metrics:
        self._files.check_alive()
        self._consumer.check_alive()
        try:
            return scrape(self._metrics_url)
        except OSError as error:
            raise ChildFailed(f"the consumer's metrics do not answer: {error}") from error


class Child:
    """A process of the run; leaving its ``with`` block ends it, one way or the other.

    It tells what it has to tell as JSON, one line at a time; any other line is kept, in case it
    fails. It ends when its standard input does.

    Attributes:
        report: the last thing it has told; None if nothing yet.
    """

    def __init__(self, name: str, module: str, *arguments: str, **environment: str) -> None:
        # Settings of the user's are for their own server and tasks.
        own = {k: v for k, v in os.environ.items() if not k.startswith(("HEORI_", "RQ_"))}
        self.report: Any = None
        self._name = name
        self._last: deque[str] = deque(maxlen=20)
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=Path(__file__).parents[1],
            env={**own, **environment},
            start_new_session=True,
            encoding="utf-8",
            errors="replace",
        )
        self._reader = threading.Thread(target=self._read, name=name, daemon=True)
        self._reader.start()

    def is_report(self, record: Any) -> bool:
        """Whether this is something for `report`."""
        return record is not None

    def first_report(self, interrupt: Interrupt) -> Any:
        """Wait for it to tell something.

        Raises:
            ChildFailed: it ends, or takes longer than START.
            Interrupted: a signal came first.
        """
        deadline = time.monotonic() + START
        while self.report is None:
            self.check_alive()
            if interrupt.number:
                raise Interrupted
            if time.monotonic() > deadline:
                raise ChildFailed(f"the {self._name} did not start within {START:.0f} s")
            time.sleep(0.02)
        return self.report

    def check_alive(self) -> None:
        """See that it is there.

        Raises:
            ChildFailed: it is not.
        """
        code = self._process.poll()
        if code is not None:
            self._reader.join(1.0)
            how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
            lines = "".join(f"\n  {line}" for line in self._last)
            raise ChildFailed(f"the {self._name} has ended {how}{lines and ', saying:'}{lines}")

    @property
    def finished(self) -> bool:
        """Whether it has done all it was to do, and `report` is its last word.

        Raises:
            ChildFailed: it has ended in another way.
        """
        if self._process.poll() == 0:
            self._reader.join()
            return True
        self.check_alive()
        return False

    def ask_to_end(self) -> None:
        """Have it end in good order; asking twice does no harm."""
        if self._process.stdin is not None:
            self._process.stdin.close()

    def end(self, within: float) -> None:
        """Have it end, and kill it with all its processes if it has not in so many seconds."""
        self.ask_to_end()
        try:
            self._process.wait(within)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._reader.join(1.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end(DRAIN if kind is None else HURRY)

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                try:
                    record = json.loads(line)
                except ValueError:
                    record = None
                if self.is_report(record):
                    self.report = record
                else:
                    self._last.append(line.rstrip())


class ConsumerChild(Child):
    """The consumer: it writes a log, and drains on SIGTERM."""

    def __init__(self, plan: Plan, redis_url: str) -> None:
        numbers = ("--processes", str(plan.processes), "--slots", str(plan.slots))
        super().__init__(
            "consumer",
            "heori",
            *("consume", "--queue", QUEUE, "--model", plan.model, *numbers),
            HEORI_REDIS_URL=redis_url,
            HEORI_TASKS="heori.examples.tasks",
            HEORI_METRICS_PORT="0",
        )

    def is_report(self, record: Any) -> bool:
        return isinstance(record, dict) and record.get("event") == "consuming"

    def ask_to_end(self) -> None:
        super().ask_to_end()
        self._process.terminate()


@contextmanager
def _signals() -> Iterator[Interrupt]:
    """Note what asks this process to stop, so that it does so in order."""
    interrupt = Interrupt()

    def note(number: int, _: object) -> None:
        interrupt.number = number

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
