"""`heori`, whose consumer gives jobs back late, and takes none back from behind a long one.

What else does, shows. While all slots are at work it soon looks whether there is a job to have
ahead.
"""

import asyncio
from typing import Any

from heori.cli.start import run
from heori_consumer.pool import handle
from heori_consumer.supervisor import acknowledger, claimer

LATE_S = 0.3  # after others may have claimed


give_back = acknowledger.Acknowledger._give_back


async def give_back_late(*arguments: Any) -> None:
    await asyncio.sleep(LATE_S)
    await give_back(*arguments)


if __name__ == "__main__":
    handle.STALL_S = 3600.0
    claimer.LOOK_EVERY_S = 0.2
    setattr(acknowledger.Acknowledger, give_back.__name__, give_back_late)
    run()
