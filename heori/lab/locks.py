"""`heori lab locks`: what many consumers do to the same accounts, without locks and with them."""

import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from redis import Redis
from rich import box
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from heori import Handle, JobFailed, Producer, formats
from heori.demo.processes import (
    ConsumerChild,
    Interrupt,
    Interrupted,
)
from heori.examples import accounts
from heori.examples.accounts import ACCOUNTS, OPENING, PRINTERS
from heori.plain import say_json
from heori.terminal import Console, Text
from heori_common.embedded import EmbeddedValkey
from heori_common.protocol.commands import Commands
from heori_common.redis.client import RedisClient
from heori_common.settings import Settings

SLOTS = 4  # threads of each consumer
PAGES = 50
LARGEST = 50_00  # cents in one transfer
TICK = 0.05  # seconds between two looks at a queue

Transfer = tuple[int, int, int]  # source, target, cents


@dataclass(frozen=True, slots=True)
class LockOptions:
    """What was asked for."""

    transfers: int
    consumers: int
    seed: int
    json: bool


@dataclass(frozen=True, slots=True)
class LockRun:
    """One run: the jobs, and how to read from Redis what came of them."""

    name: str
    task: Callable[..., None]
    queue: str
    calls: Sequence[tuple[int, ...]]
    judge: Callable[["Done"], "Verdict"]


@dataclass(frozen=True, slots=True)
class Done:
    """A run whose jobs have all ended."""

    jobs: int
    failed: int
    failure: str  # of one of them
    seconds: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a run.

    Attributes:
        result: in a few words.
        because: what there is to learn from it, in a sentence.
        well: whether all that is guaranteed was so.
        figures: what was read from Redis, for scripts.
    """

    result: str
    because: str
    well: bool
    figures: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Findings:
    """What came of all runs."""

    options: LockOptions
    runs: Sequence[tuple[LockRun, Done, Verdict]]
    deadlock: str | None  # the first that was found, as DeadlockDetected told it

    @property
    def well(self) -> bool:
        """Whether every lock held what it promises, and no job failed."""
        return all(verdict.well for _, _, verdict in self.runs)


def run_locks(options: LockOptions, interrupt: Interrupt) -> Findings:
    """Do the four runs.

    Raises:
        ChildFailed, EmbeddedValkeyError, RedisUnavailable: a process died.
        Interrupted: a signal came.
    """
    with ExitStack() as stack:
        experiment = LockExperiment(options, interrupt, stack)
        return Findings(options, experiment.run(), experiment.deadlock())


class LockExperiment:
    """A Valkey and consumers, started for this; the stack ends them."""

    def __init__(self, options: LockOptions, interrupt: Interrupt, stack: ExitStack) -> None:
        self._interrupt = interrupt
        terminal = Console(sys.stderr)
        self._progress = stack.enter_context(
            Progress(
                TextColumn("{task.description:24}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                console=terminal,
                transient=True,
                disable=options.json or not terminal.is_terminal,
            )
        )
        dice = random.Random(options.seed)
        transfers = [_transfer(dice) for _ in range(options.transfers)]
        self._right = _balances_after(transfers)
        self._works = self._plan(transfers)
        starting = self._progress.add_task("starting consumers", total=options.consumers)
        valkey = stack.enter_context(EmbeddedValkey())
        queues = [word for work in self._works for word in ("--queue", work.queue)]
        self._consumers = [
            stack.enter_context(
                ConsumerChild(
                    f"consumer {number}",
                    *(*queues, "--model", "threads", "--slots", str(SLOTS)),
                    redis_url=valkey.url,
                    tasks=accounts.__name__,
                )
            )
            for number in range(1, options.consumers + 1)
        ]
        for consumer in self._consumers:
            consumer.first_report(interrupt)
            self._progress.advance(starting)
        self._redis: Any = stack.enter_context(Redis.from_url(valkey.url, socket_timeout=None))
        self._client = stack.enter_context(RedisClient(valkey.url))
        # Made without the environment: settings of the user's are for their own server.
        defaults = Settings.model_construct(redis_url=valkey.url)
        self._producer = stack.enter_context(Producer(settings=defaults))

    def run(self) -> list[tuple[LockRun, Done, Verdict]]:
        """Do one after the other.

        Raises:
            ChildFailed, RedisUnavailable: one of the processes is gone.
            Interrupted: a signal came.
        """
        finished = []
        for work in self._works:
            for account in range(ACCOUNTS):
                self._redis.set(f"balance:{account}", OPENING)
            done = self._do(work)
            finished.append((work, done, work.judge(done)))
        return finished

    def deadlock(self) -> str | None:
        """What the first deadlock was that was found, if one was."""
        said = self._redis.lindex(accounts.DEADLOCKS, 0)
        return said.decode() if said is not None else None

    def _plan(self, transfers: list[Transfer]) -> list[LockRun]:
        return [
            LockRun(
                "no lock", accounts.transfer_unlocked, "unlocked", transfers, self._judge_unlocked
            ),
            LockRun(
                "a mutex per account", accounts.transfer, "locked", transfers, self._judge_locked
            ),
            LockRun(
                "mutexes in any order",
                accounts.transfer_crosswise,
                "crosswise",
                transfers,
                self._judge_crosswise,
            ),
            LockRun(
                f"a semaphore of {PRINTERS}",
                accounts.print_page,
                "printers",
                [()] * PAGES,
                self._judge_printers,
            ),
        ]

    def _do(self, work: LockRun) -> Done:
        bar = self._progress.add_task(work.name, total=len(work.calls))
        commands = Commands()
        began = time.monotonic()
        handles = self._producer.submit_many(work.task, work.calls)
        while True:
            _, _, _, finished, dead, *_ = self._client.execute_many(commands.counts(work.queue))
            ended = finished + dead
            self._progress.update(bar, completed=ended)
            if ended >= len(handles):
                seconds = time.monotonic() - began
                failure = _failure(handles) if dead else ""
                return Done(len(handles), dead, failure, seconds)
            if self._interrupt.number:
                raise Interrupted
            for consumer in self._consumers:
                consumer.check_alive()
            time.sleep(TICK)

    def _judge_unlocked(self, done: Done) -> Verdict:
        right, figures = self._balances()
        off = figures["total"] - figures["expected"]
        if right:
            because = (
                "By luck no job wrote between another's read and write; "
                "try it with more --transfers."
            )
        else:
            because = (
                "Two jobs read the same balance; the last one to write undoes what the other did."
            )
            if off == 0:
                because += " That the sum is right is luck."
        return Verdict(_money(figures), because, done.failed == 0, figures)

    def _judge_locked(self, done: Done) -> Verdict:
        right, figures = self._balances()
        because = (
            "Each job holds both accounts, acquired at once, from its first read to its last write."
        )
        return Verdict(_money(figures), because, right and done.failed == 0, figures)

    def _judge_crosswise(self, done: Done) -> Verdict:
        right, figures = self._balances()
        figures["deadlocks"] = found = self._redis.llen(accounts.DEADLOCKS)
        because = (
            f"Deadlocks found: {formats.count(found)}. Each time one job gave up its lock and was "
            "retried."
            if found
            else "By luck no two jobs met in opposite directions; try it with more --transfers."
        )
        return Verdict(_money(figures), because, right and done.failed == 0, figures)

    def _judge_printers(self, done: Done) -> Verdict:
        seen = [int(number) for number in self._redis.lrange(accounts.SEEN, 0, -1)]
        highest, left = max(seen, default=0), int(self._redis.get(accounts.PRINTING) or 0)
        well = (len(seen), left, done.failed) == (done.jobs, 0, 0) and highest <= PRINTERS
        because = f"There are {PRINTERS} permits: all others wait in line until one is given back."
        if highest < PRINTERS:
            because += " By luck they never were at work all at once."
        return Verdict(
            f"{len(seen)} pages, {highest} at once at most",
            because,
            well,
            {"pages": len(seen), "highest": highest},
        )

    def _balances(self) -> tuple[bool, dict[str, Any]]:
        """Read the balances; returns whether all are right, and what they are."""
        balances = [int(self._redis.get(f"balance:{account}")) for account in range(ACCOUNTS)]
        wrong = sum(is_ != right for is_, right in zip(balances, self._right, strict=True))
        figures = {
            "expected": ACCOUNTS * OPENING,
            "total": sum(balances),
            "wrong_accounts": wrong,
        }
        return wrong == 0, figures


def _transfer(dice: random.Random) -> Transfer:
    source, target = dice.sample(range(ACCOUNTS), 2)
    return source, target, dice.randint(1, LARGEST)


def _balances_after(transfers: Sequence[Transfer]) -> list[int]:
    balances = [OPENING] * ACCOUNTS
    for source, target, cents in transfers:
        balances[source] -= cents
        balances[target] += cents
    return balances


def _failure(handles: Sequence[Handle[None]]) -> str:
    """Why one of the jobs failed that did."""
    for handle in handles:
        try:
            handle.result(timeout=0)
        except JobFailed as error:
            return error.traceback.rstrip().rpartition("\n")[2]
        except TimeoutError:
            continue
    return "its reason is gone"


def _money(figures: dict[str, Any]) -> str:
    off = figures["total"] - figures["expected"]
    changed = f"{_amount(figures['expected'])} → {_amount(figures['total'])}"
    if off:
        return f"{changed}: {_amount(abs(off))} {'appeared' if off > 0 else 'vanished'}"
    if figures["wrong_accounts"]:
        return f"{changed}, but {figures['wrong_accounts']} of {ACCOUNTS} accounts are wrong"
    return f"{changed}: right to the cent"


def _amount(cents: int) -> str:
    return f"{cents / 100:,.2f}"


def show(findings: Findings, *, as_json: bool) -> None:
    """Print the results: as one JSON object, or as a table with explanations."""
    options, runs = findings.options, findings.runs
    if as_json:
        told = [
            {
                "name": run.name,
                "task": run.task.__name__,
                "jobs": done.jobs,
                "failed": done.failed,
                "seconds": round(done.seconds, 3),
                **verdict.figures,
                "well": verdict.well,
                "result": verdict.result,
                "because": verdict.because,
            }
            for run, done, verdict in runs
        ]
        say_json({"seed": options.seed, "runs": told, "deadlock": findings.deadlock})
        return
    console = Console()
    console.print(_table(options, runs))
    notes = [Text(note, lines=True) for note in _notes(runs, findings.deadlock)]
    console.print(*notes, sep="\n", soft_wrap=True)


def _table(options: LockOptions, runs: Sequence[tuple[LockRun, Done, Verdict]]) -> Table:
    heading = f"{options.consumers} × {SLOTS} threads, {ACCOUNTS} accounts, seed {options.seed}"
    table = Table(title=heading, box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left")
    table.add_column("run", no_wrap=True)
    table.add_column("jobs", justify="right", no_wrap=True)
    table.add_column("time", justify="right", no_wrap=True)
    table.add_column("what came of it")
    for work, done, verdict in runs:
        style = "bold" if verdict.well else "bold red"
        told = Text.assemble((verdict.result, style), Text("\n", lines=True), verdict.because)
        table.add_row(
            work.name,
            formats.count(done.jobs),
            formats.duration(done.seconds),
            told,
            end_section=True,
        )
    return table


def _notes(runs: Sequence[tuple[LockRun, Done, Verdict]], deadlock: str | None) -> Iterator[str]:
    yield "The totals are read back from Redis. The code: heori/examples/accounts.py"
    if deadlock is not None:
        yield "The first deadlock, as DeadlockDetected described it:"
        yield "  " + deadlock.replace(": ", ":\n    ", 1).replace("; ", ";\n    ")
    for work, done, verdict in runs:
        if done.failed:
            failed = formats.counted(done.failed, "job")
            yield f"{work.name}: {failed} failed; one of them: {done.failure}"
        elif not verdict.well:
            yield f"{work.name}: this should not be; a lock did not hold what it promises."
