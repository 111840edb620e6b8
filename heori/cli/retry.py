"""`heori retry`: jobs that have ended badly run again."""

from heori.cli.acting import JobsArgument, act
from heori.cli.console import JsonOption


def retry(jobs: JobsArgument, *, as_json: JsonOption = False) -> None:
    """Let jobs run again that failed, were stopped or canceled, as if for the first time.

    Many failed jobs at once are replayed by `heori dead replay`.
    The exit code is 1 when one of them could not be retried; its state says why.
    """
    act("retry", jobs, as_json=as_json)
