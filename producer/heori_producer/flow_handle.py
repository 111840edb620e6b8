"""What a producer holds of a flow that it has sent."""

from collections.abc import Generator, Sequence
from typing import Any, Generic, TypeVar

from heori_common.public import public
from heori_producer.group import Group
from heori_producer.handle import Handle

R_co = TypeVar("R_co", covariant=True)


@public
class FlowHandle(Generic[R_co]):
    """A flow that was sent. In a coroutine, ``await flow`` is what `result` is elsewhere.

    Attributes:
        handles: of its jobs, in the order of the flow.
    """

    def __init__(self, handles: Sequence[Handle[Any]], end: Handle[Any] | Sequence[Any]) -> None:
        self.handles = list(handles)
        self._end = end

    def __len__(self) -> int:
        return len(self.handles)

    def result(self, timeout: float | None = None) -> R_co:
        """What its last job has returned; of a group without then=, what all of its jobs have.

        Raises:
            JobCanceled: a step before it has failed; the message names it.
            As `Handle.result`.
        """
        if isinstance(self._end, Handle):
            value: R_co = self._end.result(timeout)
            return value
        values: Any = Group(self._end).results(timeout)
        return values  # type: ignore[no-any-return]

    def cancel(self) -> int:
        """Keep those of its jobs from running that no slot has begun; returns how many.

        Raises:
            RedisUnavailable: Redis cannot be reached.
        """
        together: dict[tuple[Any, str], list[str]] = {}
        for handle in reversed(self.handles):  # those that wait first
            together.setdefault((handle.recall, handle.queue), []).append(handle.id)
        return sum(len(recall.cancel(queue, ids)) for (recall, queue), ids in together.items())

    def __await__(self) -> Generator[Any, None, R_co]:
        """Wait as `result` does, and let the event loop go on; asyncio.timeout limits it."""
        waits: Any = self._end if isinstance(self._end, Handle) else Group(self._end)
        return waits.__await__()  # type: ignore[no-any-return]
