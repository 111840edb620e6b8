"""What fails, told once and then counted: in an outage, one line for each failure is too many."""

import logging
from typing import NamedTuple


class Failure(NamedTuple):
    """One kind of failure, as often as it has come since the last was made."""

    event: str  # for the log
    what: str  # has failed: a task, middleware, or jobs of a queue
    name: str  # of it
    place: str  # the exception, and the line of code that has raised it
    error: str  # one of them, in a line
    job: str  # the latest to which it has happened
    times: int
    level: int = logging.WARNING
