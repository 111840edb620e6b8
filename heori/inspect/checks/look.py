"""What the checks of one prefix share: how they ask the server, and what they have seen."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

from heori_common.protocol.commands import Command, Commands
from heori_common.protocol.keys import Keys
from heori_common.redis.client import RedisClient
from heori_common.redis.errors import RedisRefused

T = TypeVar("T")
Progress = Callable[[str, int], None]

PAGE = 500  # keys in one round trip
EXAMPLES = 3  # names in one finding
LONGEST_NAME = 200  # characters of one of them


class Look:
    """Asks many things at once, and goes on when a key holds something else.

    Args:
        progress: called with what is being read, and how many of it so far.

    Attributes:
        client: of the server.
        now: the server's time, in epoch seconds.
        queues: the names of those that are listed. (This and what follows is found by the check of
            the types.)
        workers: the keys of consumers and stock workers that are registered.
        kinds: the types of keys, of those that there are.
        refused: by the key that could not be read: why.
    """

    def __init__(self, client: RedisClient, keys: Keys, progress: Progress) -> None:
        self.client = client
        self.keys = keys
        self.commands = Commands(keys)
        self.progress = progress
        self.now = client.execute(self.commands.time())
        self.queues: list[str] = []
        self.workers: list[bytes] = []
        self.kinds: dict[str, bytes] = {}
        self.refused: dict[str, str] = {}

    def holds(self, key: str, kind: bytes) -> bool:
        """Whether a key held something, and what it should, when the types were read."""
        return self.kinds.get(key) == kind

    def one(self, *words: Any) -> Any:
        """The reply to one command; None when it is refused."""
        [reply] = self.many([words], "the server")
        return reply

    def many(self, commands: Iterable[tuple[Any, ...]], what: str) -> list[Any]:
        """The replies to many commands, some hundred in a round trip; None for a refusal.

        Raises:
            RedisRefused: it is not one key that is refused.
        """
        replies: list[Any] = []
        for page in pages(commands, PAGE):
            asked = [Command(words, lambda _: None) for words in page]
            replies += map(self._noted, asked, self.client.ask_many(asked))
            self.progress(what, len(replies))
        return replies

    def ask(self, commands: Sequence[Command[Any]]) -> list[Any]:
        """The same for commands of the protocol, in one round trip."""
        return list(map(self._noted, commands, self.client.ask_many(commands)))

    def scan(self, pattern: str, kind: str, what: str) -> Iterator[list[bytes]]:
        """All keys of that pattern and type, by pages."""
        cursor, seen = b"0", 0
        while True:
            words = ("SCAN", cursor, "MATCH", pattern, "COUNT", PAGE, "TYPE", kind)
            cursor, page = self.client.execute(Command(words, lambda reply: reply))
            seen += len(page)
            self.progress(what, seen)
            yield page
            if cursor == b"0":
                return

    def _noted(self, command: Command[Any], reply: Any) -> Any:
        if not isinstance(reply, RedisRefused):
            return reply
        if reply.is_general:
            raise reply
        self.refused.setdefault(named(command.key), reply.said)
        return None


def named(raw: object) -> str:
    """A name as text, which leads back to it."""
    return raw.decode("utf-8", "surrogateescape") if isinstance(raw, bytes) else str(raw)


def pages(items: Iterable[T], size: int) -> Iterator[tuple[T, ...]]:
    """By so many at a time."""
    rest = iter(items)
    while page := tuple(islice(rest, size)):
        yield page


def some(names: Sequence[str]) -> str:
    """The first few of them, for people."""
    few = ", ".join(name[:LONGEST_NAME] for name in names[:EXAMPLES])
    return few + (", …" if len(names) > EXAMPLES else "")
