"""Tasks for the tests: each does one thing that a test needs to see."""

import asyncio
import ctypes
import hashlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import redis
from pydantic import SecretStr

from heori import JobTimeout, Retry, current_job, task


@task
def add(a: int, b: int = 2) -> int:
    """The simplest job."""
    return a + b


@task(result_ttl=100)
def add_for_a_while(a: int, b: int) -> int:
    """One whose result is not kept for long."""
    return a + b


@task
async def add_later(a: int, b: int) -> int:
    """The simplest async job."""
    await asyncio.sleep(0)
    return a + b


@task
def fail(text: str) -> None:
    """A job that fails."""
    raise ValueError(text)


@task(retry=3)
def flaky(number: int) -> int:
    """A job that may be tried again after seconds."""
    return number


@task(retry=Retry(intervals=("20ms", 1.5)))
def flaky_soon(number: int) -> int:
    """A job that may be tried again after fractions of a second."""
    return number


@task
def leave(how: str) -> None:
    """A job that takes its process, or tries to, in one of several ways."""
    match how:
        case "SystemExit":
            raise SystemExit(3)
        case "KeyboardInterrupt":
            raise KeyboardInterrupt
        case "os._exit":
            os._exit(3)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "segfault":
            ctypes.string_at(0)
        case "close files":
            os.closerange(0, 4096)
            time.sleep(3600)


@task
def unserialisable() -> object:
    """A job whose result has no JSON form."""
    return threading.Lock()


@task
def wrong_type() -> int:
    """A job whose result is not what its hint promises."""
    return "not a number"  # type: ignore[return-value]


@task
def large(size: int) -> str:
    """A job with a large result."""
    return "x" * size


@task
def spin(seconds: float) -> None:
    """Holds the GIL, in Python."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


@task
def digest(seconds: float) -> None:
    """Computes without the GIL, in C."""
    block = bytes(1 << 20)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        hashlib.sha256(block)


@task
async def spin_on_loop(seconds: float) -> None:
    """Keeps its event loop to itself."""
    await asyncio.sleep(0)
    spin(seconds)


@task(timeout=1)
def spin_limited(seconds: float) -> None:
    """Holds the GIL for longer than it may."""
    spin(seconds)


@task(timeout=1)
def sleep_limited(seconds: float) -> None:
    """Sleeps in C, where no exception reaches it."""
    time.sleep(seconds)


@task(timeout=1)
async def wait_limited(seconds: float) -> None:
    """Waits in the event loop for longer than it may."""
    await asyncio.sleep(seconds)


@task
def nap(seconds: float) -> float:
    """Waits without the GIL."""
    time.sleep(seconds)
    return seconds


@task
async def wait_for_long() -> None:
    """Waits in the event loop until it is ended."""
    await asyncio.sleep(3600)


@task
def count_run(url: str, key: str, member: str, seconds: float = 0.0) -> None:
    """Records in Redis that it ran, then takes some time."""
    with redis.Redis.from_url(url, socket_timeout=None) as client:
        client.hincrby(key, member, 1)
    time.sleep(seconds)


@task
def hold(url: str, key: str) -> str:
    """Says that it runs, then waits to be let go: tests need no sleep to catch it running."""
    with redis.Redis.from_url(url, socket_timeout=None) as client:
        client.rpush(f"{key}:running", os.getpid())
        client.blpop([f"{key}:go"], timeout=170)
    return key


@task
def hold_mutex(url: str, name: str) -> None:
    """As `hold`, with a mutex of that name."""
    from heori import Mutex  # this test's workers alone bear its cost

    with Mutex(name, url):
        hold(url, name)


@task
def record(path: str, number: int) -> int:
    """Notes in a file that it ran: one line, appended in one write."""
    with open(path, "ab", buffering=0) as file:  # noqa: PTH123 - unbuffered
        file.write(b"%d\n" % number)
    return number


@task
def record_process(path: str, number: int) -> int:
    """As `record`, with the process in which it ran."""
    with open(path, "ab", buffering=0) as file:  # noqa: PTH123 - unbuffered
        file.write(b"%d %d\n" % (number, os.getpid()))
    return number


@task
def wait_for_file(path: str) -> bool:
    """Runs until a file is there, whatever becomes of Redis."""
    deadline = time.monotonic() + 170
    while not os.path.exists(path):  # noqa: PTH110
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


@task
def record_and_wait(path: str, gate: str, number: int) -> int:
    """Notes in a file that it has begun, then runs until another file is there."""
    record(path, number)
    assert wait_for_file(gate)
    return number


@task(retry=Retry(max=1, intervals=("50ms",)))
def record_and_wait_and_fail_at_first(path: str, gate: str, number: int) -> int:
    """As `record_and_wait`, but its first run fails."""
    record_and_wait(path, gate, number)
    with open(path, encoding="ascii") as runs:  # noqa: PTH123 - as `record` does
        if runs.read().split().count(str(number)) == 1:
            raise ValueError("run 1")
    return number


@task(retry=Retry(max=2, intervals=("50ms",)), give_up_on=KeyError)
def fail_at_first(url: str, key: str, times: int, how: str = "ValueError") -> int:
    """Fails so often, then returns how often it ran."""
    with redis.Redis.from_url(url, socket_timeout=None) as client:
        runs = int(client.incr(key))
    if runs <= times:
        raise {"ValueError": ValueError, "KeyError": KeyError}[how](f"run {runs}")
    return runs


@task(retry=Retry(max=1, intervals=("50ms",)), timeout=4)
def hang_at_first(url: str, key: str) -> int:
    """Sleeps at its first run, in C and deaf to signals; the second one is in time anywhere."""
    with redis.Redis.from_url(url, socket_timeout=None) as client:
        runs = int(client.incr(key))
    if runs == 1:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        time.sleep(3600)
    return runs


@task(timeout=600)
def about_itself(url: str, key: str) -> dict[str, object]:
    """What a job can find out about itself; waits in the middle to be let go."""
    job = current_job()
    job.progress(0.5, "half of it")
    with redis.Redis.from_url(url, socket_timeout=None) as client:
        client.rpush(f"{key}:running", job.id)
        client.blpop([f"{key}:go"], timeout=170)
    return describe(job.lease_lost)


@task(retry=Retry(max=1, intervals=("50ms",)))
def go_on_from_meta(steps: int) -> list[int]:
    """Keeps in its meta what is done, and fails once halfway; returns where each try began."""
    return _go_on(steps)


@task(retry=Retry(max=1, intervals=("50ms",)))
async def go_on_from_meta_later(steps: int) -> list[int]:
    """The same, in a coroutine."""
    await asyncio.sleep(0)
    return _go_on(steps)


def _go_on(steps: int) -> list[int]:
    job = current_job()
    began: list[int] = [*job.meta.get("began", ()), job.meta.get("done", 0)]
    job.meta["began"] = began
    for done in range(began[-1] + 1, steps + 1):
        job.meta["done"] = done
        job.save_meta()
        if done == steps // 2:
            raise ValueError("halfway")
    return began


@task
def save_bad_meta(of: str) -> str:
    """What it is told when it saves what cannot be saved."""
    bad: dict[str, object] = {"large": "x" * 20_000, "none": object()}
    job = current_job()
    job.meta["kept"] = 1
    job.save_meta()
    job.meta["more"] = bad[of]
    try:
        job.save_meta()
    except (TypeError, ValueError) as error:
        return str(error)
    return "saved"


@task(timeout=600)
async def about_itself_later() -> dict[str, object]:
    """The same, in a coroutine and after a turn of the loop."""
    await asyncio.sleep(0)
    return describe(current_job().lease_lost)


def describe(lease_lost: bool) -> dict[str, object]:
    """The current job, seen from a function that was not told of it."""
    job = current_job()
    return {
        "id": job.id,
        "task": job.task,
        "queue": job.queue,
        "delivery": job.delivery,
        "left": job.deadline - time.monotonic(),
        "lease_lost": lease_lost,
    }


@task
def report_when_lost(url: str, key: str) -> None:
    """Runs until its lease is lost, and says so."""
    with redis.Redis.from_url(url, socket_timeout=None) as client:
        client.rpush(f"{key}:running", "now")
        while not current_job().lease_lost:
            time.sleep(0.01)
        client.rpush(f"{key}:lost", "now")


@task
def ignore_interruptions() -> None:
    """Catches whatever is raised in it, for an hour."""
    end = time.monotonic() + 3600
    while time.monotonic() < end:
        try:
            time.sleep(0.01)
        except BaseException:
            continue


@task(timeout=1)
def clean_up_at_timeout(path: str) -> str:
    """Catches its timeout, and still has time to clean up."""
    try:
        for _ in range(3000):  # in C for no longer than that, where its timeout would not reach it
            time.sleep(0.01)
    except JobTimeout as timeout:
        return f"{timeout.job_id} had {timeout.timeout} s"
    return path


@task
def allocate(megabytes: int) -> int:
    """Uses memory and keeps it."""
    _kept.append(b"x" * (megabytes << 20))
    return os.getpid()


_kept: list[bytes] = []


@task
def process() -> int:
    """Which process it ran in."""
    return os.getpid()


@task
def speak_and_die(text: str) -> None:
    """Writes to standard output and error, then takes its process."""
    print(text, "said aloud")
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
    os.kill(os.getpid(), signal.SIGKILL)


_met: list[asyncio.Event] = []


@task
async def meet(together: int) -> int:
    """Waits until so many of it have begun; returns its process."""
    if not _met:
        _met.append(asyncio.Event())
    _waiting.append(None)
    if len(_waiting) == together:
        _met[0].set()
    await asyncio.wait_for(_met[0].wait(), 10)
    return os.getpid()


_waiting: list[None] = []


@task
def stamp() -> float:
    """When it ran, by the clock that all processes of this machine share."""
    return time.monotonic()


@task
def end_children() -> list[int]:
    """Starts a process in each way, and ends it by a signal; returns their exit codes."""
    codes = []
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        program = subprocess.Popen(["sleep", "3600"])
        program.send_signal(number)
        codes.append(program.wait())
        if (child := os.fork()) == 0:
            time.sleep(3600)
        os.kill(child, number)  # in its very first moments
        codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    worker = multiprocessing.get_context("fork").Process(target=time.sleep, args=(3600,))
    worker.start()
    worker.terminate()
    worker.join()
    return [*codes, worker.exitcode or 0]


@task
def travels() -> dict[str, Any]:
    return current_job().meta


@task(retry=Retry(intervals=(0,)))
def pay(user: str, password: SecretStr, extra: dict[str, SecretStr]) -> None:
    """Fails."""
    raise ConnectionError(f"the bank does not know {user}")
