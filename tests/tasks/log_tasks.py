"""Tasks that say something in every way there is. LOG_SETUP: what the module sets up itself."""

import asyncio
import gc
import logging
import logging.config
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable

import redis
import structlog

from heori import LockLost, Mutex, task

MINE = "MINE %(levelname)s %(message)s"


def _basic() -> None:
    logging.basicConfig(format=MINE, level=logging.DEBUG)


def _dict() -> None:
    """As many frameworks do it: all loggers that there are already are switched off."""
    logging.config.dictConfig(
        {
            "version": 1,
            "formatters": {"mine": {"format": MINE}},
            "handlers": {"mine": {"class": "logging.StreamHandler", "formatter": "mine"}},
            "root": {"handlers": ["mine"], "level": "DEBUG"},
        }
    )
    structlog.configure(
        processors=[structlog.processors.KeyValueRenderer(key_order=["event"])],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def _handler() -> None:
    """For a logger of its own; what it is told goes on to the root logger, too."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(MINE))
    logging.getLogger("shop").addHandler(handler)


def _silence() -> None:
    logging.disable()


SETUPS: dict[str, Callable[[], None]] = {
    "basic": _basic,
    "dict": _dict,
    "handler": _handler,
    "silence": _silence,
}
if (name := os.environ.get("LOG_SETUP")) is not None:  # in a consumer
    if name:
        SETUPS[name]()
    logging.info("imported")  # noqa: LOG015 - as tasks do


@task
def say(text: str) -> None:
    """At each level, with a logger of the module's, and with structlog."""
    logging.debug("root %s", text)  # noqa: LOG015
    logging.info("root %s", text, extra={"order": 7})  # noqa: LOG015
    logging.getLogger("shop").info("shop %s", text)
    logging.getLogger("quiet").addHandler(logging.NullHandler())  # as libraries do
    logging.getLogger("quiet").warning("quiet %s", text)
    structlog.get_logger().info("struct", text=text)


@task
async def say_later(text: str) -> None:
    """The same, in a coroutine."""
    say(text)


@task
def set_up(name: str, text: str) -> None:
    """Set up while it runs, as a module does that is imported late."""
    SETUPS[name]()
    say(text)


@task
def warn() -> None:
    """A warning of Python's."""
    warnings.warn("careful", stacklevel=1)


@task
def misspell() -> None:
    """A line that cannot be made."""
    logging.info("%d", "no number")  # noqa: LOG015


@task
def fail_aside() -> None:
    """A thread of its own that fails."""
    aside = threading.Thread(target=lambda: dict[str, int]()["aside"], name="aside")
    aside.start()
    aside.join()


@task
async def forget() -> None:
    """A coroutine that fails, and that nobody awaits."""

    async def fail() -> None:
        raise LookupError("forgotten")

    forgotten = asyncio.create_task(fail())
    await asyncio.sleep(0)
    del forgotten
    gc.collect()


@task
def lose_lock(url: str) -> None:
    """Have a lock taken away."""
    lock = Mutex("till", url, lease=1.0)
    lock.acquire()
    with redis.Redis.from_url(url, socket_timeout=None) as client:
        client.delete(*client.keys(lock.key + "*"))
    assert lock.lost.wait(30)
    try:
        lock.release()
    except LockLost:
        return
    raise AssertionError("it was not lost")


@task
def fail(text: str = "on purpose") -> None:
    """So that the worker has something to say."""
    if text == "elsewhere":
        raise ValueError(text)
    raise ValueError(text)


@task
def tell(text: str) -> int:
    """In the two usual ways; returns the process."""
    print(text + "\n", end="")  # in one piece, as other slots print, too
    logging.getLogger("shop").warning(text)
    return os.getpid()


@task
def tell_past_python() -> None:
    """By the descriptors themselves, as C code does, and by a program."""
    os.write(1, b"direct\n")
    os.write(2, b"direct\n")
    subprocess.run(["/bin/sh", "-c", "echo program; echo program >&2"], check=True)


@task
def tell_from_copy(text: str) -> None:
    """In a copy of this process."""
    if (copy := os.fork()) == 0:
        print(text, flush=True)
        os._exit(0)
    os.waitpid(copy, 0)


@task
def tell_and_wait(url: str, key: str) -> None:
    """Say that it runs, wait to be told to end, and say that, too."""
    with redis.Redis.from_url(url, socket_timeout=None) as client:
        print("running")
        client.rpush(f"{key}:running", 1)
        assert client.blpop([f"{key}:end"], timeout=60)
    tell("ending")
