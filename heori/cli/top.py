"""`heori top`: queues, consumers, workers, tasks and locks, live."""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table

from heori import formats
from heori.cli.console import JsonOption, guarded, read_duration, refuse, tell_unreadable
from heori.inspect.overview import (
    ConsumerRow,
    Overview,
    QueueRow,
    Reading,
    WorkerRow,
    compare,
    take_reading,
)
from heori.inspect.queues import describe_standstills
from heori.inspect.reader import RedisReader
from heori.terminal import Console, Text, say_json
from heori_common.protocol.keys import Keys
from heori_common.redis.client import RedisClient
from heori_common.redis.errors import RedisRefused, RedisUnavailable
from heori_common.settings import Settings

BAR_WIDTH = 12  # characters
MOST_ROWS = 12  # of one table; the others are counted in its last line
MOST_UNREADABLE = 5  # keys that are named
# What a busy thread does, in the order and colour in which a bar shows it.
STATES = {
    "running": "green",
    "gil_wait": "red",
    "io_wait": "blue",
    "wait": "magenta",
}


def top(
    *,
    every: Annotated[
        str, typer.Option(help="The time between two readings, such as 500ms or 2s.")
    ] = "1s",
    once: Annotated[bool, typer.Option("--once", help="Read twice, print once, and end.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Watch queues, consumers, workers, tasks and locks; Ctrl-C ends it.

    It reads Redis, and the /metrics of every consumer that it can reach within a second or two. A
    worker's bar shows how its busy threads spent their time: running (green), waiting for the GIL
    (red), or waiting for anything else (blue). GIL loss is the share of the possible throughput
    that waiting for the GIL costs. A task's speed-up is an estimate: how many times as many of its
    jobs would be done by processes in place of these threads.

    On a terminal it goes on while Redis is away, and says so. The exit code of --once and --json is
    1 when something in Redis cannot be read. It is named, and the rest is shown.
    """
    settings = Settings()
    pause = read_duration("--every", every)
    if not 0.1 <= pause <= 3600:
        refuse(f"--every {every}: between 100ms and 1h")
    keys = Keys(settings.key_prefix)

    def watch() -> None:
        with RedisClient(settings.redis_url) as client:
            if not once and not as_json and sys.stdout.isatty():
                _live(client, keys, pause)
            before = take_reading(RedisReader(client, keys))
            time.sleep(_left(pause, before))
            reader = RedisReader(client, keys)
            overview = compare(before, take_reading(reader, before))
            if as_json:
                say_json(asdict(overview))
            else:
                Console().print(_draw(overview, client.address))
            tell_unreadable(reader)

    guarded(watch)


def _live(client: RedisClient, keys: Keys, pause: float) -> NoReturn:
    """Draw until Ctrl-C. What Redis refuses at the start ends it; later it goes on."""
    before = take_reading(RedisReader(client, keys))
    shown: RenderableType = Text("reading …")
    with Live(shown, console=Console(), auto_refresh=False, screen=True) as live:
        while True:
            time.sleep(_left(pause, before))
            try:
                now = take_reading(RedisReader(client, keys), before)
            except (RedisUnavailable, RedisRefused) as error:
                trouble = Text(f"{error}; trying again. What follows was before.", "bold red")
                live.update(Group(trouble, "", shown), refresh=True)
                time.sleep(pause)
                continue
            shown = _draw(compare(before, now), client.address)
            live.update(shown, refresh=True)
            before = now


def _left(pause: float, before: Reading) -> float:
    """Seconds until the next reading, as the last one may have taken long itself."""
    return max(0.0, before.at + pause - time.monotonic())


def _draw(overview: Overview, address: str) -> RenderableType:
    rate = formats.count(sum(row.jobs_per_second for row in overview.consumers))
    waiting = formats.count(sum(row.waiting or 0 for row in overview.queues))
    running = formats.count(sum(row.running for row in overview.consumers))
    slots = formats.count(sum(row.slots for row in overview.consumers))
    expired = sum(row.expired for row in overview.queues)
    late = f"{formats.count(expired)} expired · " if expired else ""
    heading = Text(
        f"{address} · {rate} jobs/s · {waiting} waiting · {running} of {slots} slots run · {late}"
        f"{time.strftime('%H:%M:%S')}",
        style="bold",
    )
    parts: list[RenderableType] = [heading]
    if overview.answered < overview.asked:
        answered, asked = formats.count(overview.answered), formats.count(overview.asked)
        said = f"{answered} of {asked} consumers answered in {overview.within:.1f} s"
        parts.append(Text(f"{said}; what follows is theirs.", "bold yellow"))
    for table in (
        _table(
            ("queue", "waiting", "oldest", "claimed", "scheduled", "dead", "limit", "blocked"),
            _fullest(overview.queues),
            lambda row: (
                row.queue,
                formats.count_or_unknown(row.waiting),
                _duration(row.oldest if row.waiting else None),
                formats.count_or_unknown(row.running),
                formats.count_or_unknown(row.scheduled),
                Text(formats.count_or_unknown(row.failed), style="bold red" if row.failed else ""),
                "" if row.limit is None else formats.count(row.limit),
                Text(formats.count(row.blocked) if row.blocked else "", style="bold yellow"),
            ),
        ),
        _table(
            ("consumer", "model", "state", "slots", "jobs/s", "cores"),
            _busiest(overview.consumers),
            lambda row: (
                row.consumer,
                row.model if row.answers else "no metrics",
                row.state,
                _slots(row) if row.answers else "",
                formats.count(row.jobs_per_second) if row.answers else "",
                formats.cores(row.cores) if row.answers else "",
            ),
        ),
        _table(
            ("worker", "", "running", "GIL wait", "other", "GIL loss", "cores", "memory"),
            sorted(overview.workers, key=lambda row: -row.cores),
            _worker,
        ),
        _table(
            ("task", "done", "failed", "jobs/s", "run", "CPU", "queued", "speed-up"),
            overview.tasks,
            lambda row: (
                " · ".join(reversed(row.task.rpartition(".")[::2])),
                formats.count(row.done),
                Text(formats.count(row.failed), style="bold red" if row.failed else ""),
                formats.count(row.jobs_per_second),
                _duration(row.run),
                _duration(row.cpu),
                _duration(row.queued),
                "" if row.speedup is None else formats.times(row.speedup),
            ),
        ),
        _table(
            ("lock", "kind", "waiting", "acquired/s", "wait", "hold"),
            overview.locks,
            lambda row: (
                row.lock,
                row.kind,
                Text(formats.count(row.waiters), style="yellow" if row.waiters else ""),
                formats.count(row.acquired_per_second),
                _duration(row.wait),
                _duration(row.hold),
            ),
        ),
    ):
        if table is not None:
            parts += ["", table]
    at_standstill = {row.consumer: row.waits_for for row in overview.consumers if row.waits_for}
    for line in (*overview.held.lines(), *describe_standstills(at_standstill)):
        parts += ["", Text(line, "bold yellow")]
    for key, why in list(overview.unreadable.items())[:MOST_UNREADABLE]:
        parts += ["", Text(f"{key} cannot be read: {why}; see `heori doctor`", "bold yellow")]
    if not overview.consumers:
        parts += ["", "No consumer is there; start one with `heori consume`."]
    return Group(*parts)


def _fullest(queues: Sequence[QueueRow]) -> Sequence[QueueRow]:
    """As they come; of more than there are rows for, those where most wait or run first."""
    if len(queues) <= MOST_ROWS:
        return queues
    return sorted(queues, key=lambda row: (-(row.waiting or 0), -(row.running or 0), row.queue))


def _busiest(consumers: Sequence[ConsumerRow]) -> Sequence[ConsumerRow]:
    """As they come; of more than there are rows for, those first that do most."""
    if len(consumers) <= MOST_ROWS:
        return consumers
    return sorted(consumers, key=lambda row: (-row.jobs_per_second, -row.running, row.consumer))


def _table(
    headings: Sequence[str], rows: Sequence[Any], show: Callable[[Any], Sequence[RenderableType]]
) -> Table | None:
    if not rows:
        return None
    table = Table(box=None, pad_edge=False, header_style="dim")
    for number, heading in enumerate(headings):
        right = number > 0 and heading not in ("", "model", "state", "kind")
        # On a narrow terminal names are cut off, and never figures.
        table.add_column(
            heading,
            justify="right" if right else "left",
            no_wrap=number > 0,
            min_width=max(7, len(heading)) if number else 4,
        )
    for row in rows[:MOST_ROWS]:
        name, *figures = show(row)
        table.add_row(Text(str(name), no_wrap=True, overflow="ellipsis"), *figures)
    if len(rows) > MOST_ROWS:
        table.add_row(Text(f"and {formats.count(len(rows) - MOST_ROWS)} more", style="dim"))
    return table


def _slots(row: ConsumerRow) -> str:
    waiting = f" +{row.waiting} wait" if row.waiting else ""
    return f"{row.running} of {row.slots}{waiting}"


def _worker(row: WorkerRow) -> Sequence[RenderableType]:
    bar, drawn, end = Text(), 0, 0.0
    for state, colour in STATES.items():
        end += row.states.get(state, 0.0) * BAR_WIDTH
        bar.append("█" * (round(end) - drawn), style=colour)
        drawn = max(drawn, round(end))
    other = row.states.get("io_wait", 0.0) + row.states.get("wait", 0.0)
    loss = row.gil_loss
    colour = (
        "" if loss is None else "bold red" if loss > 0.3 else "yellow" if loss > 0.1 else "green"
    )
    return (
        f"{row.worker} of {row.consumer}",
        bar,
        *(
            formats.share(share) if row.states else ""
            for share in (row.states.get("running", 0.0), row.states.get("gil_wait", 0.0), other)
        ),
        Text("" if loss is None else formats.share(loss), style=colour),
        formats.cores(row.cores),
        formats.size(row.memory),
    )


def _duration(seconds: float | None) -> str:
    return "" if seconds is None else formats.duration(seconds)
