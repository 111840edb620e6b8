"""What Heori must survive, done to real consumers on a Valkey of their own, and counted.

    python -m tests.chaos [kills] [quarantine] [drains] [deploys] [resizes] [handover] [locks]
        [bound] [dependents] [flows] [rates] [schedule] [refusals] [attacks] [mixed] [soak]
        [--model MODEL]… [--seed N] …

- kills: two consumers run jobs while every half second a worker process or a whole consumer gets
  SIGKILL, SIGTERM or SIGSTOP, some for longer than their lease.
- quarantine: a job that crashes its worker, among good ones; in turns with good ones alone.
- drains: consumers get SIGTERM in the midst of their work, one after the other.
- deploys: consumers get each signal that stops them, once or twice, alone or with all of their
  processes, while they import, are idle, run jobs or drain; four minutes, and one with --short.
- resizes: a consumer of the model auto changes its size five times a second, while jobs of mixed
  length run, are stopped and canceled, and its workers are killed; it is drained at the end.
- handover: of idle consumers the one that is next in line is stopped, killed or cut off as a job is
  handed to it, and now and then the server is killed; late jobs are counted. With --short a tenth.
- bound: several producers send into a queue with a limit, whose consumers are slower; the depth of
  the queue and the memory of the producers and the server are watched.
- locks: coroutines are cancelled and replies lost while they acquire and release locks; 1,000 wait
  of whom a third give up; processes that contend are killed and paused, their connections cut and
  the server killed.
- dependents: jobs that wait for others, sent with stock rq, run while whole consumers are killed
  all the time; children that never run are counted.
- flows: chains that end well or are handled, and groups with a fan-in, while whole consumers and
  the server are killed; jobs that never run, and fan-ins that run twice, are counted.
- rates: eight consumers run jobs whose task has a rate, and one of them is killed half way. Told
  are how much of the rate was used, and the window in which most began. A minute, or --seconds.
- schedule: ten entries that are due each second, four consumers that are killed and frozen, and a
  server that is started again; ticks that were missed or sent twice are counted. Five minutes.
- refusals: Redis refuses (memory, MISCONF, READONLY, BUSY …), stands still, is started again or
  breaks connections, in {troubles} ways one after the other, while jobs are sent, run, fail and are
  awaited, locks are held, awaited and released, and operators run their commands. Told are lost and
  repeated jobs, wrong errors, and when it was at work again. Five minutes; `--only readonly` is one
  of them, and `--seconds 20` has it last longer than a lease: then jobs may run twice.
- attacks: strangers at the ports of a consumer and of `heori serve`, in {attacks} ways one after
  the other: half requests, slow ones, invented methods, JSON bombs, guessed tokens … Told are what
  they got, by how much the logs and the metrics grew, and how long somebody honest waited
  meanwhile. A minute; `--only "JSON bombs"` is one of them.
- mixed: two stock rq workers and two consumers serve two queues, while horses, workers and
  consumers get SIGKILL; jobs of all kinds, sent by rq. Two minutes; `--seconds 600` is ten. Told
  are jobs that are lost, or went on after their end, and apart from these what stock workers lose.
- soak: many jobs with failures and retries among them, one model; memory and keys are watched.

Every fiftieth job of kills, drains and deploys leaves a program behind. Of those, and of all other
processes, none may be left in the end.

Without a name all but the last. Exits with 1 when something is not as it must be.
"""

import argparse
import json
import os
import platform
import random
import signal
import sys
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tests.chaos.attacks import Attacks, attacks
from tests.chaos.bound import Bounded, bound
from tests.chaos.dependents import Dependents, dependents
from tests.chaos.deploys import Deploys, deploys
from tests.chaos.drains import Drains, drains
from tests.chaos.fleet import MODELS, Report
from tests.chaos.flows import Flows, flows
from tests.chaos.handover import Handover, handover
from tests.chaos.kills import Kills, kills
from tests.chaos.locks import Locks, locks
from tests.chaos.mixed import Mixed, mixed
from tests.chaos.quarantine import Quarantine, quarantine
from tests.chaos.rates import Rates, rates
from tests.chaos.refusals import Refused, refusals
from tests.chaos.resizes import Resizes, resizes
from tests.chaos.schedule import Schedule, schedule
from tests.chaos.soak import Soak, soak
from tests.chaos.strangers import ATTACKS
from tests.chaos.troubles import TROUBLES

Row = dict[str, str]

# Headings of columns whose lines begin alike.
LEFT = {
    "model",
    "told",
    "late, longest",
    "longest, s",
    "strikes",
    "MB",
    "MB per 100,000 jobs",
    "keys",
    "trouble",
    "attack",
    "what they got",
    "refused, told, and what was wrong",
}
SCENARIOS = [
    "kills",
    "quarantine",
    "drains",
    "deploys",
    "resizes",
    "handover",
    "locks",
    "bound",
    "dependents",
    "flows",
    "rates",
    "schedule",
    "refusals",
    "attacks",
    "mixed",
    "soak",
]


def main() -> int:
    """Run the scenarios that were asked for; returns the exit code."""
    options = _options()
    # As Ctrl-C does it: every consumer is ended on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    console = Console(stderr=True)
    seed = random.randrange(10**6) if options.seed is None else options.seed
    console.print(f"seed {seed} (--seed {seed} strikes in the same order)")
    results: dict[str, list[Any]] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, TimeElapsedColumn(), console=console, disable=not console.is_terminal
    ) as progress:
        for scenario in options.scenarios or SCENARIOS[:-1]:
            for model in _models(scenario, options):
                chance = random.Random(f"{seed} {scenario} {model}")
                run = _scenario(scenario, model, options, chance)
                results.setdefault(scenario, []).append(_watched(progress, scenario, model, run))
    problems = [problem for each in results.values() for one in each for problem in one.problems()]
    if options.json:
        print(told({"seed": seed, "machine": _machine(), **results, "problems": problems}))
    else:
        for scenario, each in results.items():
            _show(scenario, [_row(result) for result in each])
    for problem in problems:
        console.print(f"[red]{problem}")
    return 1 if problems else 0


def told(results: dict[str, Any]) -> str:
    """As JSON, whatever is in them."""

    def plain(value: Any) -> Any:
        return sorted(value) if isinstance(value, set) else vars(value)

    return json.dumps(results, default=plain)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description=str(__doc__).format(troubles=len(TROUBLES), attacks=len(ATTACKS)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=", ".join(SCENARIOS))
    parser.add_argument(
        "--model",
        action="append",
        choices=[*MODELS],
        help="several are run one after the other; all if not said, but for resizes (auto, and "
        "no other), handover, "
        "dependents, flows, rates and schedule (threads), mixed (processes), bound and soak "
        "(hybrid)",
    )
    parser.add_argument("--jobs", type=_number, default=20_000, help="kills, bound, soak: (20000)")
    parser.add_argument("--producers", type=_number, default=8, help="bound: at once (8)")
    parser.add_argument("--limit", type=_number, default=10_000, help="bound: of the queue (10000)")
    parser.add_argument(
        "--pairs", type=_number, default=4_000, help="dependents: (4000); flows: a tenth"
    )
    parser.add_argument("--good", type=_number, default=5_000, help="quarantine: good jobs (5000)")
    parser.add_argument("--rounds", type=_number, default=3, help="quarantine: rounds (3)")
    parser.add_argument(
        "--short",
        action="store_true",
        help="deploys: each signal at each moment in one way only; handover: a tenth",
    )
    parser.add_argument("--handovers", type=_number, default=10_000, help="handover: (10000)")
    parser.add_argument("--drains", type=_number, default=50, help="drains in all (50)")
    parser.add_argument(
        "--tries", type=_number, default=2_000, help="locks: cancellations, lost replies (2000)"
    )
    parser.add_argument("--storm", type=_number, default=60, help="locks: seconds of it (60)")
    parser.add_argument(
        "--only",
        action="append",
        choices=[*TROUBLES, *ATTACKS],
        metavar="NAME",
        help="refusals, attacks: this one; may be repeated: "
        + ", ".join(f"{name} ({trouble.about})" for name, trouble in TROUBLES.items())
        + "; "
        + ", ".join(ATTACKS),
    )
    parser.add_argument(
        "--seconds",
        type=_number,
        help="refusals: of each; by default half a lease of 5 s, and more than a lease where those "
        "can be kept; mixed: of all (120); rates: (60); "
        "schedule: (300)",
    )
    parser.add_argument("--seed", type=int, help="of all that is left to chance")
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")
    options = parser.parse_args()
    for scenario in options.scenarios:
        if scenario not in SCENARIOS:
            parser.error(f"there is no scenario {scenario}; there are {', '.join(SCENARIOS)}")
    return options


def _number(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


_number.__name__ = "number above 0"  # argparse names it when it refuses one


def _scenario(
    scenario: str, model: str, options: argparse.Namespace, chance: random.Random
) -> Callable[[Report], Any]:
    models = options.model or [*MODELS]

    def share(number: int) -> int:
        """Of what all models do together; the first ones take what cannot be divided."""
        return len(range(models.index(model), number, len(models)))

    runs: dict[str, Callable[[Report], Any]] = {
        "kills": lambda report: kills(model, options.jobs, chance, report),
        "quarantine": lambda report: quarantine(model, options.good, options.rounds, report),
        "drains": lambda report: drains(model, share(options.drains), chance, report),
        "deploys": lambda report: deploys(model, report, short=options.short),
        "resizes": lambda report: resizes(options.jobs, chance, report),
        "handover": lambda report: handover(
            model, options.handovers // (10 if options.short else 1), chance, report
        ),
        "bound": lambda report: bound(
            model, options.jobs, options.producers, options.limit, report
        ),
        "dependents": lambda report: dependents(model, options.pairs, chance, report),
        "flows": lambda report: flows(model, options.pairs // 10, chance, report),
        "rates": lambda report: rates(model, options.seconds or 60, report),
        "schedule": lambda report: schedule(model, options.seconds or 300, chance, report),
        "refusals": lambda report: refusals(model, models[0], options.seconds, chance, report),
        "attacks": lambda report: attacks(options.only or (), report),
        "locks": lambda report: locks(options.tries, options.storm, chance, report),
        "mixed": lambda report: mixed(model, options.seconds or 120, chance, report),
        "soak": lambda report: soak(model, options.jobs, report),
    }
    return runs[scenario]


def _models(scenario: str, options: argparse.Namespace) -> list[str]:
    """The models, or troubles, that a scenario is run with, one after the other."""
    if scenario in ("locks", "attacks"):
        return ["no model"]  # it runs no jobs
    if scenario == "resizes":
        return ["auto"]  # no other changes its size
    if scenario == "refusals":
        return [name for name in TROUBLES if name in (options.only or TROUBLES)]
    by_default = {
        "handover": ["threads"],
        "dependents": ["threads"],
        "flows": ["threads"],
        "bound": ["hybrid"],
        "rates": ["threads"],
        "schedule": ["threads"],
        "mixed": ["processes"],
        "soak": ["hybrid"],
    }
    return options.model or by_default.get(scenario, [*MODELS])


def _watched(progress: Progress, scenario: str, model: str, run: Callable[[Report], Any]) -> Any:
    bar = progress.add_task(f"{scenario}, {model}", total=None)
    return run(lambda done, total: progress.update(bar, completed=done, total=total))


def _row(
    result: Kills
    | Quarantine
    | Drains
    | Deploys
    | Handover
    | Bounded
    | Dependents
    | Flows
    | Locks
    | Refused
    | Attacks
    | Mixed
    | Rates
    | Schedule
    | Resizes
    | Soak,
) -> Row:
    """What a table shows of it."""
    match result:
        case Kills():
            return {
                "model": result.model,
                "sent": f"{result.sent:,}",
                "run": f"{result.run:,}",
                "lost": f"{result.lost:,}",
                "twice": f"{result.twice:,}",
                "in flight": f"{sum(result.in_flight.values()):,}",
                "processes left": str(result.processes_left),
                "moves": str(result.moves),
                "strikes": "\n".join(f"{n} {kind}" for kind, n in sorted(result.strikes.items())),
                "seconds": f"{result.seconds:.0f}",
            }
        case (
            Quarantine()
            | Dependents()
            | Flows()
            | Attacks()
            | Mixed()
            | Rates()
            | Schedule()
            | Resizes()
        ):
            return result.row()
        case Drains():
            return {
                "model": result.model,
                "drains": str(result.drains),
                "sent": f"{result.sent:,}",
                "finished": f"{result.finished:,}",
                "lost": str(result.lost),
                "twice": str(result.twice),
                "failed": str(result.failed),
                "held at the signal": f"{result.held:,}",
                "out of order": str(result.out_of_order),
                "processes left": str(result.processes_left),
                "longest": f"{result.longest:.2f} s",
            }
        case Deploys():
            return {
                "model": result.model,
                "stops": str(result.stops),
                "sent": f"{result.sent:,}",
                "finished": f"{result.finished:,}",
                "lost": str(result.lost),
                "charged": str(result.charged),
                "cut short": str(result.cut),
                "twice": str(result.twice),
                "exit codes not 0": str(len(result.bad_exits)),
                "processes left": str(result.left),
                "longest, s": _lines(result.longest, ".1f"),
            }
        case Handover():
            return {
                "model": result.model,
                "told": _lines(
                    {
                        **result.told,
                        "strikes": sum(result.strikes.values()),
                        "hit": sum(result.hit.values()),
                    },
                    ",",
                ),
                "lost": str(result.lost),
                "twice": str(result.twice),
                "in flight, twice": f"{result.in_flight:,}, {result.in_flight_twice:,}",
                "charged": str(result.charged),
                "late, longest": "\n".join(
                    f"{late:,}, {result.longest[cause]:.1f} s: {cause}"
                    for cause, late in result.late.items()
                ),
                "seconds": f"{result.seconds:.0f}",
            }
        case Bounded():
            return {
                "model": result.model,
                "producers": str(result.producers),
                "limit": f"{result.limit:,}",
                "highest": f"{result.highest:,}",
                "sent": f"{result.sent:,}",
                "done": f"{result.done:,}",
                "lost": f"{result.lost:,}",
                "jobs/s": f"{result.done / result.seconds:,.0f}",
                "MB": _lines(result.memory, ".0f"),
                "MB per 100,000 jobs": _lines(result.slope, "+.2f"),
            }
        case Locks():
            return {
                "cancelled": f"{result.cancelled:,}",
                "replies lost": f"{result.cut:,}",
                "waiters": f"{result.waiters:,} of {result.waiters + result.gave_up:,}",
                "orphans": str(result.orphans),
                "overtaken": str(result.overtaken),
                "sections": f"{result.sections:,}",
                "troubles": f"{result.troubles:,}",
                "in company": str(result.broken),
                "late writes": str(result.late_writes),
                "strikes": "\n".join(f"{n} {kind}" for kind, n in sorted(result.strikes.items())),
                "seconds": f"{result.seconds:.0f}",
            }
        case Refused():
            jobs = (result.lost, result.twice, sum(result.failed.values()))
            locks = (result.locks_lost, result.orphans, sum(result.company.values()))
            lines = sum(result.complaints.values())
            wrong = "" if result.loses else "wrong: "
            return {
                "trouble": result.trouble,
                "s": f"{result.lasted:.1f}",
                "sent": f"{result.sent:,}",
                "lost,\ntwice,\nfailed": ", ".join(map(str, jobs)),
                "locks lost,\norphaned,\nshared": ", ".join(map(str, locks)),
                "again,\nidle, s": f"{result.again:.2f}\n{result.idle:.2f}",
                "com-\nmands": str(result.seen.get("commands", 0)),
                "log\nlines/s": f"{lines / result.lasted:.1f}",
                "refused, told, and what was wrong": "\n".join(
                    (
                        _lines({**result.refused, **result.told}, ","),
                        *([f"{result.gone:,} ids told of whose jobs are gone"] * result.loses),
                        *(f"{wrong}{n} {what}" for what, n in result.wrong.items()),
                        *(f"shared: {n} {name}" for name, n in result.company.items()),
                        *(f"failed: {n} {why}" for why, n in result.failed.items()),
                    )
                ).strip(),
            }
        case Soak():
            return {
                "model": result.model,
                "jobs": f"{result.jobs:,}",
                "failed": f"{result.failed:,}",
                "retried": f"{result.retried:,}",
                "jobs/s": f"{result.jobs / result.seconds:,.0f}",
                "MB": _lines(result.memory, ".0f"),
                "MB per 100,000 jobs": _lines(result.slope, "+.2f"),
                "keys": _lines(dict(sorted(result.keys.items())), ","),
                "overdue": f"{result.overdue:,}",
            }


def _lines(figures: dict[str, Any], shape: str) -> str:
    return "\n".join(f"{figure:{shape}} {kind}" for kind, figure in figures.items())


def _show(scenario: str, rows: list[Row]) -> None:
    table = Table(title=f"{scenario}: {_machine()}", show_lines=True)
    for heading in rows[0]:
        left = heading in LEFT
        table.add_column(heading, justify="left" if left else "right")
    for row in rows:
        table.add_row(*row.values())
    Console(width=None if sys.stdout.isatty() else 120).print(table)


def _machine() -> str:
    return f"{os.cpu_count()} cores, Python {platform.python_version()}, {platform.machine()}"


if __name__ == "__main__":
    sys.exit(main())
