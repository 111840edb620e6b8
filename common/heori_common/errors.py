"""The base of the errors that Heori raises to programs."""

from heori_common.public import public


@public
class HeoriError(Exception):
    """Every error that Heori raises to a program derives from this, and `heori` exports them all.

    A bad argument stays a ValueError or TypeError, and a wait that takes too long a TimeoutError.
    `heori.JobStopped` is none: it ends a task from outside, as asyncio.CancelledError does, and
    derives from BaseException so that a task which catches its errors ends nevertheless.
    """
