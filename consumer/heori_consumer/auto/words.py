"""Why a pool moves, in words for people."""

from collections.abc import Sequence

from heori_consumer.auto.demand import Observation
from heori_consumer.auto.held_up import held_up
from heori_consumer.auto.move import CameOf, Cause
from heori_consumer.auto.size import Size

NOTABLE = 0.05  # of threads' time


def path(before: Size, after: Size) -> str:
    """From one size to another."""
    if (before.processes, before.slots) == (after.processes, after.slots):
        return f"{before}, {before.coroutines} → {after.coroutines} coroutines a process"
    return f"{before} → {after}"


def state(seen: Sequence[Observation]) -> str:
    """What threads and cores do."""
    threads = sum(each.threads for each in seen)
    seconds = sum(each.seconds for each in seen)
    told: list[str] = []
    if threads:
        for name, spent in (
            ("threads wait for the GIL", sum(each.gil_wait for each in seen)),
            ("wait for other things", sum(each.io_wait for each in seen)),
            ("lack a core", max(0.0, sum(each.running - each.cpu for each in seen))),
        ):
            if spent / threads >= NOTABLE:
                subject = "" if told or name.startswith("threads") else "threads "
                told.append(f"{subject}{name} {spent / threads:.0%} of their time")
    if (lock := held_up(seen)) is not None:
        told.append(str(lock))
    used, cores = sum(each.cpu for each in seen) / seconds, seen[-1].cores
    loops = sum(each.loop_busy for each in seen) / seconds / seen[-1].size.processes
    if sum(each.coroutines for each in seen):
        told.append(f"event loops are busy {loops:.0%} of the time")
    told.append(f"{used:.1f} of {cores:g} cores used")
    return ", ".join(told)


def cause(seen: Observation, target: Size) -> Cause:
    """What there is to gain by a larger size, in a word."""
    if target.coroutines != seen.size.coroutines and seen.coroutines:
        return "event loops are full"
    threads = seen.threads or 1.0
    if max(seen.gil_wait, seen.io_wait) < NOTABLE * threads:
        return "cores are idle"
    if seen.gil_wait >= seen.io_wait:
        return "threads wait for the GIL"
    return "jobs wait for other things"


def why_less(seen: Sequence[Observation]) -> Cause:
    """Why a smaller size will do, in a word."""
    return "jobs wait for a lock" if held_up(seen) is not None else "less does as much"


def came_of(outcome: CameOf) -> str:
    """What came of a move."""
    if outcome.gain is None:
        return "the work changed before that could be told"
    return f"{outcome.gain - 1:+.0%} jobs/s since" + ("" if outcome.fate == "kept" else ", undone")


def expected(gain: float) -> str:
    """What a move is to bring."""
    if abs(gain - 1) < 0.03:
        return "as many jobs/s expected"
    return f"{gain - 1:+.0%} jobs/s expected"
