"""Runs what starts processes: what goes wrong with them is told in a line, and is the exit code."""

from collections.abc import Callable
from typing import TypeVar

from heori.cli.console import fail
from heori.demo.processes import BY_SIGNAL, ChildFailed, Interrupt, Interrupted, signals
from heori_common.embedded import EmbeddedValkeyError
from heori_common.redis.errors import RedisUnavailable

T = TypeVar("T")


def run(action: Callable[[Interrupt], T]) -> T:
    """Do it, while signals are noted for it; see the caller's help for the exit codes."""
    with signals() as interrupt:
        try:
            return action(interrupt)
        except Interrupted:
            fail("stopped before it came to its end", BY_SIGNAL + interrupt.number)
        except (ChildFailed, EmbeddedValkeyError) as error:
            fail(str(error))
        except RedisUnavailable as error:
            fail(f"the embedded Valkey has ended: {error}")
