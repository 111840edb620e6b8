"""`heori run`: scheduled jobs run now."""

from heori.cli.acting import JobsArgument, act
from heori.cli.console import JsonOption


def run(jobs: JobsArgument, *, as_json: JsonOption = False) -> None:
    """Put scheduled jobs on their queues now.

    Those, too, that are to be tried again later.
    The exit code is 1 when one of them could not be run; its state says why.
    """
    act("run", jobs, as_json=as_json)
