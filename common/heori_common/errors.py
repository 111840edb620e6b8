"""The base of the errors that Heori raises to programs."""

import contextlib
import reprlib

from heori_common.printable import printable
from heori_common.public import public


class _Shown(reprlib.Repr):
    """Enough to fill a line, and no copy of a value that is large."""

    def repr_instance(self, x: object, level: int) -> str:  # noqa: ARG002
        return repr(x)  # reprlib would say less of one that raises


_shown = _Shown()
_shown.maxlist = _shown.maxtuple = _shown.maxdict = _shown.maxset = _shown.maxfrozenset = 100
_shown.maxstring = _shown.maxother = _shown.maxlong = 1000


@public
class HeoriError(Exception):
    """Every error that Heori raises to a program derives from this, and `heori` exports them all.

    A bad argument stays a ValueError or TypeError, and a wait that takes too long a TimeoutError.
    `heori.JobStopped` is none: it ends a task from outside, as asyncio.CancelledError does, and
    derives from BaseException so that a task which catches its errors ends nevertheless.
    """


@public
class InvalidSetting(HeoriError, ValueError):
    """A setting has a value that does not fit; the message names it, and holds no secret."""


class NotNow(Exception):
    """What a job needs cannot be had at this time, which is not its fault."""


class PerhapsElsewhere:
    """Of an error about what is not in the code of this process.

    In a rolling deploy, consumers that are about to be replaced get jobs of tasks that only the new
    code has.

    Attributes:
        elsewhere: whether it may be in the code of another consumer.
        mend: what to set so that it runs here, as an imperative; empty where nothing would help.
    """

    def __init__(self, *args: object, elsewhere: bool = False, mend: str = "") -> None:
        super().__init__(*args)
        self.elsewhere = elsewhere
        self.mend = mend

    def __str__(self) -> str:
        return f"{self.reason}; {self.mend}" if self.mend else self.reason

    @property
    def reason(self) -> str:
        """What is wrong, without what would mend it."""
        return super().__str__()


def summary(error: BaseException) -> str:
    """An error in a line, of 300 characters at most, which no terminal obeys."""
    try:
        text = " ".join(str(error).split())
    except BaseException:  # its __str__ may raise anything
        text = "an error whose text cannot be printed"
    with contextlib.suppress(BaseException):  # so may its class, asked for its name
        text = f"{type(error).__name__}: {text}"
    return cut(text, 300)


def short(value: object) -> str:
    """Any value in a hundred characters, on one line, which no terminal obeys."""
    try:
        text = _shown.repr(value)
    except BaseException as error:  # a repr may raise anything
        text = f"<{type(value).__name__} whose repr raises {type(error).__name__}>"
    return cut(text)


def cut(text: str, most: int = 100) -> str:
    """A text that may be anything, as a part of a message: on one line, which no terminal obeys.

    Args:
        most: characters of it.
    """
    shown = printable(text[: most + 1])
    return shown if len(shown) <= most else shown[: most - 3] + "..."
