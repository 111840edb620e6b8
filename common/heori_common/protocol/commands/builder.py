"""A command: what to send, and how to read the reply. No I/O here."""

from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import msgpack

from heori_common.protocol.keys import Keys
from heori_common.protocol.payload import encode_failure
from heori_common.protocol.scripts import script

T = TypeVar("T")
Word = str | bytes | int | float

RESULT_TTL_S = 500  # seconds; rq.defaults.DEFAULT_RESULT_TTL
FAILURE_TTL_S = 365 * 24 * 3600  # seconds; rq.defaults.DEFAULT_FAILURE_TTL
# The lease of a waiter that was handed a lock, until it renews it. The lock is idle for so long
# when the waiter was stopped just before.
HANDOVER_LEASE_US = 2_000_000
# Bytes of payloads or results in one call, about: Redis does nothing else while it moves them, and
# one that takes a millisecond for each megabyte keeps nobody waiting.
CALL_BYTES = 1_000_000
# How far a score in wip lies behind the end of its lease, in seconds. rq fails whatever it
# finds there with a score in the past, and any `rq info` may look at any moment. So its turn
# comes only when no consumer of ours has been there for a day to deliver the job again.
LEASE_MARGIN_S = 24 * 3600
# Seconds that holders get to come back then. A consumer that waits for a server tries every 2 s,
# and each try may take as long as the kernel's next attempt to connect, which is about 5 s.
COME_BACK_S = 10.0
# Seconds until a job that waits for a lock is looked at, whether it still does. It is told when its
# turn comes; this is for what nobody has foreseen.
PARKED_LOOK_S = 10
EXECUTION_MARK = "heori"  # how our executions' names begin; stock rq's are bare hexadecimal
# The failure of a job whose key was overwritten while it was claimed.
UNREADABLE = encode_failure("its key in Redis does not hold a hash any more; nothing can run it\n")
MOST_HOPS = 200  # from owner to owner, that a search for a deadlock follows


class Command(NamedTuple, Generic[T]):
    """One command for Redis and the way to read its reply."""

    words: tuple[Word, ...]
    parse: Callable[[Any], T]
    script: str = ""  # its name, if it is one
    # Called when a producer has sent it, while the server is at it; it raises nothing.
    meanwhile: Callable[[], object] | None = None

    @property
    def in_full(self) -> tuple[Word, ...] | None:
        """A script's words for a server that has lost it."""
        return ("EVAL", script(self.script).source, *self.words[2:]) if self.script else None

    @property
    def name(self) -> str:
        """What it is called in metrics."""
        return self.script or str(self.words[0]).lower()

    @property
    def key(self) -> Word:
        """The first of the keys that it is about; it must have one."""
        return self.words[3 if self.script else 1]


class Template(Generic[T]):
    """The call of a script that differs from time to time in one part of its argument.

    To build one anew takes three times as long, and a lock that nobody else wants is two of them.

    Args:
        command: with a blank in the place of that part. What comes before it in the argument is
            not like it.
        blank: as it stands in the argument.
    """

    __slots__ = ("_after", "_before", "_head", "_parse", "_script")

    def __init__(self, command: Command[T], blank: bytes) -> None:
        self._head, argument = command.words[:-1], command.words[-1]
        self._parse, self._script = command.parse, command.script
        assert isinstance(argument, bytes)
        self._before, _, self._after = argument.partition(blank)

    def command(self, part: bytes, parse: Callable[[Any], T] | None = None) -> Command[T]:
        """The call with this part, as it stands in the argument.

        Args:
            parse: in the place of the command's.
        """
        argument = self._before + part + self._after
        return Command((*self._head, argument), parse or self._parse, self._script)


class Builders:
    """Builders of commands, bound to one key prefix."""

    def __init__(self, keys: Keys | None = None) -> None:
        self.keys = keys or Keys()

    def _call(
        self, name: str, keys: Sequence[str | bytes], parse: Callable[[Any], T], **arguments: Any
    ) -> Command[T]:
        """Build the call of a script."""
        called = script(name)
        argument = called.pack(arguments, self.keys.prefix)
        return Command(("EVALSHA", called.digest, len(keys), *keys, argument), parse, name)

    def info(self, section: str) -> Command[dict[str, str]]:
        """What the server tells of itself, by the names of the fields."""

        def parse(reply: bytes) -> dict[str, str]:
            lines = reply.decode("utf-8", "backslashreplace").splitlines()
            return {
                name: told for name, colon, told in (line.partition(":") for line in lines) if colon
            }

        return Command(("INFO", section), parse)

    def probe(self) -> Command[int]:
        """Write nothing: a server that takes no writes, or no more data, refuses it as any other.

        (Redis documentation, SETRANGE: without a value it makes no key, and changes none.)
        """
        return Command(("SETRANGE", self.keys.probe(), 0, b""), int)

    def _giving_back(self, consumer: str, max_deliveries: int) -> dict[str, Any]:
        """What scripts need to end deliveries without a result."""
        return {
            "consumer": consumer,
            "max_deliveries": max_deliveries,
            "failure_ttl_s": FAILURE_TTL_S,
            "result_ttl_s": RESULT_TTL_S,
            "unreadable": UNREADABLE,
            "handover_lease_us": HANDOVER_LEASE_US,
        }


def unpack(reply: bytes) -> Any:
    """Read the reply of a script; texts are left as bytes."""
    return msgpack.unpackb(reply, raw=True)


def text(name: bytes) -> str:
    """Anyone may write any bytes as an id or a name; surrogates bring them back unchanged."""
    return name.decode("utf-8", "surrogateescape")


def fates(reply: bytes) -> list[str]:
    """Read what became of each of some jobs."""
    return [fate.decode() for fate in unpack(reply)]
