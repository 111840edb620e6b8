"""The clock for timeouts.

`time.monotonic` stands still where a test has frozen the time, as with freezegun, and then nothing
that waits with it ever ends. This one is the system's own.
"""

import time


def now() -> float:
    """Seconds since some moment, the same for all processes of this machine."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)
