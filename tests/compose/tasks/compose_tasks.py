"""Tasks that ask for more than the examples do."""

from common import task


@task(timeout=60)
def leak() -> int:
    """Take memory until there is no more."""
    taken = []
    while True:
        taken.append(bytearray(b"x") * 10_000_000)
