"""What a reading looks like to people: a table of each kind of thing.

`heori top` shows them in panes, and `heori top --once` prints them.
"""

import re
import time
from collections.abc import Iterable, Sequence

from heori import formats
from heori.inspect.overview import (
    ConsumerRow,
    LockRow,
    Overview,
    QueueRow,
    TaskRow,
    WorkerRow,
)
from heori.inspect.queues import describe_standstills
from heori.inspect.schedule import EntryView
from heori.terminal import Text
from heori.top.jobs import MOST_JOBS, ClaimedJob
from heori.top.table import Cell, Column, Row, Value, View, make_row, make_table

BAR_WIDTH = 12  # characters
MOST_UNREADABLE = 5  # keys that are named
# What a busy thread does, in the order and colour in which a bar shows it.
STATES = {
    "running": "green",
    "gil_wait": "red",
    "io_wait": "blue",
    "wait": "magenta",
}
_NO_SCHEDULE = "This user of Redis may not read the schedule: that takes a script."
_MODULE = re.compile(r"^(?:\w+\.)+(?=\w+\()")
_BAD, _LOOK = "bold red", "bold yellow"


def make_view(
    overview: Overview,
    address: str,
    jobs: Sequence[ClaimedJob],
    entries: Sequence[EntryView] | None,
) -> View:
    """Make a view of what was read.

    Args:
        jobs: those that were claimed, or some of them.
        entries: of the schedule; None when they may not be read.
    """
    paused = {
        ("task" if each.kind == "task" else "queue", each.name) for each in overview.held.paused
    }
    claimed = len(jobs)
    if claimed == MOST_JOBS:  # there may be more
        claimed = max(claimed, sum(row.running or 0 for row in overview.queues))
    tables = (
        make_table("queues", _QUEUES, (_queue(row, paused) for row in overview.queues)),
        make_table("consumers", _CONSUMERS, map(_consumer, overview.consumers)),
        make_table("jobs", _JOBS, map(_job, jobs), claimed),
        make_table("workers", _WORKERS, map(_worker, overview.workers)),
        make_table("tasks", _TASKS, (_task(row, paused) for row in overview.tasks)),
        make_table("locks", _LOCKS, map(_lock, overview.locks)),
        make_table("schedule", _SCHEDULE, map(_entry, entries or ())),
    )
    return View(
        _heading(overview, address),
        [*_notices(overview), *([] if entries is not None else [_NO_SCHEDULE])],
        {table.name: table for table in tables},
        paused,
    )


def _heading(overview: Overview, address: str) -> str:
    rate = formats.count(sum(row.jobs_per_second for row in overview.consumers))
    waiting = formats.count(sum(row.waiting or 0 for row in overview.queues))
    running = formats.count(sum(row.running for row in overview.consumers))
    slots = formats.count(sum(row.slots for row in overview.consumers))
    expired = sum(row.expired for row in overview.queues)
    late = f"{formats.count(expired)} expired · " if expired else ""
    return (
        f"{address} · {rate} jobs/s · {waiting} waiting · {running} of {slots} slots run · {late}"
        f"{time.strftime('%H:%M:%S')}"
    )


def _notices(overview: Overview) -> Iterable[str]:
    if overview.answered < overview.asked:
        answered, asked = formats.count(overview.answered), formats.count(overview.asked)
        said = f"{answered} of {asked} consumers answered in {overview.within:.1f} s"
        yield f"{said}; what follows is theirs."
    yield from overview.held.lines()
    yield from describe_standstills(
        {row.consumer: row.waits_for for row in overview.consumers if row.waits_for}
    )
    for key, why in list(overview.unreadable.items())[:MOST_UNREADABLE]:
        yield f"{key} cannot be read: {why}; see `heori doctor`"
    if not overview.consumers:
        yield "No consumer is there; start one with `heori consume`."


_QUEUES = (
    Column("queue", "name"),
    Column("waiting"),
    Column("oldest", spare=2),
    Column("claimed"),
    Column("scheduled", spare=3),
    Column("dead"),
    Column("limit", spare=4),
    Column("blocked", spare=5),
    Column("state", "word"),
)


def _queue(row: QueueRow, paused: set[tuple[str, str]]) -> Row:
    return make_row(
        (row.queue,),
        row,
        (row.queue, row.queue),
        (formats.count_or_unknown(row.waiting), row.waiting),
        _duration(row.oldest if row.waiting else None),
        (formats.count_or_unknown(row.running), row.running),
        (formats.count_or_unknown(row.scheduled), row.scheduled),
        (_bad(formats.count_or_unknown(row.failed), when=bool(row.failed)), row.failed),
        ("" if row.limit is None else formats.count(row.limit), row.limit),
        (Text(formats.count(row.blocked), _LOOK) if row.blocked else "", row.blocked),
        _paused(is_paused=("queue", row.queue) in paused),
        weight=(row.waiting or 0, row.running or 0),
    )


_CONSUMERS = (
    Column("consumer", "name"),
    Column("model", "word", spare=3),
    Column("state", "word"),
    Column("slots"),
    Column("jobs/s"),
    Column("cores", spare=2),
)


def _consumer(row: ConsumerRow) -> Row:
    waiting = f" +{row.waiting} wait" if row.waiting else ""
    model = f"{row.model} {formats.pool(row.size)}".strip() if row.answers else "no metrics"
    figures: tuple[tuple[Cell, Value], ...] = (("", None),) * 3
    if row.answers:
        figures = (
            (f"{row.running} of {row.slots}{waiting}", row.running),
            (formats.count(row.jobs_per_second), row.jobs_per_second),
            (formats.cores(row.cores), row.cores),
        )
    return make_row(
        (row.consumer,),
        row,
        (row.consumer, row.consumer),
        (model, model),
        (row.state, row.state),
        *figures,
        weight=(row.jobs_per_second, row.running),
    )


_JOBS = (
    Column("job", "name"),
    Column("queue", "name", spare=1),
    Column("consumer", "name", spare=2),
    Column("slot", "word", spare=3),
    Column("GIL loss", spare=5),
    Column("for"),
    Column("progress", spare=4),
    Column("id", "name", spare=6),
)


def _job(job: ClaimedJob) -> Row:
    return make_row(
        (job.queue, job.id),
        job,
        (_without_module(job.call), job.call),
        (job.queue, job.queue),
        (job.consumer, job.consumer),
        (job.slot, job.slot),
        _loss(job.gil_loss),
        _duration(job.seconds),
        ("" if job.progress is None else formats.share(job.progress), job.progress),
        (job.id, job.id),
    )


_WORKERS = (
    Column("worker", "name"),
    Column("", "word"),
    Column("running", spare=3),
    Column("GIL wait", spare=2),
    Column("other", spare=4),
    Column("GIL loss"),
    Column("cores"),
    Column("memory", spare=1),
)


def _worker(row: WorkerRow) -> Row:
    other = row.states.get("io_wait", 0.0) + row.states.get("wait", 0.0)
    shares = (row.states.get("running", 0.0), row.states.get("gil_wait", 0.0), other)
    name = f"{row.worker} of {row.consumer}"
    return make_row(
        (row.consumer, row.worker.zfill(9)),  # so that 10 comes after 9
        row,
        (name, name),
        (_bar(row), shares[0] if row.states else None),
        *((formats.share(part), part) if row.states else ("", None) for part in shares),
        (formats.NO_GIL, 0.0) if row.gil_enabled is False else _loss(row.gil_loss),
        (formats.cores(row.cores), row.cores),
        (formats.size(row.memory), row.memory),
        weight=(row.cores,),
    )


def _bar(row: WorkerRow) -> Text:
    bar, drawn, end = Text(), 0, 0.0
    for state, colour in STATES.items():
        end += row.states.get(state, 0.0) * BAR_WIDTH
        bar.append("█" * (round(end) - drawn), style=colour)
        drawn = max(drawn, round(end))
    return bar


_TASKS = (
    Column("task", "name"),
    Column("done"),
    Column("failed"),
    Column("jobs/s"),
    Column("run"),
    Column("CPU", spare=3),
    Column("queued", spare=2),
    Column("speed-up", spare=1),
    Column("state", "word", spare=4),
)


def _task(row: TaskRow, paused: set[tuple[str, str]]) -> Row:
    name = " · ".join(reversed(row.task.rpartition(".")[::2]))
    return make_row(
        (row.task,),
        row,
        (name, name),
        (formats.count(row.done), row.done),
        (_bad(formats.count(row.failed), when=bool(row.failed)), row.failed),
        (formats.count(row.jobs_per_second), row.jobs_per_second),
        _duration(row.run),
        _duration(row.cpu),
        _duration(row.queued),
        ("" if row.speedup is None else formats.times(row.speedup), row.speedup),
        _paused(is_paused=("task", row.task) in paused),
        weight=(row.jobs_per_second,),
    )


_LOCKS = (
    Column("lock", "name"),
    Column("kind", "word", spare=2),
    Column("waiting"),
    Column("acquired/s", spare=1),
    Column("wait"),
    Column("hold"),
)


def _lock(row: LockRow) -> Row:
    return make_row(
        (row.lock, row.kind),
        row,
        (row.lock, row.lock),
        (row.kind, row.kind),
        (Text(formats.count(row.waiters), "yellow" if row.waiters else ""), row.waiters),
        (formats.count(row.acquired_per_second), row.acquired_per_second),
        _duration(row.wait),
        _duration(row.hold),
        weight=(row.waiters, row.acquired_per_second),
    )


_SCHEDULE = (
    Column("entry", "name"),
    Column("timing", "name", spare=2),
    Column("state", "word"),
    Column("next"),
    Column("last", spare=1),
    Column("outcome", "word"),
    Column("missed", spare=3),
)


def _entry(entry: EntryView) -> Row:
    style = {"paused": _LOOK, "nobody": _BAD}.get(entry.state, "")
    name, timing = entry.entry.name, entry.entry.timing_text
    ahead, ago = entry.ahead, entry.ago
    return make_row(
        (name,),
        entry,
        (name, name),
        (timing, timing),
        (Text(entry.state, style), entry.state),
        ("" if ahead is None else formats.age(-ahead), ahead),
        ("" if ago is None else formats.age(ago), ago),
        (_bad(entry.outcome, when=entry.outcome in ("failed", "stopped")), entry.outcome),
        (formats.count(entry.missed) if entry.missed else "", entry.missed),
        weight=(0.0 if ahead is None else -ahead,),
    )


def _without_module(call: str) -> str:
    """As Heori and rq describe calls, with their arguments; the module is among the details."""
    return _MODULE.sub("", call, count=1)


def _loss(loss: float | None) -> tuple[Cell, Value]:
    if loss is None:
        return "", None
    colour = "bold red" if loss > 0.3 else "yellow" if loss > 0.1 else "green"
    return Text(formats.share(loss), colour), loss


def _bad(text: str, *, when: bool) -> Text:
    return Text(text, _BAD if when else "")


def _paused(*, is_paused: bool) -> tuple[Cell, Value]:
    return (Text("paused", _LOOK), "paused") if is_paused else ("", "")


def _duration(seconds: float | None) -> tuple[Cell, Value]:
    return "" if seconds is None else formats.duration(seconds), seconds
