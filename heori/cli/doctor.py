"""`heori doctor`: what is wrong with a Redis, what that means, and the command that mends it."""

import sys
from collections import Counter
from typing import Annotated

import typer
from rich.progress import Progress, TextColumn

from heori.cli.console import JsonOption
from heori.cli.ending import FAILED, guarded
from heori.inspect.checks import examine
from heori.inspect.checks.finding import Finding, Level
from heori.inspect.mending import Mended, mend
from heori.plain import say_json
from heori.terminal import Console, Text
from heori_common.protocol.keys import Keys
from heori_common.redis.client import RedisClient
from heori_common.settings import Settings

MARKS: dict[Level, Text] = {
    "problem": Text("✗", "bold red"),
    "warning": Text("!", "yellow"),
    "unknown": Text("?", "dim"),
    "fine": Text("✓", "green"),
}
MOST_ALIKE = 20  # findings of one check that a person is shown


def doctor(
    *,
    strict: Annotated[bool, typer.Option(help="Exit with 1 for warnings too.")] = False,
    mend_first: Annotated[
        bool,
        typer.Option("--mend", help="First mend what workers of rq's that died have left."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check a Redis that holds jobs, Heori's or any RQ's, and say how to mend what is wrong.

    It reads the key of every job and changes nothing but with --mend. It looks at HEORI_REDIS_URL,
    and under RQ_KEY_PREFIX if that is set. The exit code is 1 when there is a problem, such as a
    key that holds something else than it should.
    """
    settings = Settings()

    def look() -> tuple[list[Mended], list[Finding], str]:
        with (
            RedisClient(settings.redis_url) as client,
            Progress(
                TextColumn("looking at {task.description}: {task.completed:,}", markup=False),
                console=Console(sys.stderr),
                transient=True,
                disable=not sys.stderr.isatty(),
            ) as bar,
        ):
            line = bar.add_task("the server", total=None)

            def progress(what: str, done: int) -> None:
                bar.update(line, description=what, completed=done)

            keys = Keys(settings.key_prefix)
            mended = [each for each in mend(client, keys) if each.number] if mend_first else []
            found = list(examine(client, keys, settings.max_payload, progress))
            return mended, found, client.address

    mended, findings, where = guarded(look)
    if as_json:
        say_json([finding.record() for finding in findings])
    else:
        _show(mended, findings, where)
    bad = ("problem", "warning") if strict else ("problem",)
    if any(finding.level in bad for finding in findings):
        raise typer.Exit(FAILED)


def _show(mended: list[Mended], findings: list[Finding], where: str) -> None:
    console = Console()
    console.print(f"Redis at {where}", "", sep="\n")
    for each in mended:
        console.print(f"mended: {each.did}: {each.number:,}")
    alike: Counter[tuple[str, Level]] = Counter()
    for finding in findings:
        alike[finding.check, finding.level] += 1
        if alike[finding.check, finding.level] > MOST_ALIKE:
            continue
        console.print(MARKS[finding.level], f"{finding.check:12}", end=" ")
        console.print(finding.says)
        for text, style in ((finding.means, ""), (finding.mend, "cyan")):
            if text:
                console.print(f"{'':15}{text}", style=style, soft_wrap=True)
    for (check, level), number in alike.items():
        if number > MOST_ALIKE:
            console.print(
                MARKS[level], f"{check:12} and {number - MOST_ALIKE:,} more; --json has all"
            )
    problems, warnings = (
        sum(finding.level == level for finding in findings) for level in ("problem", "warning")
    )
    console.print("", f"problems: {problems}, warnings: {warnings}", sep="\n")
