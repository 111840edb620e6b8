"""`heori up`: an embedded Valkey, a file server, a producer and a consumer, on real work.

Each of them is a process in a session of its own, so that Ctrl-C in the terminal reaches this
one alone. It ends them in order: the producer stops, the consumer drains, the jobs in Redis are
counted, and Redis goes last.
"""

import json
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from http.client import HTTPException

from rich.console import Console

from heori.cli.console import FAILED, REFUSED
from heori.demo.display import Moment, Plan, View, make_view, report
from heori.demo.processes import (
    BY_SIGNAL,
    DRAIN,
    HURRY,
    Child,
    ChildFailed,
    ConsumerChild,
    Interrupt,
    Interrupted,
    signals,
)
from heori.demo.sender import FeedOptions
from heori.demo.tally import Audit, Metrics, Outcome, scrape
from heori.examples import corpus
from heori.examples.tasks import QUEUE
from heori_common.embedded import EmbeddedValkey, EmbeddedValkeyError
from heori_common.protocol.commands import Commands, QueueCounts
from heori_common.redis.client import RedisClient
from heori_common.redis.errors import RedisUnavailable
from heori_common.settings import Model
from heori_consumer.supervisor.options import ConsumerOptions

# All in seconds.
TICK = 0.1  # between two looks at the queue
SHOW_EVERY = 0.5


@dataclass(frozen=True, slots=True)
class UpOptions:
    """What was asked for."""

    seconds: float | None  # how long; None: every file through every task once
    forever: bool
    model: Model
    processes: int | None
    slots: int | None
    json: bool


def run(options: UpOptions) -> int:
    """Run it all; returns the exit code.

    0: every job was done, and once. 1: some failed or were lost or repeated, or a process died.
    2: the options do not fit together. 128 and a signal's number: that signal stopped it, with
    jobs left.
    """
    try:
        if options.forever and options.seconds is not None:
            raise ValueError("--for and --forever exclude each other")
        consumer = ConsumerOptions.create((QUEUE,), options.model, options.processes, options.slots)
    except ValueError as error:
        print(f"heori: {error}", file=sys.stderr)
        return REFUSED
    once = options.seconds is None and not options.forever
    files = len(corpus.files())
    plan = Plan(consumer.model, consumer.processes, consumer.slots, files, once, options.seconds)
    console = Console()
    with signals() as interrupt:
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
        except RedisUnavailable as error:
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
        self._consumer = stack.enter_context(self._consume(valkey.url))
        files_url = f"http://127.0.0.1:{self._files.first_report(interrupt)}"
        sends = json.dumps(asdict(FeedOptions(valkey.url, files_url, plan.once)))
        self._feed = stack.enter_context(Child("producer", "heori.demo.sender", sends))
        self._feed.first_report(interrupt)
        self._metrics_url: str = self._consumer.first_report(interrupt)["metrics"]
        self._redis = stack.enter_context(RedisClient(valkey.url))
        self._audit = Audit(self._redis)

    def watch(self) -> float:
        """Show how it goes until all is done or a signal comes; returns how long it took.

        Raises:
            ChildFailed, RedisUnavailable: one of the processes is gone.
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
            found = QueueCounts(*self._redis.execute_many(counts))
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

    def _consume(self, redis_url: str) -> ConsumerChild:
        numbers = ("--processes", str(self._plan.processes), "--slots", str(self._plan.slots))
        return ConsumerChild(
            "consumer",
            *("--queue", QUEUE, "--model", self._plan.model, *numbers),
            redis_url=redis_url,
            tasks="heori.examples.tasks",
        )

    def _metrics(self) -> Metrics:
        self._files.check_alive()
        self._consumer.check_alive()
        try:
            return scrape(self._metrics_url)
        except (OSError, HTTPException) as error:
            self._consumer.check_alive(HURRY)
            raise ChildFailed(f"the consumer's metrics do not answer: {error}") from error
