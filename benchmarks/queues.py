"""One consumer that serves many queues, all of them full."""

import time

from benchmarks.fleet_rig import Fleet
from benchmarks.kinds import Case, Column, Figures, Kind
from benchmarks.systems import QUEUE, System, heori

NUMBERS = (1, 100, 1_000, 10_000)
QUICK_NUMBERS = (1, 50)
JOBS = 20_000  # over all queues
QUICK_JOBS = 200
SETTLE = 2.0  # seconds until what a consumer does at its start is done
SETTLE_PER_QUEUE = 0.001  # seconds, as it looks through all of them then


def case(queues: int) -> str:
    """The name of a case."""
    return f"heori threads 1×1, {queues:,} queue" + ("s" if queues > 1 else "")


def _cases(quick: bool) -> list[Case]:
    jobs = QUICK_JOBS if quick else JOBS
    return [_case(number, jobs) for number in (QUICK_NUMBERS if quick else NUMBERS)]


def _case(queues: int, jobs: int) -> Case:
    others = (f"{QUEUE}-{number}" for number in range(2, queues + 1))
    system = heori("threads", 1, 1, queues=(QUEUE, *others))
    return Case(case(queues), lambda: drain(system, jobs), system.missing())


def drain(system: System, jobs: int) -> Figures:
    """Let the jobs of all queues appear at once, and tell how soon the last has begun.

    The time begins with the first of them: an idle consumer finds out by a look at its queues, as
    nobody has told it.
    """
    with Fleet(system) as fleet:
        fleet.hide_all(jobs)
        fleet.start(1)
        fleet.warm_up()
        time.sleep(SETTLE + SETTLE_PER_QUEUE * len(system.queues))
        before, used = fleet.cpu(), fleet.use()
        fleet.release_all()
        fleet.until(lambda: fleet.begun() >= jobs)
        after = fleet.cpu()
        fleet.verify(jobs)
        use = fleet.use().since(used)
        began = [record.at for record in fleet.records()]
        main, others, server = (
            (now - then) / jobs * 1e6 for now, then in zip(after, before, strict=True)
        )
        return {
            "rate": jobs / ((max(began) - min(began)) / 1e9),
            "main_us": main,
            "others_us": others,
            "server_us": server,
            "commands": use.commands / jobs,
        }


QUEUES = Kind(
    "queues",
    f"{JOBS:,} jobs that do nothing over all queues of one consumer, from the first that begins to "
    "the last. CPU time and commands are per job",
    (
        Column("rate", "jobs/s"),
        Column("of_one", "of one queue", ".2f"),
        Column("main_us", "main µs"),
        Column("others_us", "workers µs"),
        Column("server_us", "server µs"),
        Column("commands", "commands", ".1f"),
    ),
    _cases,
    seconds=9,
)
