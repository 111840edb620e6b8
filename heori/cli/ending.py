"""How a command ends that cannot do what it is asked for: with a message and an exit code."""

from collections.abc import Callable
from typing import NoReturn, TypeVar

from heori.plain import say
from heori_common.errors import cut
from heori_common.redis.errors import RedisRefused, RedisUnavailable

T = TypeVar("T")

# Exit codes: it went wrong; nothing was done, because the request or a setting is not valid; it was
# told to stop by Ctrl-C, as shells tell it of any program (128 and the number of SIGINT).
FAILED, REFUSED, INTERRUPTED = 1, 2, 130

LOGIN = "Does HEORI_REDIS_URL hold its login?"
MEND = "`heori doctor` says how to mend it"

MOST_CHARS = 2000  # of a line of a message


def guarded(action: Callable[[], T]) -> T:
    """Do it; when Redis is away, end with a message instead of a traceback."""
    try:
        return action()
    except RedisUnavailable as error:
        refuse(str(error), "Is the server running, and does HEORI_REDIS_URL point at it?")
    except RedisRefused as error:
        refuse(str(error), *hints(error))
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None


def hints(refusal: RedisRefused) -> list[str]:
    """What a person may do about it."""
    known = {"NOAUTH": LOGIN, "WRONGPASS": LOGIN, "WRONGTYPE": MEND}
    return [hint for code, hint in known.items() if code == refusal.code]


def refuse(message: str, *lines: str) -> NoReturn:
    """End with a message that says why nothing was done, and with more lines about it."""
    fail(message, *lines, code=REFUSED)


def fail(message: str, *lines: str, code: int = FAILED) -> NoReturn:
    """End with a message that says what went wrong, and with more lines about it."""
    # Whatever of a request is repeated in it, which may be very long.
    say(*(cut(line, MOST_CHARS) for line in (f"heori: {message}", *lines)), error=True)
    raise SystemExit(code)
