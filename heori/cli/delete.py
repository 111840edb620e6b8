"""`heori delete`: jobs go with all that is kept about them."""

from heori.cli.acting import JobsArgument, act
from heori.cli.console import JsonOption


def delete(jobs: JobsArgument, *, as_json: JsonOption = False) -> None:
    """Delete jobs that do not run, with their results and all that is kept about them.

    What waits for one in a flow is canceled, if that had not ended. What waits by RQ's depends_on
    stays deferred, as when rq deletes it; `heori doctor --mend` runs it.
    The exit code is 1 when one of them could not be deleted; its state says why.
    """
    act("delete", jobs, as_json=as_json)
