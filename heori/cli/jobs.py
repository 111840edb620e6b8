"""`heori jobs`: jobs by state, of a queue or task, or those that have a text."""

from collections.abc import Iterator
from typing import Annotated

import typer

from heori import formats
from heori.cli.console import JsonOption, tell_unreadable, told_moment
from heori.cli.drawing import LEAST_WIDTH
from heori.cli.ending import guarded, refuse
from heori.inspect.job_rows import JobRow
from heori.inspect.jobs import STATES, JobFilter, JobPage, list_jobs
from heori.inspect.reader import RedisReader
from heori.plain import say, say_json
from heori.terminal import Console, Text
from heori_common.errors import cut
from heori_common.protocol.keys import Keys
from heori_common.redis.client import RedisClient
from heori_common.settings import Settings

INDENT = "    "


def jobs(
    *,
    queue: Annotated[
        str | None,
        typer.Option(
            "--queue", "-q", help="Only this queue with its tenants, or orders@@acme for one."
        ),
    ] = None,
    state: Annotated[
        str | None, typer.Option("--state", help=f"Only these: {', '.join(STATES)}.")
    ] = None,
    task: Annotated[
        str | None,
        typer.Option("--task", metavar="TASK", help="Only this task, written module.function."),
    ] = None,
    search: Annotated[
        str | None,
        typer.Option(
            "--search",
            metavar="TEXT",
            help="Only jobs that have this in their id, call, arguments, meta or error.",
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many to show, at most.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """List jobs by state, or those of a task, or search them.

    What runs comes first, then what waits, next first, then what has ended, newest first. With
    --task or --search it looks at all jobs, a thousand at a time. With --json it prints one object
    a line. The exit code is 1 when something in Redis cannot be read. It is named, and the rest is
    shown.
    """
    if state is not None and state not in STATES:
        refuse(f"--state {cut(state)}: one of these is needed: {', '.join(STATES)}")
    settings = Settings()
    wanted = JobFilter(queue, state, task, search or None)

    def show() -> None:
        with RedisClient(settings.redis_url) as client:
            reader = RedisReader(client, Keys(settings.key_prefix))
            number = 0
            for page in _pages(reader, settings, wanted, limit):
                number += len(page.jobs)
                _print(page, as_json=as_json)
            if as_json and reader.unreadable:
                say_json({"unreadable": reader.unreadable})
            if number == 0 and not reader.unreadable:
                say(f"no such jobs found at {reader.address}", error=True)
            elif page.cursor is not None:
                left = formats.count(page.of - page.searched)
                say(f"… {left} more were not looked at; --limit shows more", error=True)
            tell_unreadable(reader)

    guarded(show)


def _pages(
    reader: RedisReader, settings: Settings, wanted: JobFilter, limit: int
) -> Iterator[JobPage]:
    """At least one, and then until there are so many jobs or no more."""
    left, cursor = limit, None
    while True:
        page = list_jobs(reader, settings, wanted, cursor, left)
        yield page
        left, cursor = left - len(page.jobs), page.cursor
        if cursor is None or left == 0:
            return


def _print(page: JobPage, *, as_json: bool) -> None:
    console = Console()
    for row in page.jobs:
        if as_json:
            say_json(row.record())
        else:
            console.print(*_lines(row, page.now, console.width), sep="\n", soft_wrap=True)


def _lines(row: JobRow, now: float, width: int) -> list[Text]:
    """A job for people: an id must not be cut off, and all else fits into the terminal."""
    moment = row.due_at or row.ended_at or row.started_at or row.enqueued_at or row.created_at
    age = told_moment(moment, now).partition(",")[0]
    told = row.error or row.waits_for
    room = max(LEAST_WIDTH, width - len(INDENT))
    shown = Text(row.id, "bold")
    shown.append(cut(f"  {row.status}  {age}  {row.queue}", max(LEAST_WIDTH, width - len(row.id))))
    lines = [Text(INDENT + cut(line, room), "dim") for line in (row.call or row.task, told) if line]
    return [shown, *lines]
