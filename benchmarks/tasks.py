"""What the jobs of every system do, as plain functions; and the tally, which witnesses it.

Each run of a job appends one record to a file, whatever the library: which job, when it began,
in which process. So all are timed by the same means, and a figure counts only if the tally
holds every job. What one of them alone needs is imported there: a worker's memory and its start are
to be the library's.
"""

import os
import struct
import time
from functools import cache

RECORD = struct.Struct("<iqi")  # number of the job, time.time_ns() at its start, process id
_BLOCK = bytes(1 << 17)
_failed: set[int] = set()
TALLY = "BENCH_TALLY"  # the environment variable that names the file


def nothing(number: int) -> int:
    """What is left is the cost of the queue. Returns something, so that a result is kept."""
    record(number)
    return number


def carry(number: int, text: str) -> int:
    """Do nothing with a longer argument."""
    record(number)
    return len(text)


def fail_at_first(number: int) -> int:
    """Fail the first time that a job runs in this process."""
    record(number)
    if number not in _failed:
        _failed.add(number)
        raise ValueError
    return number


def ask(number: int) -> int:
    """Ask rq which job it is."""
    from rq import get_current_job  # noqa: PLC0415 - the others are to be had without it

    record(number)
    job = get_current_job()
    assert job is not None
    return len(job.id)


def succeeded(job: object, connection: object, result: object) -> None:
    """A success callback."""


async def nothing_async(number: int) -> int:
    """For workers that run coroutines."""
    record(number)
    return number


def wait(number: int, seconds: float) -> int:
    """Wait, as for a network."""
    record(number)
    time.sleep(seconds)
    return number


async def wait_async(number: int, seconds: float) -> int:
    """Wait in an event loop."""
    import asyncio  # noqa: PLC0415 - as the first lines say; so below

    record(number)
    await asyncio.sleep(seconds)
    return number


def compute(number: int, rounds: int) -> int:
    """Hold the GIL."""
    record(number)
    return work(rounds)


def toil(number: int, rounds: float, blocks: float, seconds: float) -> int:
    """Hold the GIL, then hash without it, then wait."""
    record(number)
    value = work(round(rounds))
    hash_blocks(round(blocks))
    if seconds:
        time.sleep(seconds)
    return value


def sort(number: int, length: float) -> float:
    """NumPy, which lets go of the GIL while it sorts."""
    record(number)
    return sort_numbers(number, round(length))


def sort_numbers(seed: int, length: int) -> float:
    """Make so many and sort them; returns the least."""
    import numpy as np  # noqa: PLC0415

    numbers = np.random.default_rng(seed).random(length)
    numbers.sort()
    return float(numbers[0])


def hash_blocks(blocks: int) -> bytes:
    """Compute in C, which lets go of the GIL."""
    import hashlib  # noqa: PLC0415

    digest = hashlib.sha256()
    for _ in range(blocks):
        digest.update(_BLOCK)
    return digest.digest()


def work(rounds: int) -> int:
    """Pure Python that cannot be taken out of the loop; returns a number below 2^31."""
    value = 1
    for step in range(rounds):
        value = (value * 1103515245 + step) & 0x7FFFFFFF
    return value


def record(number: int, by: int | None = None) -> None:
    """Write into the tally that a job begins now, in this process or by somebody else."""
    # One write to a file opened for appending is atomic between processes.
    os.write(_tally(), RECORD.pack(number, time.time_ns(), os.getpid() if by is None else by))


@cache
def _tally() -> int:
    return os.open(os.environ[TALLY], os.O_WRONLY | os.O_APPEND)
