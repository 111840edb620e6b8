"""What the supervisor says of jobs that their workers cannot speak for any more."""

import signal
import time

from heori_common.protocol.job import (
    CRASHED,
    FAILED,
    KILLED,
    RETRY,
    STOPPED,
    Claim,
    Outcome,
    abandoned_words,
)
from heori_common.protocol.payload import encode_failure
from heori_common.rq.calling import STOPPED_WORDS
from heori_consumer.between.slot_table import AtStop, SlotState
from heori_consumer.pool.host import Death
from heori_consumer.pool.lateness import HARD_GRACE_S


def stopped_outcome(claim: Claim, *, as_rq: bool = False) -> Outcome:
    """What comes of a job that was stopped by request.

    Args:
        as_rq: say so in rq's words.
    """
    words = STOPPED_WORDS if as_rq else f"job {claim.job_id} was stopped by request\n"
    return Outcome(STOPPED, encode_failure(words))


def killed_outcome() -> Outcome:
    """What comes of a job whose worker a person had killed, in rq's words."""
    words = "Work-horse terminated unexpectedly; waitpid returned 9 (signal 9); "
    return Outcome(KILLED, encode_failure(words))


def abandoned_outcome() -> Outcome:
    """What comes of a job whose stock worker has died, where its callback cannot be run."""
    return Outcome(KILLED, encode_failure(abandoned_words()))


def late_outcome(claim: Claim, state: SlotState, *, stopped: bool) -> Outcome:
    """What comes of a job that was late when its worker was killed for late jobs.

    Args:
        state: of its slot.
        stopped: whether it was asked to stop, and is late with that.
    """
    run_time = time.monotonic() - state.since
    if stopped:
        outcome = stopped_outcome(claim, as_rq=state.at_stop is not AtStop.ENDS)
    elif state.at_timeout is not None:
        outcome = Outcome(RETRY, retry=state.at_timeout)
    else:
        outcome = _timed_out(claim, run_time)
    return outcome._replace(run_time=run_time)


def _timed_out(claim: Claim, run_time: float) -> Outcome:
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
    text += _in_words_of_rq(death) + (
        f"delivered {claim.deliveries} times without an end; the last worker {death.words} "
        "while it had this job\n"
    )
    return Outcome(CRASHED, encode_failure(text), evidence=death.evidence)


def _in_words_of_rq(death: Death) -> str:
    """What rq says of a work horse that has ended so, for whoever looks for its words."""
    said = "Work-horse terminated unexpectedly; waitpid returned"
    if name := death.evidence.get("heori_death_signal"):
        number = signal.Signals[str(name)].value
        return f"{said} {number} (signal {number}); "
    if (code := death.evidence.get("heori_exit_code")) is not None:
        return f"{said} {int(code) << 8}; "
    return ""
