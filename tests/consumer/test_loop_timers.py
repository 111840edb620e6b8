"""When the timers of coroutines ring on the event loop of a worker."""

import asyncio
import contextlib
import time

from heori_common.platform import shared_memory
from heori_consumer.between.slot_table import SlotTable
from heori_consumer.worker.loops import JobLoop
from heori_consumer.worker.slots import TimedSelector

PATIENCE_S = 60.0
# A wait for whole milliseconds, rounded up, makes 11 of this.
WAIT_S = 0.0105
LATE_S = 0.00035


def test_a_timer_is_not_put_off_to_the_next_millisecond() -> None:
    table = SlotTable(shared_memory(SlotTable.bytes_of(1, 0)), 1, 0)
    late = PATIENCE_S
    with contextlib.closing(TimedSelector(table)) as selector:
        give_up = time.monotonic() + PATIENCE_S
        while late > LATE_S:  # on a busy machine most are late; put off, all of them would be
            assert time.monotonic() < give_up, late
            began = time.monotonic()
            assert selector.select(WAIT_S) == []
            late = time.monotonic() - began - WAIT_S
    assert late >= 0.0


def test_the_loop_is_woken_by_others_while_it_waits_for_a_timer() -> None:
    table = SlotTable(shared_memory(SlotTable.bytes_of(1, 0)), 1, 0)

    async def woken() -> str:
        timer = asyncio.create_task(asyncio.sleep(PATIENCE_S))
        said = await asyncio.to_thread(lambda: "from a thread")
        timer.cancel()
        return said

    with asyncio.Runner(loop_factory=lambda: JobLoop(TimedSelector(table))) as runner:
        assert runner.run(woken()) == "from a thread"
