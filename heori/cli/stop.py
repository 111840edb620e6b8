"""`heori stop`: jobs that run are stopped."""

from heori.cli.acting import JobsArgument, act
from heori.cli.console import JsonOption


def stop(jobs: JobsArgument, *, as_json: JsonOption = False) -> None:
    """Ask whoever runs jobs to stop them; they fail, and are not tried again.

    A consumer or a worker of rq's hears it at once. A job that ends first has ended as it did.
    The exit code is 1 when one of them could not be stopped; its state says why.
    """
    act("stop", jobs, as_json=as_json)
