"""How many there are in one key of each queue, asked for again only after it was written."""

from collections.abc import Callable, Iterable
from functools import partial

from heori_common.redis.errors import RedisRefused, RedisUnavailable
from heori_consumer.supervisor.listener import Listener

Count = int | RedisRefused | RedisUnavailable  # an error in its place


class TrackedCounts:
    """Counts those zsets of queues that may have changed.

    Args:
        key: of a queue's zset.
        on_count: called with a queue and what was counted.
        on_write: called when one is to be asked about again.
    """

    def __init__(
        self,
        listener: Listener,
        key: Callable[[str], str],
        *,
        on_count: Callable[[str, Count], None],
        on_write: Callable[[], None],
    ) -> None:
        self._listener = listener
        self._key = key
        self._on_count = on_count
        self._on_write = on_write
        self._unknown: set[str] = set()

    @property
    def all_known(self) -> bool:
        """Whether none is to be asked about."""
        return not self._unknown

    def look_at(self, queues: Iterable[str]) -> None:
        """Ask about these the next time."""
        self._unknown.update(queues)

    async def ask(self) -> bool:
        """Ask about those that may have changed; returns whether Redis would tell of a change."""
        unknown, self._unknown = self._unknown, set()
        is_told = await self._listener.track(
            (
                ("ZCARD", self._key(queue)),
                partial(self._on_count, queue),
                partial(self._wrote, queue),
            )
            for queue in unknown
        )
        if not is_told:
            self._unknown |= unknown
        return is_told

    def forget(self, queues: Iterable[str]) -> None:
        """Do not hear of these any more."""
        queues = list(queues)
        self._unknown.difference_update(queues)
        self._listener.forget(map(self._key, queues))

    def _wrote(self, queue: str) -> None:
        self._unknown.add(queue)
        self._on_write()
