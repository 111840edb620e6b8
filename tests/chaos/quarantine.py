"""A task that crashes its worker, among good jobs: it is put away, and they hardly notice."""

import statistics
import time
from dataclasses import dataclass, field
from functools import partial

from tests.chaos import tasks
from tests.chaos.fleet import Fleet, Report
from tests.rigs.waiting import until

DELIVERIES = 3  # the default of HEORI_MAX_DELIVERIES


@dataclass
class Quarantine:
    """What became of a crashing job and of those around it, over some rounds."""

    model: str
    good: int
    done: int = 0  # the fewest good jobs done in a round
    deliveries: list[int] = field(default_factory=list)  # of the crashing job, by round
    missing: list[str] = field(default_factory=list)  # of what a dead letter is to tell
    dead_letters: int = 0
    rounds: int = 0
    without: float = 0.0  # good jobs per second, the median of the rounds
    beside: float = 0.0  # the same with one crashing job among them

    @property
    def slower(self) -> float:
        """By which part the good jobs are slower beside the crashing one."""
        return 1 - self.beside / self.without

    def problems(self) -> list[str]:
        """What is not as it must be; how fast it was is not among it."""
        found = {
            f"{self.good - self.done} good jobs were not done": self.done < self.good,
            f"dead letters: {self.dead_letters} of {self.rounds}": self.dead_letters != self.rounds,
            f"it was delivered {self.deliveries} times": set(self.deliveries) != {DELIVERIES},
            f"the dead letters do not tell {self.missing}": self.missing,
        }
        return [f"{self.model}: {problem}" for problem, there in found.items() if there]

    def row(self) -> dict[str, str]:
        """What a table shows of it."""
        return {
            "model": self.model,
            "good": f"{self.good:,}",
            "done": f"{self.done:,}",
            "dead letters": f"{self.dead_letters} of {self.rounds}",
            "deliveries": ", ".join(map(str, self.deliveries)),
            "jobs/s without": f"{self.without:,.0f}",
            "jobs/s beside it": f"{self.beside:,.0f}",
            "slower by": f"{self.slower:.1%}",
        }


def quarantine(
    model: str, good: int, rounds: int, report: Report, *, pace: float = 0.01
) -> Quarantine:
    """Run good jobs, in turns without and with a job that crashes its worker in their midst.

    Args:
        rounds: turns of both kinds.
        pace: seconds that one good job takes.
    """
    taken: dict[bool, list[float]] = {False: [], True: []}
    result = Quarantine(model, good, done=good, rounds=rounds)
    with Fleet(model) as fleet:
        consumer = fleet.start().ready()
        for turn in range(2 * rounds):
            report(turn, 2 * rounds)
            fleet.path.write_bytes(b"")
            before = fleet.finished()
            calls = [(str(fleet.path), number, pace) for number in range(good)]
            start = time.monotonic()
            fleet.producer.submit_many(tasks.run, calls[: good // 2])
            crashing = fleet.producer.submit(tasks.segfault) if turn % 2 else None
            fleet.producer.submit_many(tasks.run, calls[good // 2 :])
            until(lambda before=before: fleet.finished() - before == good, timeout=300)  # type: ignore[misc]
            taken[crashing is not None].append(time.monotonic() - start)
            if crashing is not None:
                status = partial(fleet.redis.hget, fleet.keys.job(crashing.id), "status")
                until(lambda status=status: status() == b"failed")  # type: ignore[misc]
                _look_at(fleet, crashing.id, result)
            result.done = min(result.done, len(fleet.runs()))
        result.dead_letters = fleet.failed()
        consumer.stop()
    report(2 * rounds, 2 * rounds)
    result.without, result.beside = (good / statistics.median(taken[each]) for each in taken)
    return result


def _look_at(fleet: Fleet, job_id: str, result: Quarantine) -> None:
    """Note how often a job was delivered, and what its dead letter does not tell."""
    read = fleet.redis.hgetall(fleet.keys.job(job_id))
    result.deliveries.append(int(read.get(b"heori_earlier", 0)))
    told = {
        "signal": read.get(b"heori_death_signal") == b"SIGSEGV",
        "peak memory": int(read.get(b"heori_peak_memory", 0)) > 0,
        "last words": b"Segmentation fault" in read.get(b"heori_last_log", b""),
        "traceback": "SIGSEGV" in fleet.traceback(job_id),
    }
    result.missing += [what for what, there in told.items() if not there]
