"""A lock lets one in after the other: whose turn it is, who may release, and what that costs.

What goes wrong without one is shown by `heori lab locks`, which is run here with fewer transfers.
The rest is what a lock is chosen by: its owner, its line, its price, and what it does about those
who wait for each other.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from heori import formats
from heori.demo.processes import Interrupt
from heori.examples.accounts import ACCOUNTS, PRINTERS
from heori.lab.locks import LockOptions, run_locks
from heori.lab.notes import contending, lock_costs
from heori.lab.notes.contending import LOWEST, WAYS
from heori.lab.notes.copies import Copies
from heori.lab.notes.findings import Curves, Figures, NoteFindings, Spans, Statement, Step
from heori.lab.notes.lock_costs import IN_MEMORY
from heori_common.embedded import EmbeddedValkey
from heori_common.locks.session import close

TRANSFERS, QUICK_TRANSFERS = 200, 40
CONTENDERS = 4  # processes
SPAN_S, QUICK_SPAN_S = 3.0, 0.4  # for which they contend
SHOWN_FROM, SHOWN_S = 0.3, 0.6  # in the picture: from this part of it, when all have begun
MIDDLE_S, QUICK_MIDDLE_S = 1.5, 0.3
TIMEOUT_S, QUICK_TIMEOUT_S = 1.0, 0.15
SLOW = 1.5  # × the timeout: for so long a slow one holds its lock
THREADS, QUICK_THREADS = (1, 2, 4, 8, 16), (1, 4)
COST_S, QUICK_COST_S = 0.4, 0.1
OWNED = ("threading.RLock", "heori.Mutex", "heori.Semaphore")


def measure(step: Step, *, seed: int, quick: bool) -> Figures:
    """Processes first, as what has threads is not to be copied."""
    span, middle, timeout, cost = (
        (QUICK_SPAN_S, QUICK_MIDDLE_S, QUICK_TIMEOUT_S, QUICK_COST_S)
        if quick
        else (SPAN_S, MIDDLE_S, TIMEOUT_S, COST_S)
    )
    figures: Figures = {"span": span, "timeout": timeout}
    with EmbeddedValkey() as valkey, Copies() as beside:
        url = valkey.url
        beside.start(partial(_transfers, seed, quick=quick))
        if not quick:  # else the rest, whose figures are rough then, goes on meanwhile
            beside.results(lambda: step(0.05))
        figures["turns"] = {
            way: contending.turns(way, url, CONTENDERS, span, lambda: step(0.3)) for way in WAYS
        }
        figures["inversion"] = {
            name: contending.inversion(url, name, lambda: step(0.5), **how)
            for name, how in _inversions(middle).items()
        }
        figures["deadlock"] = {
            "detected": contending.deadlock(url, lambda: step(0.6), None),
            "timeout": contending.deadlock(url, lambda: step(0.65), timeout),
            "slow": contending.slow_holder(url, lambda: step(0.7), timeout, SLOW * timeout),
        }
        figures["owners"], figures["inside"] = lock_costs.owners(url), lock_costs.given_back_twice()
        figures["cost"] = {}
        numbers = QUICK_THREADS if quick else THREADS
        for done, threads in enumerate(numbers):
            figures["cost"][threads] = {}
            for name, make in lock_costs.contended(url).items():
                step(0.75 + 0.25 * done / len(numbers))
                figures["cost"][threads][name] = lock_costs.rate(make, threads, cost)
        close()
        [figures["transfers"]] = beside.results(lambda: step(0.99))
    return figures


def findings(figures: Figures) -> NoteFindings:
    """See `heori.lab.notes`."""
    moved, owners, knots = figures["transfers"], figures["owners"], figures["deadlock"]
    lines = {way: _contest(of) for way, of in figures["turns"].items()}
    polled, queued = lines["SET NX"], lines["heori.Mutex"]
    waits = {name: _took(of["high"]) for name, of in figures["inversion"].items()}
    alone, inverted, raised = waits.values()
    cost = {int(threads): of for threads, of in figures["cost"].items()}
    most = max(cost)
    known = {how: _known(knots[how]) for how in ("detected", "timeout")}
    gave_up = {how: sum(not each["got"] for each in knots[how]) for how in known}
    return NoteFindings(
        "A lock lets one in after the other, and a semaphore so many. Which one is told by who may "
        "release it, whose turn is next, and what it costs.",
        ("lock", "another releases it", "free", f"by {most}, /s", "turns", "longest wait"),
        [
            (
                name,
                owners[name] or "it is free" if name in owners else "-",
                _short(1 / cost[1][name]) if name in cost[1] else "-",
                formats.count(cost[most][name]) if name in cost[1] else "-",
                line.said if line else "-",
                formats.duration(line.longest) if line else "-",
            )
            for name, line in ((name, lines.get(name)) for name in (*owners, "SET NX"))
        ],
        [
            Statement(
                moved["transfer_unlocked"]["wrong_accounts"] > 0,
                f"{moved['transfer_unlocked']['jobs']} transfers without a lock have left "
                f"{moved['transfer_unlocked']['wrong_accounts']} of {ACCOUNTS} accounts wrong.",
                "By luck transfers without a lock have left all accounts right; that proves "
                "nothing.",
            ),
            Statement(
                moved["transfer"]["well"] and moved["transfer_crosswise"]["well"],
                "With a mutex for each account all of them are right to the cent, also where two "
                "that met crosswise had to be told "
                f"({formats.counted(moved['transfer_crosswise']['deadlocks'], 'deadlock')}).",
                "With a mutex for each account some are wrong, which cannot be.",
                "With a mutex for each account every account is right to the cent, also where two "
                "transfers were in a deadlock and one of them was told.",
            ),
            Statement(
                moved["print_page"]["highest"] == PRINTERS,
                f"A semaphore of {PRINTERS} permits let {moved['print_page']['highest']} of "
                f"{moved['print_page']['jobs']} jobs in at once, and no more.",
                f"A semaphore of {PRINTERS} permits let {moved['print_page']['highest']} in at "
                "most.",
                f"A semaphore of {PRINTERS} permits lets {PRINTERS} in at once, and no more.",
            ),
            Statement(
                all(owners[name] for name in OWNED)
                and owners["threading.Semaphore"] is None
                and figures["inside"] > 1,
                "Who has a mutex owns it: another thread that releases it gets "
                f"{owners['threading.RLock']} from threading.RLock and {owners['heori.Mutex']} "
                "from heori.Mutex. Nobody owns a permit of threading.Semaphore: another thread "
                f"gave it back, and given back twice it let {figures['inside']} in where there was "
                "one permit. heori.Semaphore knows who has which, and says "
                f"{owners['heori.Semaphore']}.",
                "Here a mutex was released by another thread, or a permit was not.",
                "Its owner alone releases a mutex, and in Heori a permit. A permit of Python's "
                "semaphore is given back by anyone: given back twice, it lets two in where there "
                "was one.",
            ),
            Statement(
                polled.longest > 2 * queued.longest and polled.fairness < queued.fairness,
                f"Of {CONTENDERS} processes that poll with SET NX, as redis-py's lock does, one "
                f"had {polled.most} turns and another {polled.least}, and one waited for "
                f"{formats.duration(polled.longest)}: whoever releases is there first, and nobody "
                "stands in line.",
                f"Those that poll waited for {formats.duration(polled.longest)} at most here, and "
                f"those in a line for {formats.duration(queued.longest)}: luck, or this machine "
                "stood still.",
            ),
            Statement(
                queued.least >= 0.8 * queued.most,
                f"In Heori's line they had {queued.said} turns each, and nobody "
                f"waited longer than {formats.duration(queued.longest)}.",
                f"In Heori's line they had {queued.said} turns each: some of them "
                "did not ask in time, as this machine had no core for them.",
            ),
            Statement(
                inverted > 2 * alone,
                f"A process of high priority waited {formats.duration(alone)} for a lock that one "
                f"of the lowest (nice {LOWEST}) held, and {formats.duration(inverted)} when one "
                "between them computed on the same core, which wants no lock: the holder did not "
                "get to release it. That is inversion.",
                f"A middle one that computes made the high one wait {formats.duration(inverted)}, "
                f"and {formats.duration(alone)} without it: here the holder had a core all the "
                "same.",
            ),
            Statement(
                raised < inverted,
                f"It was {formats.duration(raised)} where the holder kept the high priority until "
                "its release. So what bounds it is a holder as urgent as its most urgent waiter.",
                f"A holder of high priority did not help: {formats.duration(raised)}.",
            ),
            Statement(
                cost[1]["heori.Mutex"] < cost[1][IN_MEMORY],
                f"A free threading.Lock takes {_short(1 / cost[1][IN_MEMORY])}, and a "
                f"free heori.Mutex {formats.duration(1 / cost[1]['heori.Mutex'])}: two messages to "
                "Redis, as SET NX and its release are "
                f"({formats.duration(1 / cost[1]['SET NX'])}).",
                "Here a lock in Redis is cheaper than one in memory, which cannot be.",
                "A free lock in memory is cheaper than a free one in Redis.",
            ),
            Statement(
                cost[most]["heori.Mutex"] >= 0.5 * cost[1]["heori.Mutex"],
                f"{most} threads that want the same heori.Mutex get it "
                f"{formats.count(cost[most]['heori.Mutex'])} times a second in turns, and one "
                f"alone {formats.count(cost[1]['heori.Mutex'])} times.",
                f"{most} threads that want the same heori.Mutex get it only "
                f"{formats.count(cost[most]['heori.Mutex'])} times a second, and one alone "
                f"{formats.count(cost[1]['heori.Mutex'])} times: here it takes long to wake the "
                "next.",
            ),
            Statement(
                gave_up["detected"] == 1,
                "Of two processes in a deadlock Heori's detection told one, and the other got its "
                "lock.",
                f"Of two processes in a deadlock {gave_up['detected']} gave up.",
                "Of two processes in a deadlock one is told by Heori's detection, and the other "
                "gets its lock.",
            ),
            Statement(
                known["detected"] < known["timeout"],
                f"It was known after {formats.duration(known['detected'])}, and by a timeout after "
                f"{formats.duration(known['timeout'])}, when {gave_up['timeout']} gave up.",
                f"By a timeout it was known after {formats.duration(known['timeout'])}, and by "
                f"detection after {formats.duration(known['detected'])}.",
            ),
            Statement(
                knots["slow"]["detected"]["got"] and not knots["slow"]["timeout"]["got"],
                "And a timeout takes a slow holder for a deadlock: it gave up a lock that the "
                "other one got after "
                f"{formats.duration(knots['slow']['detected']['seconds'])}.",
                "A holder that was only slow was not taken for a deadlock here.",
                "A timeout gives up a lock whose holder is only slow; who waits by detection gets "
                "it.",
            ),
        ],
        "So take a mutex for what has a name and a semaphore for what has a number, and hold it "
        "for as short as may be. Heori's have an owner (common/heori_common/locks/owner.py) and a "
        "line, in which a lock is handed on (common/heori_common/locks/line.py, and "
        "common/heori_common/protocol/lua/parts/lock_handover.lua); lock_deadlock.lua beside it "
        "looks for a cycle before a wait begins. To the system all jobs have the same priority, "
        "and one that has begun keeps its slot: a middle one takes a share of the cores and no "
        "more. One that waits for a lock which its task declares "
        "takes no slot: consumer/heori_consumer/supervisor/job_locks.py.",
        [
            Spans(
                "Who has it: turns, longest wait",
                {
                    f"{way} {number}: {_fared(of)}": _shown(of, lines[way].began, figures["span"])
                    for way, contenders in figures["turns"].items()
                    for number, of in enumerate(contenders, 1)
                },
            ),
            Spans(
                "Priority inversion",
                {
                    f"{name}: {who}": [
                        (state, start - parties["low"][0][1], end - parties["low"][0][1])
                        for state, start, end in spans
                    ]
                    for name, parties in figures["inversion"].items()
                    for who, spans in parties.items()
                },
            ),
            Curves(
                "Acquisitions a second, by threads that want the same lock",
                "threads",
                {
                    name: [(threads, of[name]) for threads, of in cost.items()]
                    for name in cost[most]
                },
                log=True,
            ),
        ],
    )


class _Contest(NamedTuple):
    """How contenders have fared."""

    began: float
    least: int  # turns
    most: int
    longest: float  # seconds that one waited
    fairness: float  # by Jain: 1, if all had as many turns

    @property
    def said(self) -> str:
        return f"{self.least}" if self.least == self.most else f"{self.least} to {self.most}"


def _contest(contenders: Sequence[Figures]) -> _Contest:
    counts = [len(of["held"]) for of in contenders]
    squares = sum(count**2 for count in counts) or 1
    return _Contest(
        min(start for of in contenders for start, _ in of["waited"]),
        min(counts),
        max(counts),
        max(map(_longest, contenders)),
        sum(counts) ** 2 / (len(counts) * squares),
    )


def _longest(contender: Figures) -> float:
    """Seconds that it has waited at most for a turn."""
    longest: float = max(end - start for start, end in contender["waited"])
    return longest


def _fared(contender: Figures) -> str:
    return f"{len(contender['held'])} turns, {formats.duration(_longest(contender))}"


def _short(seconds: float) -> str:
    return f"{seconds * 1e9:.0f} ns" if seconds < 1e-6 else formats.duration(seconds)


def _took(spans: Sequence[tuple[str, float, float]]) -> float:
    return sum(end - start for _, start, end in spans)


def _known(both: Sequence[Figures]) -> float:
    """Seconds until one of them gave up; if none did, until both had what they wanted."""
    gave_up: list[float] = [of["seconds"] for of in both if not of["got"]]
    return min(gave_up) if gave_up else max(float(of["seconds"]) for of in both)


def _shown(contender: Figures, began: float, span: float) -> list[tuple[str, float, float]]:
    """What one did in the time that is shown."""
    first = began + SHOWN_FROM * span
    return [
        (state, max(start - first, 0.0), min(end - first, SHOWN_S))
        for state, spans in (("has it", contender["held"]), ("waits", contender["waited"]))
        for start, end in spans
        if first < end and start < first + SHOWN_S
    ]


def _inversions(middle: float) -> dict[str, dict[str, Any]]:
    return {
        "no middle one": {"middle": 0.0},
        "a middle one": {"middle": middle},
        "the holder raised": {"middle": middle, "low": 0},
    }


def _transfers(seed: int, *, quick: bool) -> Figures:
    """`heori lab locks`: what each of its runs has found, by the task."""
    options = LockOptions(
        transfers=QUICK_TRANSFERS if quick else TRANSFERS,
        consumers=1 if quick else 2,
        seed=seed,
        json=True,
    )
    return {
        of.task.__name__: {
            "jobs": done.jobs,
            "failed": done.failed,
            "well": verdict.well,
            **verdict.figures,
        }
        for of, done, verdict in run_locks(options, Interrupt()).runs
    }
