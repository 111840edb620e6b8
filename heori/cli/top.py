"""`heori top`: queues, consumers, jobs, workers, tasks, locks and the schedule, live."""

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.table import Table

from heori import formats
from heori.cli.console import JsonOption, read_duration, tell_unreadable
from heori.cli.ending import guarded, refuse
from heori.inspect.overview import compare
from heori.inspect.reader import RedisReader
from heori.plain import say_json
from heori.terminal import Console, Name, Text
from heori.top.feed import Snapshot, take_snapshot
from heori.top.table import Column, Row, View, plain
from heori.top.table import Table as Rows
from heori_common.protocol.keys import Keys
from heori_common.redis.client import RedisClient
from heori_common.settings import Settings

MOST_ROWS = 12  # of one table; the others are counted in its last line


def top(
    *,
    every: Annotated[
        str, typer.Option(help="The time between two readings, such as 500ms or 2s.")
    ] = "1s",
    once: Annotated[bool, typer.Option("--once", help="Read twice, print once, and end.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Watch queues, consumers, jobs, workers, tasks, locks and the schedule; q ends it.

    On a terminal it is for use: ? lists its keys, to filter, sort, look at one thing, pause a queue
    and stop a job. It goes on while Redis is away, and says so.

    It reads Redis, and the /metrics of every consumer that it can reach within a second or two. A
    worker's bar shows how its busy threads spent their time: running (green), waiting for the GIL
    (red), or waiting for anything else (blue). GIL loss is the share of the possible throughput
    that waiting for the GIL costs. A task's speed-up is an estimate: how many times as many of its
    jobs would be done by processes in place of these threads.

    The exit code of --once and --json, which are meant where there is no terminal, is 1 when
    something in Redis cannot be read. It is named, and the rest is shown.
    """
    settings = Settings()
    pause = read_duration("--every", every)
    if not 0.1 <= pause <= 3600:
        refuse(f"--every {every}: between 100ms and 1h")
    keys = Keys(settings.key_prefix)

    def watch() -> None:
        with RedisClient(settings.redis_url) as client:
            first = take_snapshot(RedisReader(client, keys))
            if not once and not as_json and sys.stdin.isatty() and sys.stdout.isatty():
                raise typer.Exit(_live(client, settings, pause, first))
            time.sleep(max(0.0, first.reading.at + pause - time.monotonic()))
            reader = RedisReader(client, keys)
            now = take_snapshot(reader, first)
            if as_json:
                overview = asdict(compare(first.reading, now.reading))
                entries = [entry.record() for entry in now.entries or ()]
                say_json({**overview, "schedule": entries})
            else:
                Console().print(_draw(now.since(first, client.address)))
            tell_unreadable(reader)

    guarded(watch)


def _live(client: RedisClient, settings: Settings, pause: float, first: Snapshot) -> int:
    """Show it until a person has seen enough; returns the exit code."""
    # Nothing else needs Textual, which takes long to load.
    from heori.top.app import TopApp  # noqa: PLC0415

    app = TopApp(client, settings, pause, first)
    return app.run() or app.return_code or 0


def _draw(view: View) -> RenderableType:
    parts: list[RenderableType] = [Text(view.heading, style="bold")]
    for rows in view.tables.values():
        if rows.rows and rows.name != "jobs":  # which are others a moment later
            parts += ["", _table(rows)]
    for line in view.notices:
        parts += ["", Text(line, "bold yellow")]
    return Group(*parts)


def _table(rows: Rows) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    shown = [number for number, width in enumerate(rows.widths) if width]
    for number in shown:
        _add_column(table, rows.columns[number], is_first=number == 0)
    for row in _first(rows.rows):
        name, *others = (row.cells[number] for number in shown)
        table.add_row(Name(plain(name)), *others)
    if len(rows.rows) > MOST_ROWS:
        table.add_row(Text(f"and {formats.count(len(rows.rows) - MOST_ROWS)} more", style="dim"))
    return table


def _add_column(table: Table, column: Column, *, is_first: bool) -> None:
    # On a narrow terminal names are cut, and never figures.
    table.add_column(
        column.heading,
        justify="right" if column.kind == "figure" else "left",
        no_wrap=not is_first,
        min_width=4 if is_first else max(7, len(column.heading)),
    )


def _first(rows: Sequence[Row]) -> Sequence[Row]:
    """As they come; of more than there is room for, those where most happens."""
    if len(rows) <= MOST_ROWS:
        return rows
    return sorted(rows, key=lambda row: row.weight, reverse=True)[:MOST_ROWS]
