"""Reads what anybody may have written: what makes no sense is named, and all else is read."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

from heori_common.protocol.commands import Command, Commands
from heori_common.protocol.keys import Keys
from heori_common.redis.client import RedisClient
from heori_common.redis.errors import RedisRefused

T = TypeVar("T")

PAGE = 1000  # commands in one round trip, so that thousands of queues take a few
LONGEST_REASON = 300  # characters
WRONG_TYPE = "it holds another type of value than Heori and RQ keep there"
# What the reading of a reply may raise, when the reply is not what Heori or RQ would have written.
NONSENSE = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RecursionError)


class RedisReader:
    """All who look into a Redis read by this. What cannot be read is None, and is noted.

    Attributes:
        client: of the server.
        commands: for it.
        address: where it is, for people.
        unreadable: by the key that cannot be read: why.
    """

    def __init__(self, client: RedisClient, keys: Keys) -> None:
        self.client = client
        self.commands = Commands(keys)
        self.address = client.address
        self.unreadable: dict[str, str] = {}

    def read(self, command: Command[T]) -> T | None:
        """Read one thing, by a command that has a key.

        Raises:
            RedisUnavailable: Redis cannot be reached.
            RedisRefused: it is not the key that it refuses, but all of the kind.
        """
        return self.read_many([command])[0]

    def read_many(self, commands: Sequence[Command[T]]) -> list[T | None]:
        """The same for many, a thousand in a round trip."""
        return [
            self._parsed(command, reply)
            for first in range(0, len(commands), PAGE)
            for command, reply in self._ask(commands[first : first + PAGE])
        ]

    def note(self, key: str, why: str | Exception) -> None:
        """Say that what stands in a key makes no sense."""
        # Any other error than these says how Heori came upon it, and not what is wrong.
        told = str(why) if isinstance(why, str | ValueError) else ""
        self.unreadable.setdefault(key, told[:LONGEST_REASON] or "what it holds makes no sense")

    def note_refusal(self, key: str, refusal: RedisRefused) -> None:
        """The same, when the server has refused to read it or to work on it.

        Raises:
            RedisRefused: it is not about that key.
        """
        if refusal.is_general:
            raise refusal
        self.note(key, WRONG_TYPE if refusal.code == "WRONGTYPE" else refusal.said)

    def problems(self) -> Iterator[str]:
        """What could not be read, for people, by lines."""
        for key, why in self.unreadable.items():
            yield f"{key[:LONGEST_REASON]} cannot be read: {why}"

    def _ask(self, commands: Sequence[Command[T]]) -> Iterator[tuple[Command[T], object]]:
        return zip(commands, self.client.ask_many(commands), strict=True)

    def _parsed(self, command: Command[T], reply: object) -> T | None:
        key = _text(command.key)
        if isinstance(reply, RedisRefused):
            self.note_refusal(key, reply)
            return None
        try:
            return command.parse(reply)
        except NONSENSE as error:
            self.note(key, error)
            return None


def _text(key: object) -> str:
    return key.decode("utf-8", "surrogateescape") if isinstance(key, bytes) else str(key)
