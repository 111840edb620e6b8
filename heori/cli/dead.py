"""`heori dead`: look at dead letters; `dead_change` puts them back on their queues, and deletes."""

import heapq
import json
import math
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.console import Group as Lines
from rich.console import RenderableType

from heori import formats
from heori.cli.console import JsonOption, told_moment
from heori.cli.dead_change import purge, replay
from heori.cli.dead_options import (
    ErrorOption,
    MetaOption,
    OlderOption,
    QueueOption,
    SearchOption,
    TaskOption,
    chosen,
    open_letters,
    progress_bar,
)
from heori.cli.drawing import list_table, print_fields
from heori.cli.ending import refuse
from heori.inspect.dead_choice import Choice
from heori.inspect.dead_groups import DeadGroups, count, grouping
from heori.inspect.dead_letters import DeadLetters, Entry
from heori.inspect.dead_record import details, summary
from heori.inspect.dead_sweep import Sweep
from heori.plain import say, say_json
from heori.terminal import Console, Name, Text
from heori_common.errors import cut
from heori_common.protocol.dead_letter import DeadLetter

LETTERS_AT_ONCE = 50  # that are read in full in one round trip
DAY_S = 86_400.0
UNREAD = "a call that cannot be read"
BLOCKS = " ▁▂▃▄▅▆▇█"  # a bar of each height

LABELS = {
    "args": "arguments",
    "kwargs": "keywords",
    "description": "call",
    "worker_name": "consumer",
    "death_signal": "killed by",
    "oom_kill": "out of memory",
    "last_log": "last output",
}

app = typer.Typer(
    help="Look at dead letters, replay them, delete them.\n\n"
    "A dead letter is a job that failed, that was stopped, or whose worker died each time it was "
    "delivered. It stays in RQ's failed registry, rq:failed:QUEUE, until it expires.",
    no_args_is_help=True,
)

app.command()(replay)
app.command()(purge)


@app.command("list")
def list_letters(
    *,
    queue: QueueOption = None,
    task: TaskOption = None,
    older: OlderOption = None,
    error: ErrorOption = None,
    search: SearchOption = None,
    meta: MetaOption = None,
    group: Annotated[
        bool,
        typer.Option("--group", help="Count them by task and error instead, the most first."),
    ] = False,
    limit: Annotated[
        int,
        typer.Option(min=1, max=1_000_000, help="How many to show, at most: letters, or groups."),
    ] = 50,
    as_json: JsonOption = False,
) -> None:
    """List dead letters, the latest first, each with its reason in one line.

    With --group it counts them by task and error instead. In an error # stands for each number and
    id, and the bars tell how many failed in each two hours of the last day.

    With --json it prints one object a line. The exit code is 1 when something in Redis cannot be
    read. It is named, with --json in a last object of its own, and the rest is shown.
    """
    choice = chosen(task, error, search, older, meta)

    def work(letters: DeadLetters) -> None:
        show_all = _groups if group else _latest
        shown, total = show_all(letters, choice(letters), limit, as_json=as_json)
        if as_json and letters.reader.unreadable:
            say_json({"unreadable": letters.reader.unreadable})
        if total == 0 and not letters.reader.unreadable:
            say(f"no dead letters found at {letters.address}", error=True)
        elif total > shown:
            more = formats.count(total - shown)
            say(f"… and {more} more; --limit shows them", error=True)

    open_letters(queue, work)


@app.command()
def show(
    job: Annotated[str, typer.Argument(metavar="ID", help="The id of a dead letter.")],
    *,
    queue: QueueOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one dead letter: its call, times, traceback, and how its worker died.

    The exit code is 1 when it may be in what cannot be read of Redis, which is named.
    """

    def work(letters: DeadLetters) -> None:
        entry = next((found[0] for found in letters.find([job])), None)
        if entry is None and letters.reader.unreadable:  # it may be there
            if as_json:
                say_json({"id": job, "unreadable": letters.reader.unreadable})
            return
        if entry is None:
            refuse(f"{job} is not among the dead letters at {letters.address}")
        for _, letter in letters.read([entry]):
            if as_json:
                say_json(details(letter, letters), default=repr)
            else:
                print_fields(_fields(details(letter, letters), letters.now))

    open_letters(queue, work)


def _latest(letters: DeadLetters, choice: Choice, limit: int, *, as_json: bool) -> tuple[int, int]:
    """Show the letters themselves; returns how many of how many."""
    newest: list[tuple[float, Entry]] = []
    total = 0
    with progress_bar(letters) as advance:
        for stretch in Sweep(letters, choice).whole():
            rows = [(_when(letter), Entry.of(letter)) for letter in stretch.found]
            total += len(rows)
            newest = heapq.nlargest(limit, [*newest, *rows])
            advance(stretch.searched)
    console = Console()
    for first in range(0, len(newest), LETTERS_AT_ONCE):
        for _, letter in letters.read(
            [entry for _, entry in newest[first : first + LETTERS_AT_ONCE]]
        ):
            if as_json:
                say_json(summary(letter, letters))
            else:
                console.print(_lines(letter, letters), soft_wrap=True)
    return (len(newest), total)


def _groups(letters: DeadLetters, choice: Choice, limit: int, *, as_json: bool) -> tuple[int, int]:
    """Show how many there are of each task and error; returns how many kinds of how many."""
    groups = DeadGroups()
    sweep = grouping(letters, choice)
    with progress_bar(letters) as advance:
        for searched in count(sweep, sweep.whole(), groups, DAY_S):
            advance(searched)
    found = groups.largest_first
    table = list_table(numbers=("count",))
    for heading in ("latest", "24 h", "task, error"):
        table.add_column(heading, no_wrap=True)
    for each in found[:limit]:
        if as_json:
            say_json(each.record())
            continue
        latest = "?" if each.newest is None else formats.age(sweep.began - each.newest)
        named = Lines(Name(each.task or UNREAD), Name(each.error))
        table.add_row(formats.count(each.count), Text(latest), Text(_bars(each.bars)), named)
    if found and not as_json:
        Console().print(table)
    if groups.others:
        say(f"{formats.count(groups.others)} letters are of further kinds", error=True)
    return (min(limit, len(found)), len(found))


def _bars(counts: Sequence[int]) -> str:
    """A bar for each two counts; the least of them can be seen."""
    pairs = [one + other for one, other in zip(counts[::2], counts[1::2], strict=True)]
    most = max(pairs)
    return "".join(BLOCKS[math.ceil(pair / max(1, most) * (len(BLOCKS) - 1))] for pair in pairs)


def _when(letter: DeadLetter) -> float:
    return letter.failed_at.timestamp() if letter.failed_at else 0.0


def _lines(letter: DeadLetter, letters: DeadLetters) -> RenderableType:
    """The same for people: two lines, as an id must not be cut off."""
    told = summary(letter, letters)
    failed = letter.failed_at
    when = formats.moment(failed) if failed else "no time"
    task = told["task"] or ("?" if letter.damage else _unread(letter, told["problem"]))
    deliveries = told["deliveries"]
    often = (
        ""
        if deliveries is None
        else f" after {formats.counted(deliveries, 'delivery', 'deliveries')}"
    )
    if told["restarts"]:
        often += f" and {formats.counted(told['restarts'], 'restart')}"
    return Text.assemble(
        (letter.id, "bold"),
        f"  {when}  {letter.queue}  {task}  {letter.ending}{often}",
        Text("\n", lines=True),
        (f"    {letter.reason}", "dim"),
    )


def _unread(letter: DeadLetter, problem: str) -> str:
    """What its sender says of a letter that cannot be read, and why it cannot."""
    description = letter.text("description")
    return (
        f"{cut(description)} (unreadable: {problem})" if description else f"unreadable: {problem}"
    )


def _fields(told: dict[str, Any], now: float) -> dict[str, str]:
    """The same for people; what is not known is left out.

    Args:
        now: the server's time, in epoch seconds.
    """
    fields: dict[str, str] = {}
    evidence: dict[str, Any] = told.pop("evidence")
    if isinstance(peak := evidence.get("peak_memory"), int):
        evidence["peak_memory"] = formats.size(peak)
    traceback = {"traceback": told.pop("traceback")}
    for name, value in {**told, **evidence, **traceback}.items():
        if value is None or value in ([], {}):
            continue
        text = value if isinstance(value, str) else json.dumps(value, default=repr)
        label = LABELS.get(name, name.replace("_", " "))
        fields[label] = told_moment(text, now) if name.endswith("_at") else text
    return fields
