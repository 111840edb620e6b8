"""The job that does nothing: what is left is the cost of the queue."""

from common import task


@task(queue="bench")
def nothing(number: int) -> int:
    """Return the argument, so that a result is kept."""
    return number
