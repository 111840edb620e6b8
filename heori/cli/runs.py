"""Runs what starts processes of its own: each failure is one message and an exit code."""

from collections.abc import Callable
from typing import TypeVar

from heori.cli.ending import fail
from heori.demo.processes import BY_SIGNAL, ChildFailed, Interrupt, Interrupted, signals
from heori_common.embedded import EmbeddedValkeyError
from heori_common.redis.errors import RedisUnavailable

T = TypeVar("T")


def run(action: Callable[[Interrupt], T]) -> T:
    """Do it while signals are noted, and end with an exit code when it fails.

    1: a process has died, or the embedded Valkey cannot be started. 128 and the number of a
    signal: that signal stopped it.
    """
    with signals() as interrupt:
        try:
            return action(interrupt)
        except Interrupted:
            fail("stopped before it came to its end", code=BY_SIGNAL + interrupt.number)
        except (ChildFailed, EmbeddedValkeyError) as error:
            fail(*str(error).splitlines())
        except RedisUnavailable as error:
            fail(f"the embedded Valkey has ended: {error}")
