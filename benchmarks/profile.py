"""Where each microsecond of a job that does nothing goes, with the means of the standard library.

Three runs: one undisturbed, for CPU time by role and the server's time by command; one with
cProfile around the supervisor; one with cProfile in the worker's slot. Both count CPU time of the
process, so that waiting for a lock or a socket is nothing but what other threads do meanwhile:
since Python 3.12 the profiler sees all threads, and their own clocks cannot be compared. They are
only shown as shares, as the profiler itself takes most of the time.
"""

import dataclasses
import marshal
import tempfile
from collections import Counter
from itertools import zip_longest
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.apps import PROFILE
from benchmarks.rig import Rig, stop
from benchmarks.sender import Order
from benchmarks.slot import computing, pieces
from benchmarks.systems import System, heori

SYSTEM = heori("threads", 1, 1)
TOP = 14  # lines of a table


def show(console: Console, *, quick: bool) -> None:
    """Print them, and the pieces of a slot's part in microseconds."""
    jobs = 1_000 if quick else 20_000
    console.print(_server(jobs))
    console.print(pieces(quick=quick))
    console.print(computing(quick=quick))
    with tempfile.TemporaryDirectory() as directory:
        supervisor, slot = Path(directory, "supervisor"), Path(directory, "slot")
        module, words = "benchmarks.apps.supervisor_profiled", SYSTEM.words[2:]
        profiled = dataclasses.replace(SYSTEM, words=("-m", module, *words))
        _drain(profiled, jobs, {PROFILE: str(supervisor)})
        console.print(_shares("supervisor: its event loop", supervisor))
        tasks = {"HEORI_TASKS": "benchmarks.apps.slot_profiled", PROFILE: str(slot)}
        _drain(SYSTEM, jobs, tasks)
        console.print(_shares("worker: its slot", slot))


def _server(jobs: int) -> Table:
    """CPU time by role, and what the server's part is made of."""
    with Rig(SYSTEM) as rig:
        rig.hide(Order("bulk", "nothing", jobs))
        rig.consume()
        rig.warm_up()
        base = rig.finished()
        rig.client.config_resetstat()
        before = rig.cpu()
        rig.release()
        rig.until(lambda: rig.done(jobs, base))
        after = rig.cpu()
        commands = rig.client.info("commandstats")
        rig.verify(jobs)
    shown = Table("", "µs a job", "calls a job", title=f"{jobs:,} jobs, {SYSTEM.name}")
    for role, now, then in zip(("supervisor", "workers", "server"), after, before, strict=True):
        shown.add_row(f"CPU time of the {role}", f"{(now - then) / jobs * 1e6:.1f}", "")
    shown.add_section()
    micros = {name: stat["usec"] / jobs for name, stat in commands.items()}
    scripts = micros.get("cmdstat_evalsha", 0) + micros.get("cmdstat_eval", 0)
    inside = sum(micros.values()) - scripts
    shown.add_row("scripts, without the commands in them", f"{scripts - inside:.1f}", "")
    for name in sorted(micros, key=lambda name: -micros[name])[:TOP]:
        calls = commands[name]["calls"] / jobs
        if calls >= 0.001:
            shown.add_row(name.removeprefix("cmdstat_"), f"{micros[name]:.1f}", f"{calls:.3f}")
    return shown


def _drain(system: System, jobs: int, environment: dict[str, str]) -> None:
    with Rig(system, environment=environment) as rig:
        rig.hide(Order("bulk", "nothing", jobs))
        consumer = rig.consume()
        rig.warm_up()
        base = rig.finished()
        rig.release()
        rig.until(lambda: rig.done(jobs, base))
        stop(consumer)


def _shares(title: str, file: Path) -> Table:
    """Own time by module and by function, in percent."""
    by_module: Counter[str] = Counter()
    by_function: Counter[str] = Counter()
    # What cProfile writes: (file, line, function) → calls, own time and more.
    profile = marshal.loads(file.read_bytes())
    for (path, _, function), (_, _, own, _, _) in profile.items():
        module = _module(path)
        by_module[module] += own
        by_function[function if path == "~" else f"{module}: {function}"] += own
    total = sum(by_module.values())
    shown = Table("module", "%", "function", "%", title=title)
    modules, functions = by_module.most_common(TOP), by_function.most_common(TOP)
    for (module, share), (function, its) in zip_longest(modules, functions, fillvalue=("", 0.0)):
        shown.add_row(module, _percent(share / total), function, _percent(its / total))
    return shown


def _module(path: str) -> str:
    """A short name for a source file: its package and itself."""
    return "C" if path == "~" else "/".join(Path(path).with_suffix("").parts[-2:])


def _percent(share: float) -> str:
    return f"{share * 100:.1f}" if share else ""
