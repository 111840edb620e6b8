"""The base of the errors that Heori raises to programs."""

from heori_common.public import public


@public
class HeoriError(Exception):
    """Every error that Heori raises to a program derives from this, and `heori` exports them all.

    A bad argument stays a ValueError or TypeError, and a wait that takes too long a TimeoutError.
    `heori.JobStopped` is none: it ends a task from outside, as asyncio.CancelledError does, and
    derives from BaseException so that a task which catches its errors ends nevertheless.
    """


def summary(error: BaseException) -> str:
    """An error in a line."""
    try:
        text = " ".join(str(error).split())
    except BaseException:  # its __str__ may raise anything
        text = "an error whose text cannot be printed"
    try:
        return f"{type(error).__name__}: {text}"[:300]
    except BaseException:  # so may its class, asked for its name
        return text[:300]
