"""The jobs of the scenarios."""

import asyncio
import ctypes
import os
import subprocess
import time

from heori import FlowFailure, Retry, task

PROGRAM = ["/bin/sleep", "3600"]
_left: list["subprocess.Popen[bytes]"] = []


def note(path: str, number: int) -> None:
    """Note that a job has begun: one line, appended in one write, which no kill can split."""
    with open(path, "ab", buffering=0) as file:  # noqa: PTH123 - unbuffered
        file.write(b"%d\n" % number)


def leave_program(number: int) -> None:
    """Of every fiftieth job, leave a program behind, each time in another way."""
    if number % 50:
        return
    match number // 50 % 3:
        case 0:
            _left.append(subprocess.Popen(PROGRAM))
        case 1:
            _left.append(subprocess.Popen(PROGRAM, env={}, start_new_session=True))
        case 2:  # an orphan
            subprocess.run(f"{' '.join(PROGRAM)} &", shell=True, check=True)


@task
def run(path: str, number: int, seconds: float) -> int:
    """Note the run, then take some time."""
    note(path, number)
    leave_program(number)
    time.sleep(seconds)
    return number


@task
def run_and_fail(path: str, number: int, seconds: float) -> None:
    """Note the run and fail."""
    note(path, number)
    time.sleep(seconds)
    raise ValueError


@task
async def run_later(path: str, number: int, seconds: float) -> int:
    """The same as a coroutine."""
    note(path, number)
    leave_program(number)
    await asyncio.sleep(seconds)
    return number


@task(result_ttl=3600)
def run_on_time(path: str, number: int, seconds: float) -> int:
    """Note the run and when it began, in nanoseconds since 1970, then take some time."""
    with open(path, "ab", buffering=0) as file:  # noqa: PTH123 - unbuffered, as in `note`
        file.write(b"%d %d\n" % (number, time.time_ns()))
    time.sleep(seconds)
    return number


EACH_SECOND, AT_ONCE = 100, 10


@task(rate=f"{EACH_SECOND}/s", burst=AT_ONCE, result_ttl=3600)
def run_at_rate(path: str, number: int) -> None:
    """Note the run and when it began, in nanoseconds since 1970."""
    with open(path, "ab", buffering=0) as file:  # noqa: PTH123 - unbuffered, as in `note`
        file.write(b"%d %d\n" % (number, time.time_ns()))


@task
def segfault() -> None:
    """Read what is nobody's."""
    ctypes.string_at(0)


@task
def nothing(number: int) -> int:
    """Return the argument."""
    return number


@task(result_ttl=1)
def brief(number: int) -> int:
    """Return the argument, to be kept for a second."""
    return number


@task
async def nothing_later(number: int) -> int:
    """The same as a coroutine."""
    await asyncio.sleep(0)
    return number


@task
def large(number: int) -> str:
    """Return 10 kB."""
    return f"{number:010000}"


@task
def fail(number: int) -> None:
    """Fail."""
    raise ValueError(number)


@task(retry=Retry(max=1, intervals=("50ms",)))
def fail_once(directory: str, number: int) -> int:
    """Fail, and succeed the next time: a file remembers."""
    mark = os.path.join(directory, str(number))  # noqa: PTH118 - the cheapest way
    try:
        os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        os.unlink(mark)  # noqa: PTH108
        return number
    raise ValueError(number)


@task
def run_for(path: str, number: int, seconds: float, enough: str) -> int:
    """Note the run, then take some time, until a file says that it is enough."""
    note(path, number)
    leave_program(number)
    end = time.monotonic() + seconds
    while time.monotonic() < end and not os.path.exists(enough):  # noqa: PTH110 - the cheapest way
        time.sleep(0.05)
    return number


@task
async def run_for_later(path: str, number: int, seconds: float, enough: str) -> int:
    """The same as a coroutine."""
    note(path, number)
    leave_program(number)
    end = time.monotonic() + seconds
    while time.monotonic() < end and not os.path.exists(enough):  # noqa: ASYNC110, ASYNC240, PTH110
        await asyncio.sleep(0.05)
    return number


@task(result_ttl=3600)
def step(before: int, path: str, number: int, seconds: float) -> int:
    """Note the run, and count one more than the step before."""
    note(path, number)
    time.sleep(seconds)
    return before + 1


@task(result_ttl=3600)
def add_up(numbers: list[int], path: str, number: int, members: int) -> int:
    """Note the run; of numbers that are there in their order, how many there are."""
    note(path, number)
    assert len(numbers) == members
    assert numbers == sorted(set(numbers))
    return len(numbers)


@task(result_ttl=3600)
def handle(failures: list[FlowFailure], path: str, number: int) -> int:
    """Note the run; of failures, how many there are."""
    note(path, number)
    assert {failure.status for failure in failures} == {"failed"}
    return len(failures)
