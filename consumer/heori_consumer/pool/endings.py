"""What the supervisor says of jobs that their workers cannot speak for any more."""

from heori_common.protocol.job import CRASHED, FAILED, RETRY, STOPPED, Claim, Outcome, RetryLater
from heori_common.protocol.payload import encode_failure
from heori_consumer.pool.host import Death
from heori_consumer.pool.lateness import HARD_GRACE_S


def stopped_outcome(claim: Claim) -> Outcome:
    """What comes of a job that was stopped by request."""
    return Outcome(STOPPED, encode_failure(f"job {claim.job_id} was stopped by request\n"))


def late_outcome(claim: Claim, at_timeout: RetryLater | None, run_time: float) -> Outcome:
    """What comes of a job that was late when its worker was killed for late jobs.

    Args:
        at_timeout: what was told to become of it then.
        run_time: seconds for which it ran.
    """
    if at_timeout is not None:
        return Outcome(RETRY, retry=at_timeout)
    why = (
        "and could not be interrupted; its worker process was killed"
        if run_time > claim.timeout + HARD_GRACE_S
        else "and its worker process was killed for another job that could not be interrupted"
    )
    text = f"the job ran for longer than its timeout of {claim.timeout} s {why}\n"
    return Outcome(FAILED, encode_failure(text))


def crashed_outcome(claim: Claim, death: Death) -> Outcome:
    """What a dead letter says in the place of a traceback; as there, the last line sums it up."""
    text = ""
    if last := death.evidence.get("heori_last_log"):
        text += f"What the worker wrote last:\n{last}\n\n"
    if peak := death.evidence.get("heori_peak_memory"):
        text += f"Its peak memory was at least {int(peak) / 1e6:.0f} MB.\n"
    text += (
        f"delivered {claim.deliveries} times without an end; the last worker {death.words} "
        "while it had this job\n"
    )
    return Outcome(CRASHED, encode_failure(text), evidence=death.evidence)
