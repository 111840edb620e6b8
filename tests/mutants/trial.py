"""Runs the tests on mutants: each trial is a fork of this process in a copy of the source tree.

A fork, as it finds what takes longest to import already imported.
"""

import contextlib
import multiprocessing
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from tests.mutants.guards import Mutant

ROOT = Path(__file__).parents[2]
SCRIPTS = Path("common", "heori_common", "protocol", "lua")
FOLDERS = ["common", "consumer", "heori", "producer", "tests"]
SOURCES = ["", "common", "consumer", "producer"]  # where packages are found, from the root
PACKAGES = ["heori", "heori_common", "heori_consumer", "heori_producer", "tests"]
LIBRARIES = ["hypothesis.stateful", "prometheus_client", "pydantic", "psutil", "redis",
             "rich.table", "rq", "structlog", "typer"]  # fmt: skip
# Those that call the scripts themselves; then those with real processes, the quickest first.
QUICK = [
    "tests/locks/test_lock_parking.py",
    "tests/locks/test_lock_scripts.py",
    "tests/locks/test_lock_handover.py",
    "tests/locks/test_lock_deadlocks.py",
    "tests/locks/test_lock_machine.py",
]
SLOW = [
    "tests/locks/test_locks.py",
    "tests/cli/test_locks_cli.py",
    "tests/locks/test_lock_jobs.py",
    "tests/locks/test_lock_faults.py",
]
# No others: they take longer than the tests, and no assertion need explain itself.
PLUGINS = ["--assert=plain", "-p", "pytest_timeout", "-p", "_hypothesis_pytestplugin",
           "-p", "tests.mutants.hasty", "-p", "no:cacheprovider"]  # fmt: skip
# Seconds for one test and for all: a script that never ends is noticed, too.
QUICK_LONGEST, SLOW_LONGEST = (20, 60.0), (60, 300.0)
_FAILED = re.compile(r"^(?:FAILED|ERROR) \S+?::(\S+)", re.MULTILINE)


def try_all(
    todo: list[Mutant], *, workers: int, quick: bool
) -> Iterator[tuple[Mutant, str | None]]:
    """Each mutant and the test that noticed it, or None, as they come.

    Raises:
        RuntimeError: the tests do not run, or do not pass on what nobody has changed.
    """
    for library in LIBRARIES:
        import_module(library)
    with tempfile.TemporaryDirectory(prefix="heori-mutants-") as directory:
        free = [_copy(Path(directory, str(number))) for number in range(workers)]
        queue = [(mutant, QUICK) for mutant in reversed(todo)]
        running: dict[int, _Trial] = {}
        try:
            while queue or running:
                while queue and free:
                    trial = _Trial(*queue.pop(), free.pop())
                    running[trial.process.sentinel] = trial
                soonest = min(trial.deadline for trial in running.values())
                wait(list(running), max(0.0, soonest - time.monotonic()))
                for sentinel, trial in list(running.items()):
                    if trial.process.is_alive() and time.monotonic() < trial.deadline:
                        continue
                    del running[sentinel]
                    free.append(trial.copy)
                    by = trial.end()
                    if by is None and trial.tests is QUICK and not quick:
                        queue.append((trial.mutant, SLOW))
                    else:
                        yield trial.mutant, by
        finally:
            for trial in running.values():
                trial.kill()


@dataclass
class _Trial:
    """Some tests on one mutant, which run until one fails."""

    mutant: Mutant
    tests: list[str]
    copy: Path

    def __post_init__(self) -> None:
        self._script = self.copy / SCRIPTS / self.mutant.file
        self._original = self._script.read_text(encoding="utf-8")
        self._script.write_text(self.mutant.source, encoding="utf-8")
        longest, longest_of_all = QUICK_LONGEST if self.tests is QUICK else SLOW_LONGEST
        self.deadline = time.monotonic() + longest_of_all
        arguments = ["-q", "-x", f"--timeout={longest}", *PLUGINS, *self.tests]
        fork = multiprocessing.get_context("fork")
        self.process: BaseProcess = fork.Process(target=_run_tests, args=(self.copy, arguments))
        self.process.start()

    def end(self) -> str | None:
        """The test that failed, when it has ended or its time is over."""
        in_time = not self.process.is_alive()
        self.kill()
        self._script.write_text(self._original, encoding="utf-8")
        if not in_time:
            return "it never ended"
        if self.process.exitcode == pytest.ExitCode.OK:
            return None
        output = (self.copy / "output").read_text(encoding="utf-8", errors="replace")
        failed = _FAILED.search(output)
        if failed is None:
            raise RuntimeError(f"the tests did not run:\n{output[-4000:]}")
        return failed[1]

    def kill(self) -> None:
        """End it and all that it has started, should it still run."""
        if self.process.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid or 0, signal.SIGKILL)
            self.process.kill()  # it may not have had the time to lead a group
        self.process.join()


def _run_tests(copy: Path, arguments: list[str]) -> None:
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.chdir(copy)
    with (copy / "output").open("wb") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    # What it imports of this project, and what its processes do, is the copy's.
    for name in [name for name in sys.modules if name.partition(".")[0] in PACKAGES]:
        del sys.modules[name]
    sources = [str(copy / source) for source in SOURCES]
    original = [ROOT / source for source in SOURCES]
    rest = [path for path in sys.path if Path(path or ".").resolve() not in original]
    sys.path[:] = [*sources, *rest]
    os.environ["PYTHONPATH"] = os.pathsep.join(sources)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    os._exit(pytest.main(arguments))


def _copy(to: Path) -> Path:
    """A tree of its own, in which a script can be changed."""
    for folder in FOLDERS:
        shutil.copytree(
            ROOT / folder,
            to / folder,
            ignore=shutil.ignore_patterns("__pycache__", "node_modules"),
        )
    shutil.copy(ROOT / "pyproject.toml", to)
    return to
