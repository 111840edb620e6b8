"""Tasks that start programs and leave them, print, fork and handle signals; and hooks."""

import asyncio
import atexit
import ctypes
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from heori import on_worker_end, on_worker_start, task

OUTPUT = os.environ.get("HEORI_TEST_OUTPUT")  # a file for what is told in the worker's life
_state = {"pid": 0}
_kept: list[object] = []
own_generator = random.Random()


def _tell(what: str) -> None:
    if OUTPUT:
        with Path(OUTPUT).open("a", encoding="utf-8") as file:
            file.write(f"{what} {os.getpid()}\n")


@on_worker_start
def begin() -> None:
    """What a pool of connections would be opened in."""
    if OUTPUT and Path(f"{OUTPUT}-fails").exists():
        raise ConnectionError("no database")
    _state["pid"] = os.getpid()
    _tell("start")


@on_worker_end
def finish() -> None:
    """And closed in."""
    _tell("end")
    if OUTPUT and Path(f"{OUTPUT}-hangs").exists():
        time.sleep(3600)


atexit.register(_tell, "atexit")


def _program(name: str) -> list[str]:
    """A program that lasts, and is known by its arguments."""
    return ["sleep", f"311.{name}"]


def _twice(name: str) -> None:
    """As a daemon starts: in a session of its own, from a process that has ended."""
    if (child := os.fork()) == 0:
        os.setsid()
        if os.fork() == 0:
            os.execvpe("sleep", _program(name), {})
        os._exit(0)
    os.waitpid(child, 0)


WAYS: dict[str, Callable[[str], object]] = {
    "runs": lambda name: subprocess.Popen(_program(name)),
    "in a shell": lambda name: subprocess.Popen(f"{' '.join(_program(name))} & wait", shell=True),
    "its own session, no environment": lambda name: subprocess.Popen(
        ["/bin/sleep", f"311.{name}"], env={}, start_new_session=True
    ),
    "daemon": _twice,
}


@task
def leave_programs(name: str) -> str:
    """Start one in each way, and a process that Python's own end would wait for, and return."""
    waited_for = multiprocessing.get_context("fork").Process(target=time.sleep, args=(3600,))
    waited_for.start()
    _kept.append(waited_for)
    _kept.extend(way(name) for way in WAYS.values())
    return "left"


@task(timeout=1)
def run_program(name: str) -> None:
    """Wait for one that takes longer than the job may."""
    subprocess.run(_program(name), check=True)


@task(timeout=1)
async def run_program_later(name: str) -> None:
    """The same in a coroutine."""
    process = await asyncio.create_subprocess_exec(*_program(name))
    _kept.append(process)
    await process.wait()


@task(timeout=1)
async def run_program_beside(name: str) -> None:
    """The same in a thread beside the loop."""
    await asyncio.to_thread(subprocess.run, _program(name), check=True)


_event = asyncio.Event()  # a module's own, as clients are
_two = threading.Barrier(2)


@task(timeout=30)
async def use_what_is_the_modules(*, at_once: bool) -> str:
    """Wait on one loop for what another one may have, and leave a coroutine behind."""
    if at_once:
        _two.wait(20)
    _kept.append(asyncio.create_task(asyncio.sleep(3600)))
    _event.clear()
    asyncio.get_running_loop().call_later(0.01, _event.set)
    await _event.wait()
    return "used"


@task
def crash_with_programs(name: str) -> None:
    """Start some, and die."""
    leave_programs(name)
    os.kill(os.getpid(), signal.SIGKILL)


@task
def who() -> dict[str, object]:
    """What of its process a job finds."""
    return {
        "pid": os.getpid(),
        "hook": _state["pid"],
        "random": random.random(),
        "own": own_generator.random(),
        "main thread": threading.current_thread() is threading.main_thread(),
    }


@task
def print_everywhere(path: str) -> None:
    """Write in every way that keeps something back, and close nothing."""
    print("to the standard output", end="")
    print(" and the one at the start", end="", file=sys.__stdout__)
    ctypes.CDLL(None).printf(b" and from C")
    file = Path(path).open("w", encoding="utf-8")  # noqa: SIM115 - it stays open
    _kept.append(file)
    print("to a file", end="", file=file)


@task
def fork_children() -> list[object]:
    """What becomes of a pool of forked processes, and of one that is terminated."""
    context = multiprocessing.get_context("fork")
    with context.Pool(2) as pool:
        squares = pool.map(_square, range(3))
    child = context.Process(target=time.sleep, args=(3600,))
    child.start()
    child.terminate()
    child.join(60)
    return [squares, child.exitcode]


def _square(number: int) -> int:
    return number * number


class _Rang(Exception):
    pass


def _ring(*_: object) -> None:
    raise _Rang


@task
def be_woken() -> str:
    """Sleep until a signal of its own ends that, as only the main thread can."""
    signal.signal(signal.SIGALRM, _ring)
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    try:
        time.sleep(3600)
    except _Rang:
        signal.setitimer(signal.ITIMER_REAL, 3600)
        return "woken"
    return "overslept"


@task
def left_of_alarms() -> list[object]:
    """What the job before has left of its timer and of its handler."""
    return [signal.getitimer(signal.ITIMER_REAL)[0], signal.getsignal(signal.SIGALRM) is _ring]


@task
def leave_orphans() -> None:
    """Leave processes behind that end soon, and that nobody has started who still lives."""
    for _ in range(5):
        subprocess.run("sleep 0.01 &", shell=True, check=True)
