"""Whether the tests of the locks would notice: each guard in their scripts is removed in turn.

    python -m tests.mutants [FILE]… [--quick] [--list]

Each mutant is put into a copy of the source tree and the tests are run there until one fails: first
those that call the scripts themselves, and if none of them notices, those with real processes.
Prints which one; exits with 1 when none does. FILE is a Lua file, such as calls/lock_release.lua;
all of the locks' if none is named.
"""

import argparse
import os
import signal
import sys
import time
from collections import Counter

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from tests.mutants.guards import HARMLESS, Mutant, file_of, mutants
from tests.mutants.trial import ROOT, SCRIPTS, try_all

LOCKS = ["calls/lock_*.lua", "parts/lock_*.lua", "parts/*_locks.lua"]


def main() -> int:
    """Try all mutants; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutants",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", nargs="*", metavar="FILE", help="scripts; all of the locks'")
    parser.add_argument(
        "--quick", action="store_true", help="only tests that call the scripts themselves"
    )
    parser.add_argument("--list", action="store_true", help="only show the mutants")
    options = parser.parse_args()
    scripts = {file_of(path): path for pattern in LOCKS for path in (ROOT / SCRIPTS).glob(pattern)}
    unknown = sorted(set(options.files) - scripts.keys())
    if unknown:
        parser.error(f"no script of the locks: {', '.join(unknown)}; see {SCRIPTS}")
    everything = [mutant for name in sorted(scripts) for mutant in mutants(scripts[name])]
    found = [each for each in everything if not options.files or each.file in options.files]
    todo = [mutant for mutant in found if not mutant.harmless]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # trials and copies are cleared away
    console = Console(width=None if sys.stdout.isatty() else 140)
    started = time.monotonic()
    caught = {} if options.list else _try(todo, quick=options.quick)
    console.print(_table(found, caught, tried=not options.list))
    stale = HARMLESS.keys() - {each.identity for each in everything}
    for file, code, change in sorted(stale):
        console.print(
            f"[red]HARMLESS names what is not there: {escape(f'{file}: {code} ({change})')}"
        )
    if options.list:
        console.print(f"{len(found)} mutants, {len(found) - len(todo)} of them harmless")
        return 1 if stale else 0
    survivors = sum(caught[mutant] is None for mutant in todo)
    console.print(
        f"{len(found)} mutants: {len(todo) - survivors} noticed, "
        f"{len(found) - len(todo)} harmless, {survivors} survived; "
        f"{time.monotonic() - started:.0f} s"
    )
    return 1 if survivors or stale else 0


def _try(todo: list[Mutant], *, quick: bool) -> dict[Mutant, str | None]:
    """The test that noticed each, or None."""
    console = Console(stderr=True, soft_wrap=True)
    caught: dict[Mutant, str | None] = {}
    # It draws when told to, not in a thread of its own: the trials are forks of this process.
    with Progress(console=console, auto_refresh=False) as progress:
        bar = progress.add_task("mutants", total=len(todo))
        progress.refresh()
        for mutant, by in try_all(todo, workers=os.cpu_count() or 1, quick=quick):
            caught[mutant] = by
            if by is None:
                what = f"{mutant.file}:{mutant.line}: {mutant.code} ({mutant.change})"
                progress.console.print(f"survived: {what}", markup=False)
            progress.update(bar, advance=1, refresh=True)
    return caught


def _table(found: list[Mutant], caught: dict[Mutant, str | None], *, tried: bool) -> Table:
    table = Table("script", "guard", "change", *(["noticed by"] if tried else []))
    for mutant in found:
        by = "[red]nothing"
        if mutant.harmless:
            by = f"[dim]harmless: {mutant.harmless}"
        elif test := caught.get(mutant):
            by = escape(test)
        where = f"{mutant.file}:{mutant.line}"
        cells = [where, escape(mutant.code), escape(mutant.change), by]
        table.add_row(*cells if tried else cells[:-1])
    count = Counter(mutant.file for mutant in found)
    table.caption = ", ".join(f"{file} {number}" for file, number in sorted(count.items()))
    return table


if __name__ == "__main__":
    sys.exit(main())
