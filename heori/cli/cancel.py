"""`heori cancel`: jobs that have not begun do not run."""

from heori.cli.acting import JobsArgument, act
from heori.cli.console import JsonOption


def cancel(jobs: JobsArgument, *, as_json: JsonOption = False) -> None:
    """Keep jobs from running that no slot has begun.

    What waits for them in a flow is canceled, too. What runs is stopped by `heori stop`.
    The exit code is 1 when one of them could not be canceled; its state says why.
    """
    act("cancel", jobs, as_json=as_json)
