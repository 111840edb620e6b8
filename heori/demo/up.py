"""`heori up`: an embedded Valkey, a file server, a producer and a consumer, on real work.

Each of them is a process in a session of its own, so that Ctrl-C in the terminal reaches this
one alone. It ends them in order: the producer stops, the consumer drains, the jobs in Redis are
counted, and Redis goes last.
"""

import json
import time
from contextlib import ExitStack
from dataclasses import asdict

from heori.demo.display import Display, Moment, UpPlan, where_heori_is
from heori.demo.processes import (
    DRAIN,
    HURRY,
    Child,
    ChildFailed,
    ConsumerChild,
    Interrupt,
)
from heori.demo.producer import ProducerOptions
from heori.demo.tally import ConsumerCounts, JobTally, RunResult
from heori.examples import corpus
from heori.examples.tasks import QUEUE
from heori.inspect.scraper import NoMetrics, scrape
from heori_common.embedded import EmbeddedValkey
from heori_common.protocol.commands import Commands
from heori_common.redis.client import RedisClient
from heori_common.settings import Model, Settings
from heori_consumer.supervisor.options import ConsumerOptions

# All in seconds.
TICK = 0.1  # between two looks at the queue
SHOW_EVERY = 0.5
SCRAPE_TIMEOUT = 10.0  # for the consumer to answer with its metrics, while all cores are busy


def plan_run(
    model: Model,
    processes: int | None,
    slots: int | None,
    seconds: float | None,
    *,
    forever: bool,
) -> UpPlan:
    """What a run is to do.

    Args:
        processes, slots: those that suit the model, if not said.
        seconds: after which no more is sent; without, and unless `forever`, each file goes
            through each task once.

    Raises:
        ValueError: the numbers do not fit the model.
    """
    consumer = ConsumerOptions.create((QUEUE,), model, processes, slots)
    once = seconds is None and not forever
    files = len(corpus.files())
    return UpPlan(consumer.model, consumer.processes, consumer.slots, files, once, seconds)


def run_up(plan: UpPlan, display: Display, interrupt: Interrupt) -> RunResult:
    """Run it all.

    Raises:
        ChildFailed, EmbeddedValkeyError, RedisUnavailable: one of the processes is gone.
        Interrupted: a signal came before all of them were there.
    """
    with ExitStack() as stack:
        run = Run(plan, interrupt, display, stack)
        return run.end(run.watch())


class Run:
    """The processes of a run, started one after the other; the stack ends them, last first."""

    def __init__(
        self, plan: UpPlan, interrupt: Interrupt, display: Display, stack: ExitStack
    ) -> None:
        self._plan = plan
        self._interrupt = interrupt
        self._display = display
        display.say("starting a Valkey, a file server, a consumer and a producer …")
        valkey = stack.enter_context(EmbeddedValkey())
        self._redis_url = valkey.url
        self._files = stack.enter_context(Child("file server", "heori.examples.fileserver"))
        self._consumer = stack.enter_context(self._consume(valkey.url))
        files_url = f"http://127.0.0.1:{self._files.first_report(interrupt)}"
        sends = json.dumps(asdict(ProducerOptions(valkey.url, files_url, plan.once)))
        self._producer = stack.enter_context(Child("producer", "heori.demo.producer", sends))
        self._producer.first_report(interrupt)
        self._metrics_url: str = self._consumer.first_report(interrupt)["metrics"]
        self._redis = stack.enter_context(RedisClient(valkey.url))
        self._tally = JobTally(self._redis)

    def watch(self) -> float:
        """Show how it goes until all is done or a signal comes; returns how long it took.

        Raises:
            ChildFailed, RedisUnavailable: one of the processes is gone.
        """
        page = Settings()
        self._display.tell(
            "Look at it from another terminal:",
            *where_heori_is(),
            f"  export HEORI_REDIS_URL={self._redis_url}   # the server of this run",
            "  heori top                # or heori status, heori dead list, heori doctor",
            f"  heori serve              # the page, at http://{page.api_host}:{page.api_port}",
            f"  curl {self._metrics_url}/metrics   # of the consumer",
        )
        longer = "; heori up --forever goes on until then" if self._plan.once else ""
        self._display.say(f"Ctrl-C drains the consumer and ends everything{longer}")
        commands = Commands()
        began = time.monotonic()
        seconds = next_show = 0.0
        idle = 0  # looks in a row that found no job; one look may miss a job on its way back
        while idle < 2 and not self._interrupt.number:
            seconds = time.monotonic() - began
            if self._plan.limit is not None and seconds >= self._plan.limit:
                self._producer.ask_to_end()
            all_sent = self._producer.finished
            waiting, _, running, *_ = self._redis.execute_many(commands.counts(QUEUE))
            idle = idle + 1 if all_sent and waiting == running == 0 else 0
            if seconds >= next_show:
                claimed = self._tally.claimed()
                self._display.show(Moment(seconds, self._producer.report, claimed, self._metrics()))
                self._tally.count_and_forget()
                next_show += SHOW_EVERY
            time.sleep(TICK)
        return seconds

    def end(self, seconds: float) -> RunResult:
        """End the producer and then the consumer in good order, and count.

        Raises:
            As `watch`.
        """
        signal = self._interrupt.number
        metrics = self._metrics()
        if signal:
            self._display.say("draining: what runs is finished, what waits stays in the queue …")
        self._producer.end(DRAIN)
        self._consumer.end(DRAIN)
        self._display.say("counting the jobs in Redis …")
        self._tally.finish(self._producer.report)
        agrees = self._tally.agrees(metrics, interrupted=signal != 0)
        return RunResult(self._tally.counts, seconds, agrees, signal, self._tally.failure)

    def _consume(self, redis_url: str) -> ConsumerChild:
        numbers = ("--processes", str(self._plan.processes), "--slots", str(self._plan.slots))
        return ConsumerChild(
            "consumer",
            *("--queue", QUEUE, "--model", self._plan.model, *numbers),
            redis_url=redis_url,
            tasks="heori.examples.tasks",
        )

    def _metrics(self) -> ConsumerCounts:
        self._files.check_alive()
        self._consumer.check_alive()
        try:
            return ConsumerCounts.read(scrape(self._metrics_url, SCRAPE_TIMEOUT))
        except NoMetrics as error:
            self._consumer.check_alive(HURRY)
            raise ChildFailed(f"the consumer's metrics do not answer: {error}") from error
