"""The beat of a consumer: a moment, once a second, for all that is looked at now and then.

To wake a process that sleeps costs more than most looks: its caches are cold, and another has to
make room for it. With a timer for each look, an idle consumer would wake as often as it has timers.
So whoever looks now and then does so with the beat, and all of them share one wake-up.
"""

import asyncio
import contextlib
import math
import random
import time

WHOLE_S, HALF_S = 1.0, 0.5  # from beat to beat; the half ones are for what cannot wait so long


class Beat:
    """When the next beats are.

    What is to be done within some seconds is done with the last beat of that time: perhaps sooner
    than by a timer of its own, and never later. Each consumer has its own beat, so that those of
    one machine do not all wake at once.
    """

    def __init__(self) -> None:
        self._first = time.monotonic() - random.random()

    def within(self, seconds: float) -> float:
        """The time.monotonic() of the last beat within so many seconds; their end if none is."""
        now = time.monotonic()
        for step in (WHOLE_S, HALF_S):
            beat = self._first + math.floor((now + seconds - self._first) / step) * step
            if beat > now:
                return beat
        return now + seconds

    async def rest(self, seconds: float) -> None:
        """Sleep until the last beat within so many seconds."""
        await asyncio.sleep(self.within(seconds) - time.monotonic())

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        """Wait for an event until then at the latest; returns whether it is set."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self.within(seconds)):
                await event.wait()
        return event.is_set()
