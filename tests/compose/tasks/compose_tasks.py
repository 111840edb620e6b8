"""Tasks that ask for more than the examples do."""

import time

from heori import task


@task(timeout=60)
def leak() -> int:
    """Take memory until there is no more."""
    taken = []
    while True:
        taken.append(bytearray(b"x") * 10_000_000)


@task(queue="naps", timeout=60)
def nap(seconds: float) -> None:
    """Take a slot for so long."""
    time.sleep(seconds)
