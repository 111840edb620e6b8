"""Whether the tests of the locks would notice: each guard in their scripts is removed in turn.

    python -m tests.mutants [FILE]… [--list]

Each mutant is put into a copy of the source tree and the tests are run there until one fails.
Prints which one; exits with 1 when none does. FILE is a script, such as lock_release.lua; all that
begin with lock_ if none is named.
"""

import argparse
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from tests.mutants.guards import HARMLESS, Mutant, mutants

ROOT = Path(__file__).parents[2]
SCRIPTS = Path("common", "protocol", "lua")
PACKAGES = ["common", "consumer", "heori", "producer", "tests"]
# The quickest first.
TESTS = [
    "tests/test_lock_scripts.py",
    "tests/test_locks.py",
    "tests/test_locks_cli.py",
    "tests/test_lock_faults.py",
]
PLUGINS = ["-p", "tests.mutants.hasty", "-p", "no:cacheprovider"]
LONGEST = 240.0  # seconds for all tests; a script that never ends is noticed, too
_FAILED = re.compile(r"^(?:FAILED|ERROR) \S+?::(\S+)", re.MULTILINE)


def main() -> int:
    """Try all mutants; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutants",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", nargs="*", metavar="FILE", help="scripts; all of the locks'")
    parser.add_argument("--list", action="store_true", help="only show the mutants")
    options = parser.parse_args()
    found = list(_all(options.files))
    if not found:
        parser.error(f"there is no such script in {SCRIPTS}")
    console = Console(width=None if sys.stdout.isatty() else 140)
    todo = [mutant for mutant in found if not mutant.harmless]
    caught = {} if options.list else _try_all(todo)
    table = Table("script", "guard", "change", "noticed by")
    for mutant in found:
        by = "[red]nothing"
        if mutant.harmless:
            by = f"[dim]harmless: {mutant.harmless}"
        elif test := caught.get(mutant):
            by = escape(test)
        where = f"{mutant.file}:{mutant.line}"
        table.add_row(where, escape(mutant.code), escape(mutant.change), by)
    console.print(table)
    survivors = [mutant for mutant in todo if caught.get(mutant) is None]
    stale = HARMLESS.keys() - {(each.file, each.code, each.change) for each in _all([])}
    for file, code, change in sorted(stale):
        console.print(f"[red]HARMLESS names what is not there: {file}: {code} ({change})")
    if options.list:
        return 0
    console.print(f"{len(todo)} mutants, {len(survivors)} survived")
    return 1 if survivors or stale else 0


def _all(files: list[str]) -> Iterator[Mutant]:
    for path in sorted((ROOT / SCRIPTS).glob("lock_*.lua")):
        if not files or path.name in files:
            yield from mutants(path)


def _try_all(todo: list[Mutant]) -> dict[Mutant, str | None]:
    """The test that noticed each, or None."""
    workers = os.cpu_count() or 1
    copies: queue.SimpleQueue[Path] = queue.SimpleQueue()
    with tempfile.TemporaryDirectory(prefix="heori-mutants-") as directory:
        for number in range(workers):
            copies.put(_copy(Path(directory, str(number))))
        with (
            Progress(console=Console(stderr=True)) as progress,
            ThreadPoolExecutor(workers) as pool,
        ):
            bar = progress.add_task("mutants", total=len(todo))
            shown = threading.Lock()

            def attempt(mutant: Mutant) -> str | None:
                copy = copies.get()
                try:
                    by = _try(mutant, copy)
                finally:
                    copies.put(copy)
                with shown:
                    progress.advance(bar)
                    if by is None:
                        what = f"{mutant.file}:{mutant.line}: {mutant.code} ({mutant.change})"
                        progress.console.print(f"survived: {what}", markup=False)
                return by

            return dict(zip(todo, pool.map(attempt, todo), strict=True))


def _copy(to: Path) -> Path:
    """A tree of its own, in which a script can be changed."""
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package,
            to / package,
            ignore=shutil.ignore_patterns("__pycache__", "node_modules"),
        )
    shutil.copy(ROOT / "pyproject.toml", to)
    return to


def _try(mutant: Mutant, copy: Path) -> str | None:
    script = copy / SCRIPTS / mutant.file
    original = script.read_text(encoding="utf-8")
    script.write_text(mutant.source, encoding="utf-8")
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", *PLUGINS, *TESTS],
            cwd=copy,
            env={**os.environ, "PYTHONPATH": str(copy)},
            capture_output=True,
            text=True,
            timeout=LONGEST,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "it never ended"
    finally:
        script.write_text(original, encoding="utf-8")
    if done.returncode == 0:
        return None
    failed = _FAILED.search(done.stdout)
    if failed is None:
        raise RuntimeError(f"the tests did not run:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return failed[1]


if __name__ == "__main__":
    sys.exit(main())
