"""What `heori up` shows: a live table on a terminal, else a line every few seconds; a summary."""

import shlex
import shutil
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich import box
from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from heori import formats
from heori.demo.tally import ConsumerCounts, Count, RunResult
from heori.examples.tasks import ALL, UNITS
from heori.plain import say, say_json
from heori.terminal import Console, Text
from heori_common.settings import Model

LINE_EVERY = 2.0  # seconds between two lines
WINDOW = 8  # moments that a rate is taken over
MOST_WORKERS = 8  # rows of workers; the rest share one
COUNTED = ("sent", "done", "failed", "unfinished", "lost", "repeated")  # of a Count, as shown
WIDTH = 100  # characters at most; wider bars show no more


@dataclass(frozen=True, slots=True)
class UpPlan:
    """What a run is to do, and with what."""

    model: Model
    processes: int
    slots: int
    files: int
    once: bool  # every file through every task, and no more
    limit: float | None  # seconds after which no more is sent

    def __str__(self) -> str:
        processes = "1 process" if self.processes == 1 else f"{self.processes} processes"
        slots = "1 slot" if self.slots == 1 else f"{self.slots} slots"
        return f"{self.model}: {processes} × {slots} · {formats.count(self.files)} files"


@dataclass(frozen=True, slots=True)
class Moment:
    """How far a run is."""

    seconds: float  # since it began
    sent: Mapping[str, int]  # by task, like the next two
    claimed: Mapping[str, int]
    metrics: ConsumerCounts

    def waiting(self, task: str) -> int:
        """Jobs that no consumer has claimed.

        No metric counts these by task, so they are computed: those sent, less those claimed and
        those that have ended. The parts are read one after the other while jobs go on, so the
        difference may be off by a few; it is never less than zero.
        """
        done = self.metrics.done[task] + self.metrics.failed[task]
        return max(0, self.sent[task] - done - self.claimed.get(task, 0))


class Display:
    """Shows nothing, for scripts; its subclasses show how a run goes."""

    def say(self, what: str) -> None:
        """Show what is being done now."""

    def tell(self, *lines: str) -> None:
        """Show what a person may do meanwhile, as long as the run lasts."""

    def show(self, moment: Moment) -> None:
        """Show how far the run is."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the terminal as it was."""


class LineDisplay(Display):
    """A line every few seconds, for logs and pipes."""

    def __init__(self) -> None:
        self._next = LINE_EVERY
        self._last = (0.0, 0)

    def say(self, what: str) -> None:
        say(what)

    def tell(self, *lines: str) -> None:
        say(*lines)

    def show(self, moment: Moment) -> None:
        if moment.seconds < self._next:
            return
        done, failed = moment.metrics.done.total(), moment.metrics.failed.total()
        waiting = sum(moment.waiting(task) for task in ALL)
        rate = (done - self._last[1]) / (moment.seconds - self._last[0])
        self._next, self._last = moment.seconds + LINE_EVERY, (moment.seconds, done)
        numbers = {
            "sent": sum(moment.sent.values()),
            "waiting": waiting,
            "claimed": sum(moment.claimed.values()),
            "done": done,
            "failed": failed,
        }
        text = ", ".join(f"{name} {formats.count(number)}" for name, number in numbers.items())
        slots = f"{moment.metrics.running} of {moment.metrics.slots} slots run"
        rates = f"{formats.count(rate)} jobs/s"
        say(f"{moment.seconds:6.1f} s: {text}; {slots}; {rates}")


class LiveDisplay(Display):
    """A table that is drawn anew at each moment."""

    def __init__(self, console: Console, plan: UpPlan) -> None:
        self._plan = plan
        self._moments: deque[Moment] = deque(maxlen=WINDOW)
        self._doing = ""
        self._told: tuple[str, ...] = ()
        self._width = min(console.width, WIDTH)
        self._live = Live(console=console, transient=True, auto_refresh=False)

    def say(self, what: str) -> None:
        self._doing = what
        self._draw()

    def tell(self, *lines: str) -> None:
        self._told = lines
        self._draw()

    def show(self, moment: Moment) -> None:
        self._moments.append(moment)
        self._draw()

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def _draw(self) -> None:
        parts: list[RenderableType] = []
        if self._moments:
            now, before = self._moments[-1], self._moments[0]
            limit = "" if self._plan.limit is None else f" of {formats.count(self._plan.limit)}"
            slots = f"{now.metrics.running} of {now.metrics.slots} slots run"
            time = f"{formats.count(now.seconds)}{limit} s"
            heading = Text(f"{self._plan} · {slots} · {time}", style="bold")
            parts = [heading, "", self._tasks(now, before), "", self._workers(now, before), ""]
        told = Group(*map(Text, self._told), Text(self._doing, style="dim"))
        self._live.update(Group(*parts, told), refresh=True)

    def _tasks(self, now: Moment, before: Moment) -> Table:
        table = Table(box=None, width=self._width, pad_edge=False)
        table.add_column("task", no_wrap=True)
        table.add_column("", ratio=1)
        for heading in ("sent", "waiting", "claimed", "done", "failed", "jobs/s"):
            table.add_column(heading, justify="right", no_wrap=True, min_width=6)
        seconds = now.seconds - before.seconds
        for task in ALL:
            done, failed = now.metrics.done[task], now.metrics.failed[task]
            recent = done + failed - before.metrics.done[task] - before.metrics.failed[task]
            goal = self._plan.files if self._plan.once else now.sent[task]
            table.add_row(
                task,
                ProgressBar(total=max(1, goal), completed=done + failed),
                formats.count(now.sent[task]),
                formats.count(now.waiting(task)),
                formats.count(now.claimed.get(task, 0)),
                Text(formats.count(done), style="green"),
                Text(formats.count(failed), style="bold red" if failed else ""),
                formats.count(recent / seconds) if seconds else "",
            )
        return table

    def _workers(self, now: Moment, before: Moment) -> Table:
        table = Table(box=None, width=self._width, pad_edge=False)
        table.add_column("worker", no_wrap=True, min_width=len("count_tokens"))
        table.add_column("", ratio=1)
        for heading in ("CPU", "memory"):
            table.add_column(heading, justify="right", no_wrap=True, min_width=9)
        seconds = now.seconds - before.seconds
        cpu = {
            worker: max(0.0, used - before.metrics.cpu.get(worker, used)) / seconds * 100
            for worker, used in now.metrics.cpu.items()
            if seconds
        }
        names = list(now.metrics.memory)
        for worker in names[:MOST_WORKERS]:
            busy = cpu.get(worker, 0.0)
            memory = formats.size(now.metrics.memory[worker])
            table.add_row(worker, ProgressBar(total=100, completed=busy), f"{busy:.0f} %", memory)
        if rest := names[MOST_WORKERS:]:
            busy = sum(cpu.get(worker, 0.0) for worker in rest)
            memory = formats.size(sum(now.metrics.memory[worker] for worker in rest))
            bar = ProgressBar(total=100 * len(rest), completed=busy)
            table.add_row(f"{len(rest)} more", bar, f"{busy:.0f} %", memory)
        return table


def make_display(console: Console, plan: UpPlan, *, json: bool) -> Display:
    """The display that fits where the output goes."""
    if json:
        return Display()
    if console.is_terminal and not console.is_dumb_terminal:
        return LiveDisplay(console, plan)
    return LineDisplay()


def where_heori_is() -> list[str]:
    """What a shell is to be told first if it does not find the command."""
    folder = Path(sys.executable).parent
    if shutil.which("heori") is not None or not (folder / "heori").exists():
        return []
    return [f"  export PATH={shlex.quote(str(folder))}:$PATH"]


# Of the server of the run nothing is left.
_NEXT = (
    "  export HEORI_REDIS_URL=redis://localhost:6379/0",
    "  export HEORI_TASKS=heori.examples.tasks",
    "  heori consume --queue stdlib",
    "  heori send heori.examples.tasks.digest --args '[\"os.py\"]' --wait",
    "  heori serve              # the page; in a terminal: heori top",
)


def report(console: Console, plan: UpPlan, result: RunResult, *, json: bool) -> None:
    """Print what came of a run: as one JSON object, or as a table and what to know about it."""
    if json:
        say_json(_as_json(plan, result))
        return
    total = result.total
    rate = total.done / result.seconds if result.seconds else 0.0
    done = f"{formats.counted(total.done, 'job')} done in {formats.duration(result.seconds)}"
    done = f"{done}: {formats.count(rate)} a second"
    console.print(Text(str(plan), style="bold"), Text(done), sep="\n")
    console.print(_summary(result))
    console.print(*map(Text, _notes(result)), sep="\n")
    next_words = ("", "Next, with a Redis of your own and in a terminal for each:")
    console.print(*map(Text, (*next_words, *where_heori_is(), *_NEXT)), sep="\n")


def _summary(result: RunResult) -> Table:
    shown = [name for name in COUNTED if name != "unfinished" or result.interrupted]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_footer=True)
    table.add_column("task", "all", no_wrap=True)
    for name in shown:
        heading = "left" if name == "unfinished" else name  # a long word for 80 columns
        footer = formats.count(getattr(result.total, name))
        table.add_column(heading, footer, justify="right", no_wrap=True)
    table.add_column("result", justify="right", no_wrap=True)
    for task, count in result.counts.items():
        unit = "MB" if UNITS[task] == "bytes" else f"M {UNITS[task]}"
        amount = f"{count.amount / 1e6:,.1f} {unit}"
        table.add_row(task, *(formats.count(getattr(count, name)) for name in shown), amount)
    return table


def _notes(result: RunResult) -> Iterator[str]:
    total = result.total
    yield (
        "Counted in Redis, job by job; the consumer's own metrics say the same."
        if result.agrees
        else "Counted in Redis, job by job; the consumer's own metrics say otherwise."
    )
    if result.interrupted:
        yield f"It was stopped with {formats.count(total.unfinished)} jobs not done yet."
    if result.failure:
        yield f"A job that failed: {result.failure}"


def _as_json(plan: UpPlan, result: RunResult) -> dict[str, Any]:
    def counted(count: Count) -> dict[str, int]:
        return {name: getattr(count, name) for name in COUNTED}

    return {
        **counted(result.total),
        "agrees": result.agrees,
        "interrupted": result.interrupted,
        "seconds": round(result.seconds, 2),
        "model": plan.model,
        "processes": plan.processes,
        "slots": plan.slots,
        "files": plan.files,
        "tasks": {
            task: {**counted(count), UNITS[task]: count.amount}
            for task, count in result.counts.items()
        },
    }
