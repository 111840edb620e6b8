"""`heori dead`: look at dead letters, put them back on their queues, delete them."""

import heapq
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import RenderableType
from rich.progress import MofNCompleteColumn, Progress

from heori import formats
from heori.cli.console import (
    FAILED,
    JsonOption,
    guarded,
    print_fields,
    read_duration,
    refuse,
    tell_unreadable,
    told_moment,
)
from heori.inspect.dead_letters import PAGE, Action, Choice, DeadLetters, Entry
from heori.terminal import Console, Text, say, say_json
from heori_common.errors import cut
from heori_common.printable import printable
from heori_common.protocol.dead_letter import FAILED_AT_FIELDS, DeadLetter
from heori_common.protocol.meta import shown_meta
from heori_common.protocol.payload import BadPayload
from heori_common.redis.client import RedisClient
from heori_common.redis.errors import RedisRefused, RedisUnavailable
from heori_common.settings import Settings

LETTERS_AT_ONCE = 50  # that are read in full in one round trip

# Why a letter stays where it is, by the fate that the scripts return.
REASONS = {
    "absent": "not among the dead letters",
    "gone": "the job is gone and only its id is left, until it expires or is purged",
    "foreign": "the key of the job holds no hash",
    "elsewhere": "the job is not failed; it waits, runs or has ended otherwise",
    "unreadable": "a key of its queue holds something else",
}
SHOWN_FIELDS = (
    "description",
    "status",
    "timeout",
    "created_at",
    "enqueued_at",
    "started_at",
    "ended_at",
    "worker_name",
)
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

QueueOption = Annotated[
    list[str] | None,
    typer.Option(
        "--queue",
        "-q",
        help="Only this queue, or orders@@acme for a tenant of orders; may be given several times. "
        "By default all queues.",
    ),
]
TaskOption = Annotated[
    str | None,
    typer.Option("--task", metavar="TASK", help="Only this task, written module.function."),
]
OlderOption = Annotated[
    str | None,
    typer.Option(
        "--older",
        metavar="TIME",
        help="Only jobs that failed at least this long ago, such as 7d or 12h.",
    ),
]
MetaOption = Annotated[
    list[str] | None,
    typer.Option(
        "--meta",
        metavar="KEY=VALUE",
        help="Only jobs whose meta has this, such as customer=acme; may be given several times.",
    ),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Change nothing; only say what would be done.")
]


@app.command("list")
def list_letters(
    *,
    queue: QueueOption = None,
    task: TaskOption = None,
    older: OlderOption = None,
    meta: MetaOption = None,
    limit: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="How many to show, at most.")
    ] = 50,
    as_json: JsonOption = False,
) -> None:
    """List dead letters, the latest first, each with its reason in one line.

    With --json it prints one object a line. The exit code is 1 when something in Redis cannot be
    read. It is named, with --json in a last object of its own, and the rest is shown.
    """
    age = _age(older)
    wanted = dict(map(_pair, meta or ()))

    def work(letters: DeadLetters) -> None:
        choice = letters.choice(task, age, wanted)
        fields = {*choice.fields, *FAILED_AT_FIELDS}
        newest: list[tuple[float, Entry]] = []
        total = 0

        def visit(page: list[Entry]) -> int:
            nonlocal newest, total
            rows = {
                (failed.timestamp() if (failed := letter.failed_at) else 0.0, entry)
                for entry, letter in letters.read(page, sorted(fields))
                if letters.fits(letter, choice)
            }
            total += len(rows)
            newest = heapq.nlargest(limit, {*newest, *rows})
            return 0

        letters.sweep(visit)
        console = Console()
        for first in range(0, len(newest), LETTERS_AT_ONCE):
            for _, letter in letters.read(
                [entry for _, entry in newest[first : first + LETTERS_AT_ONCE]]
            ):
                if as_json:
                    say_json(_summary(letter, letters))
                else:
                    console.print(_lines(letter, letters), soft_wrap=True)
        if as_json and letters.reader.unreadable:
            say_json({"unreadable": letters.reader.unreadable})
        if total == 0 and not letters.reader.unreadable:
            say(f"no dead letters found at {letters.address}", error=True)
        elif total > len(newest):
            more = formats.count(total - len(newest))
            say(f"… and {more} more; --limit shows them", error=True)

    _open(queue, work)


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
                say_json(_details(letter, letters), default=repr)
            else:
                print_fields(_fields(_details(letter, letters), letters.now))

    _open(queue, work)


@app.command()
def replay(
    jobs: Annotated[
        list[str] | None, typer.Argument(metavar="ID", help="The ids of dead letters.")
    ] = None,
    *,
    task: Annotated[
        str | None,
        typer.Option(
            "--task", metavar="TASK", help="All dead letters of this task, written module.function."
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All dead letters.")] = False,
    queue: QueueOption = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Put dead letters back at the end of their queues, to run as if for the first time.

    Give their ids, --task or --all. Several people may do this at the same time: each letter is
    moved and counted once. The exit code is 1 when some were not replayed.
    """
    if [bool(jobs), task is not None, everything].count(True) != 1:
        refuse("say which dead letters to replay: either their ids, or --task TASK, or --all")

    def work(letters: DeadLetters) -> None:
        if jobs:
            ids = list(dict.fromkeys(jobs))
            fates = letters.each_of(ids, letters.replay, dry_run=dry_run)
            count = Counter(fates.values())
            _tell(letters, "replayed", count, fates, dry_run=dry_run, as_json=as_json)
        else:
            choice = letters.choice(task, None)
            _act(letters, "replayed", letters.replay, choice, dry_run=dry_run, as_json=as_json)

    _open(queue, work)


@app.command()
def purge(
    *,
    older: OlderOption = None,
    everything: Annotated[bool, typer.Option("--all", help="All, however recent.")] = False,
    queue: QueueOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Delete dead letters for good: the jobs, their results, and what else RQ keeps of them.

    On a terminal it says how many there are and asks first. A dead letter without a time of
    failure is deleted by --all only. Jobs that wait for one by RQ's depends_on stay deferred, as
    when rq deletes it; `heori doctor --mend` runs them.
    """
    if everything == (older is not None):
        refuse("say which dead letters to delete: either --older TIME, such as 7d, or --all")
    age = _age(older)

    def work(letters: DeadLetters) -> None:
        choice = letters.choice(None, age)
        if sys.stdin.isatty() and not yes and not dry_run:
            meant: Counter[str] = Counter()
            letters.each(choice, letters.purge, meant, dry_run=True)
            if count := meant["purged"]:
                what = f"Delete {formats.count(count)} dead letters at {letters.address} for good?"
                typer.confirm(printable(what), abort=True, err=True)
        _act(letters, "purged", letters.purge, choice, dry_run=dry_run, as_json=as_json)

    _open(queue, work)


def _open(queues: list[str] | None, work: Callable[[DeadLetters], None]) -> None:
    """Work on the letters of these queues; print the problems, which make the exit code 1."""
    settings = Settings()

    def run() -> None:
        with RedisClient(settings.redis_url) as client:
            letters = DeadLetters(client, settings, queues, _progress)
            try:
                work(letters)
            finally:
                for problem in letters.problems:
                    say(f"heori: {problem}", error=True)
            tell_unreadable(letters.reader)
        if letters.problems:
            raise typer.Exit(FAILED)

    guarded(run)


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """A bar, on a terminal and for more than a page of letters."""
    with Progress(
        *Progress.get_default_columns(),
        MofNCompleteColumn(),
        console=Console(sys.stderr),
        disable=not sys.stderr.isatty() or total <= PAGE,
        transient=True,
    ) as progress:
        bar = progress.add_task("dead letters", total=total)
        yield lambda seen: progress.advance(bar, seen)


def _age(older: str | None) -> float | None:
    return None if older is None else read_duration("--older", older)


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not (name and sign):
        refuse(f"--meta {text}: KEY=VALUE is needed, such as customer=acme")
    return name, value


def _act(
    letters: DeadLetters, done: str, action: Action, choice: Choice, *, dry_run: bool, as_json: bool
) -> None:
    fates: Counter[str] = Counter()
    try:
        letters.each(choice, action, fates, dry_run=dry_run)
    except (RedisUnavailable, RedisRefused) as error:
        if not fates:  # nothing was done
            raise
        letters.problems.append(f"it came no further: {error}")
    finally:  # when it is interrupted, it prints how far it got
        _tell(letters, done, fates, {}, dry_run=dry_run, as_json=as_json)


def _tell(
    letters: DeadLetters,
    done: str,
    fates: "Counter[str]",
    by_id: Mapping[str, str],
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Print how many were replayed or purged, and note why others were not.

    Args:
        done: the fate of those that were.
        by_id: of those that were asked for by their ids.
    """
    left = {fate: count for fate, count in fates.items() if fate != done}
    if as_json:
        named = {"ids": by_id} if by_id else {}
        told = {done: fates[done], "left": left, "dry_run": dry_run, **named}
        say_json({**told, "unreadable": letters.reader.unreadable})
    else:
        say(f"{formats.count(fates[done])} {'would be ' if dry_run else ''}{done}")
    if by_id:
        letters.problems += [
            f"{job_id}: {REASONS[fate]}" for job_id, fate in by_id.items() if fate != done
        ]
        return
    left.pop("absent", None)  # another command was faster
    letters.problems += [
        f"{formats.count(count)} not {done}: {REASONS[fate]}" for fate, count in left.items()
    ]


def _summary(letter: DeadLetter, letters: DeadLetters) -> dict[str, Any]:
    """A letter as the list shows it, as JSON."""
    task, problem = None, None
    try:
        task = letters.call(letter).function
    except BadPayload as error:
        problem = str(error)
    failed = letter.failed_at
    return {
        "id": letter.id,
        "queue": letter.queue,
        "task": task,
        "problem": problem,
        "ending": letter.ending,
        "failed_at": failed.isoformat() if failed else None,
        "deliveries": letter.deliveries,
        "restarts": letter.integer("heori_restarts") or 0,
        "reason": letter.reason,
        "meta": shown_meta(letter.meta),
    }


def _lines(letter: DeadLetter, letters: DeadLetters) -> RenderableType:
    """The same for people: two lines, as an id must not be cut off."""
    told = _summary(letter, letters)
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


def _details(letter: DeadLetter, letters: DeadLetters) -> dict[str, Any]:
    """Everything that is known of a letter."""
    shown = _summary(letter, letters)
    del shown["reason"]
    try:
        call = letters.call(letter)
        shown |= {"args": list(call.args), "kwargs": dict(call.kwargs)}
    except BadPayload:
        pass
    shown |= {field: letter.text(field) or None for field in SHOWN_FIELDS}
    shown["expires_at"] = letter.expires_at.isoformat() if letter.expires_at else None
    shown["evidence"] = letter.evidence
    shown["traceback"] = letter.traceback or letter.reason
    return shown


def _fields(details: dict[str, Any], now: float) -> dict[str, str]:
    """The same for people; what is not known is left out.

    Args:
        now: the server's time, in epoch seconds.
    """
    fields: dict[str, str] = {}
    evidence: dict[str, Any] = details.pop("evidence")
    if isinstance(peak := evidence.get("peak_memory"), int):
        evidence["peak_memory"] = formats.size(peak)
    traceback = {"traceback": details.pop("traceback")}
    for name, value in {**details, **evidence, **traceback}.items():
        if value is None or value in ([], {}):
            continue
        text = value if isinstance(value, str) else json.dumps(value, default=repr)
        label = LABELS.get(name, name.replace("_", " "))
        fields[label] = told_moment(text, now) if name.endswith("_at") else text
    return fields
