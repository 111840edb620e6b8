"""What the commands of `heori dead` share: which letters are meant, and how far a command is."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.progress import MofNCompleteColumn, Progress

from heori.cli.console import read_duration, tell_unreadable
from heori.cli.ending import FAILED, guarded, refuse
from heori.inspect.dead_choice import Choice
from heori.inspect.dead_letters import PAGE, DeadLetters
from heori.plain import say
from heori.terminal import Console
from heori_common.redis.client import RedisClient
from heori_common.settings import Settings

QueueOption = Annotated[
    list[str] | None,
    typer.Option(
        "--queue",
        "-q",
        help="Only this queue with its tenants, or orders@@acme for one of these; may be given "
        "several times. By default all queues.",
    ),
]
TaskOption = Annotated[
    str | None,
    typer.Option("--task", metavar="TASK", help="Only this task, written module.function."),
]
ErrorOption = Annotated[
    str | None,
    typer.Option(
        "--error",
        metavar="ERROR",
        help="Only this error, as --group shows it: numbers and ids do not count. A type of error "
        "alone will do: ConnectionError.",
    ),
]
SearchOption = Annotated[
    str | None,
    typer.Option(
        "--search",
        metavar="TEXT",
        help="Only jobs that have this text in their id, call, meta or traceback, in upper or "
        "lower case.",
    ),
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


def open_letters(queues: Sequence[str] | None, work: Callable[[DeadLetters], None]) -> None:
    """Work on the letters of these queues; print the problems, which make the exit code 1."""
    settings = Settings()

    def run() -> None:
        with RedisClient(settings.redis_url) as client:
            letters = DeadLetters(client, settings, queues)
            letters.expire()
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
def progress_bar(letters: DeadLetters) -> Iterator[Callable[[int], None]]:
    """A bar, on a terminal and for more than a page of letters; called with how many more."""
    total = sum(letters.counts.values())
    with Progress(
        *Progress.get_default_columns(),
        MofNCompleteColumn(),
        console=Console(sys.stderr),
        disable=not sys.stderr.isatty() or total <= PAGE,
        transient=True,
    ) as progress:
        bar = progress.add_task("dead letters", total=total)
        yield lambda seen: progress.advance(bar, seen)


def chosen(
    task: str | None,
    error: str | None,
    search: str | None,
    older: str | None,
    meta: Sequence[str] | None,
) -> Callable[[DeadLetters], Choice]:
    """Which letters these options mean, once the server's time is known."""
    age = None if older is None else read_duration("--older", older)
    wanted = dict(map(_pair, meta or ()))

    def choice(letters: DeadLetters) -> Choice:
        return Choice(task, error, search, None if age is None else letters.now - age, wanted)

    return choice


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not (name and sign):
        refuse(f"--meta {text}: KEY=VALUE is needed, such as customer=acme")
    return name, value
