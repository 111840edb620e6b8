"""What an `AsyncProducer` holds of a flow that it has sent."""

import asyncio
from collections.abc import Generator, Sequence
from typing import Any, Generic, TypeVar

from heori_common.duration import LONGEST_S, check_wait
from heori_common.protocol.commands import Commands
from heori_common.public import public
from heori_producer import recall
from heori_producer.async_handle import AsyncHandle
from heori_producer.async_link import AsyncLink

R_co = TypeVar("R_co", covariant=True)


@public
class AsyncFlowHandle(Generic[R_co]):
    """A flow that was sent by an `AsyncProducer`. ``await flow`` is what its last job returns.

    Attributes:
        handles: of its jobs, in the order of the flow.
    """

    def __init__(
        self,
        handles: Sequence[AsyncHandle[Any]],
        end: Any,  # a handle, or those of a group without then=
        link: AsyncLink,
        commands: Commands,
    ) -> None:
        self.handles = list(handles)
        self._end = end
        self._link = link
        self._commands = commands

    def __len__(self) -> int:
        return len(self.handles)

    async def result(self, timeout: float | None = None) -> R_co:
        """As `FlowHandle.result`; the event loop goes on.

        Raises:
            As `FlowHandle.result`.
        """
        check_wait("timeout", timeout, least=-LONGEST_S)
        if not isinstance(self._end, Sequence):
            value: R_co = await self._end.result(timeout)
            return value
        values: Any
        try:
            async with asyncio.timeout(timeout):
                values = [await each for each in self._end]
        except TimeoutError:
            values = await self._at_last(timeout)
        return values  # type: ignore[no-any-return]

    async def _at_last(self, waited: float | None) -> list[Any]:
        """What all have returned when the time is over, some of which nobody had asked after."""
        last_looks = (each.result(0) for each in self._end)
        ends = await asyncio.gather(*last_looks, return_exceptions=True)
        for end in ends:
            if isinstance(end, TimeoutError):
                message = f"not all of {len(ends)} jobs have ended after {waited} s"
                raise TimeoutError(message) from end
            if isinstance(end, BaseException):
                raise end
        return ends

    async def cancel(self) -> int:
        """As `FlowHandle.cancel`.

        Raises:
            RedisUnavailable: Redis cannot be reached.
        """
        together: dict[str, list[str]] = {}
        for handle in reversed(self.handles):  # those that wait first
            together.setdefault(handle.queue, []).append(handle.id)
        canceled = 0
        for queue, ids in together.items():
            canceled += len(await self._link.run(recall.cancel(self._commands, queue, ids)))
        return canceled

    def __await__(self) -> Generator[Any, None, R_co]:
        """Wait as `result` does; asyncio.timeout limits it."""
        return self.result().__await__()
