"""The exception that ends a job which has run for too long.

It is `heori.JobTimeout`. Where rq is loaded it is rq's JobTimeoutException, too, as functions that
were written for rq catch that. Who has not imported rq cannot name it: it is not imported for this.
"""

import sys
from functools import lru_cache
from typing import Any

from heori_common.current_job import JobTimeout


def job_timeout() -> type[JobTimeout]:
    """What is raised in a job of one of Heori's tasks."""
    return _made(_of_rq(), None)


def job_timeout_as_rq(seconds: float) -> type[JobTimeout]:
    """The same with the name and the words that it has in rq.

    Args:
        seconds: that the call was given.
    """
    return _made(_of_rq(), seconds)


def _of_rq() -> Any:
    return getattr(sys.modules.get("rq.timeouts"), "JobTimeoutException", None)


@lru_cache(64)
def _made(of_rq: Any, seconds: float | None) -> type[JobTimeout]:
    bases = (JobTimeout,) if of_rq is None else (JobTimeout, of_rq)
    if seconds is None:
        return JobTimeout if of_rq is None else type("JobTimeout", bases, {"__module__": "heori"})

    def init(self: JobTimeout) -> None:
        JobTimeout.__init__(self)
        self.timeout = int(seconds)
        self.args = (f"Task exceeded maximum timeout value ({seconds:g} seconds)",)

    own = {"__module__": "rq.timeouts", "__init__": init}
    return type("JobTimeoutException", bases, own)
