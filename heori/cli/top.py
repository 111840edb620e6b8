"""`heori top`: queues, consumers, workers, tasks and locks at a glance, live."""

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from heori.cli.console import JsonOption, duration, guarded, printable, read_settings, refuse
from heori.inspect.overview import Glance, WorkerRow, compare, read
from heori_common.protocol.commands import Commands
from heori_common.protocol.keys import Keys
from heori_common.redis.client import RedisClient

BAR = 12  # characters
MOST = 12  # rows of one table; what follows is summed up
# What a thread with a job does, in the order and colour in which a bar shows it.
STATES = {
    "running": "green",
    "gil_wait": "red",
    "io_wait": "blue",
    "wait": "magenta",
}


def top(
    *,
    every: Annotated[str, typer.Option(help="Time between two looks, such as 500ms or 2s.")] = "1s",
    once: Annotated[bool, typer.Option("--once", help="Look twice, print once, and end.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Watch queues, consumers, workers, tasks and locks; Ctrl-C ends it.

    It reads Redis and the /metrics of every consumer that it can reach. A worker's bar shows what
    its threads that had a job did: running (green), waiting for the GIL (red), for anything else
    (blue). GIL loss is the share of the possible throughput that waiting for the GIL costs, and a
    task's speed-up how many times as many of its jobs processes would do than these threads.
    """
    settings = read_settings()
    pause = duration("--every", every)
    if not 0.1 <= pause <= 3600:
        refuse(f"--every {every}: between 100ms and 1h")
    commands = Commands(Keys(settings.key_prefix))

    def watch() -> None:
        with RedisClient(settings.redis_url) as client:
            if once or as_json or not sys.stdout.isatty():
                before = read(client, commands)
                time.sleep(pause)
                glance = compare(before, read(client, commands))
                if as_json:
                    print(json.dumps(asdict(glance)))
                else:
                    Console().print(_draw(glance, client.address))
                return
            _live(client, commands, pause)

    guarded(watch)


def _live(client: RedisClient, commands: Commands, pause: float) -> None:
    with Live(Text("looking …"), auto_refresh=False, screen=True) as live:
        before = read(client, commands)
        while True:
            time.sleep(pause)
            now = read(client, commands)
            live.update(_draw(compare(before, now), client.address), refresh=True)
            before = now


def _draw(glance: Glance, address: str) -> RenderableType:
    rate = sum(row.jobs_per_second for row in glance.consumers)
    waiting = sum(row.waiting for row in glance.queues)
    running = sum(row.running for row in glance.consumers)
    slots = sum(row.slots for row in glance.consumers)
    heading = Text(
        f"{address} · {rate:,.0f} jobs/s · {waiting:,} waiting · {running:,} of {slots:,} slots "
        f"run · {time.strftime('%H:%M:%S')}",
        style="bold",
    )
    parts: list[RenderableType] = [heading]
    for table in (
        _table(
            ("queue", "waiting", "oldest", "running", "scheduled", "dead", "limit", "blocked"),
            glance.queues,
            lambda row: (
                printable(row.queue),
                f"{row.waiting:,}",
                _time(row.oldest) if row.waiting else "",
                f"{row.running:,}",
                f"{row.scheduled:,}",
                Text(f"{row.failed:,}", style="bold red" if row.failed else ""),
                "" if row.limit is None else f"{row.limit:,}",
                Text(f"{row.blocked:,}" if row.blocked else "", style="bold yellow"),
            ),
        ),
        _table(
            ("consumer", "model", "state", "slots", "jobs/s", "cores"),
            glance.consumers,
            lambda row: (
                printable(row.consumer),
                printable(row.model) if row.answers else "no metrics",
                printable(row.state),
                f"{row.running} of {row.slots}" if row.answers else "",
                f"{row.jobs_per_second:,.0f}" if row.answers else "",
                f"{row.cores:.2f}" if row.answers else "",
            ),
        ),
        _table(
            ("worker", "", "running", "GIL wait", "other", "GIL loss", "cores", "memory"),
            sorted(glance.workers, key=lambda row: -row.cores),
            _worker,
        ),
        _table(
            ("task", "done", "failed", "jobs/s", "run", "CPU", "queued", "speed-up"),
            glance.tasks,
            lambda row: (
                " · ".join(reversed(printable(row.task).rpartition(".")[::2])),
                f"{row.done:,}",
                Text(f"{row.failed:,}", style="bold red" if row.failed else ""),
                f"{row.jobs_per_second:,.0f}",
                _time(row.run),
                _time(row.cpu),
                _time(row.queued),
                "" if row.speedup is None else f"{row.speedup:.1f}",
            ),
        ),
        _table(
            ("lock", "kind", "waiting", "acquired/s", "wait", "hold"),
            glance.locks,
            lambda row: (
                printable(row.lock),
                row.kind,
                Text(f"{row.waiters:,}", style="yellow" if row.waiters else ""),
                f"{row.acquired_per_second:,.0f}",
                _time(row.wait),
                _time(row.hold),
            ),
        ),
    ):
        if table is not None:
            parts += ["", table]
    if not glance.consumers:
        parts += ["", "No consumer is there; start one with `heori consume`."]
    return Group(*parts)


def _table(
    headings: Sequence[str], rows: Sequence[Any], show: Callable[[Any], Sequence[RenderableType]]
) -> Table | None:
    if not rows:
        return None
    table = Table(box=None, pad_edge=False, header_style="dim")
    for number, heading in enumerate(headings):
        right = number > 0 and heading not in ("", "model", "state", "kind")
        # Where there is no room for all, names are cut, and not figures.
        table.add_column(
            heading,
            justify="right" if right else "left",
            no_wrap=number > 0,
            min_width=max(7, len(heading)) if number else 4,
        )
    for row in rows[:MOST]:
        name, *figures = show(row)
        table.add_row(Text(str(name), no_wrap=True, overflow="ellipsis"), *figures)
    if len(rows) > MOST:
        table.add_row(Text(f"and {len(rows) - MOST} more", style="dim"))
    return table


def _worker(row: WorkerRow) -> Sequence[RenderableType]:
    bar, drawn, end = Text(), 0, 0.0
    for state, colour in STATES.items():
        end += row.states.get(state, 0.0) * BAR
        bar.append("█" * (round(end) - drawn), style=colour)
        drawn = max(drawn, round(end))
    other = row.states.get("io_wait", 0.0) + row.states.get("wait", 0.0)
    loss = row.gil_loss
    colour = (
        "" if loss is None else "bold red" if loss > 0.3 else "yellow" if loss > 0.1 else "green"
    )
    return (
        f"{row.worker} of {printable(row.consumer)}",
        bar,
        *(
            f"{share:.0%}" if row.states else ""
            for share in (row.states.get("running", 0.0), row.states.get("gil_wait", 0.0), other)
        ),
        Text("" if loss is None else f"{loss:.0%}", style=colour),
        f"{row.cores:.2f}",
        f"{row.memory / 1e6:,.0f} MB",
    )


def _time(seconds: float | None) -> str:
    """Of the size that a person reads: 250 µs, 3.1 ms, 12.0 s, 2 h 05."""
    if seconds is None:
        return ""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 1:
        return f"{seconds * 1e3:.1f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes = int(seconds // 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02}"
