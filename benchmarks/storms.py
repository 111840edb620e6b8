"""What a crowd of consumers does to a server, and to all others, in its worst moments.

Some real consumers stand beside the crowd, which is simulated. Meanwhile jobs are sent, each when
the one before has its result, and people look: with `heori status`, `top` and `doctor`, and at the
metrics of a consumer.
"""

import statistics
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import psutil

from benchmarks.fleet import ONE, REAL, Crowd
from benchmarks.fleet_rig import SETTLE, Fleet
from benchmarks.heavy import Pings
from benchmarks.kinds import Case, Column, Figures, Kind
from benchmarks.rig import Refused
from benchmarks.sender import Order
from benchmarks.systems import KEYS

WINDOW = 10.0  # seconds in which all start, and for which to look on
AWAY = 3.0  # seconds for which the server is
JOB_EVERY = 0.05  # seconds
LATE = 1000.0  # ms
COUNT_EVERY = 0.1  # seconds
Phase = Callable[[Fleet, Crowd, float, Figures], None]


def _cases(quick: bool) -> list[Case]:
    # One real one shows that it works, too; each takes a second of CPU to start.
    crowd = Crowd(9, simulated=8) if quick else Crowd(2_000, simulated=2_000 - REAL)
    window = 1.0 if quick else WINDOW
    phases: dict[str, Phase] = {
        "idle": idle,
        "starting": starting,
        "dying": dying,
        "outage": outage,
    }
    return [
        Case(
            f"heori, {crowd.consumers:,}: {name}",
            partial(_measure, phase, crowd, window),
            crowd.missing(),
        )
        for name, phase in phases.items()
    ]


def _measure(phase: Phase, crowd: Crowd, window: float) -> Figures:
    # It forgets nothing in an outage.
    with Fleet(ONE, config={"appendonly": "yes"}) as fleet:
        fleet.start(crowd.consumers - crowd.simulated)
        fleet.warm(len(fleet.real()), (fleet.system.app,))
        figures: Figures = {}
        phase(fleet, crowd, window, figures)
        return figures


def idle(fleet: Fleet, crowd: Crowd, window: float, figures: Figures) -> None:
    """All are there, and have nothing to do but these jobs."""
    _join(fleet, crowd, window)
    with _watched(fleet, figures):
        _look(fleet, figures)
        # Here alone: it asks each of thousands for its metrics, which takes long.
        figures["top"] = fleet.run("-m", "heori", "top", "--once")
        time.sleep(window)


def starting(fleet: Fleet, crowd: Crowd, window: float, figures: Figures) -> None:
    """They come, all within some seconds."""
    with _watched(fleet, figures):
        began = time.monotonic()
        fleet.simulate(crowd.simulated, window)
        time.sleep(window / 2)
        _look(fleet, figures)
        fleet.until_ready(crowd.consumers)
        figures["seconds"] = time.monotonic() - began


def dying(fleet: Fleet, crowd: Crowd, window: float, figures: Figures) -> None:
    """They are killed, all at once."""
    programs = _join(fleet, crowd, window)
    with _watched(fleet, figures):
        for program in programs:
            program.kill()
        for program in programs:
            program.wait()
            fleet.consumers.remove(program)
        _look(fleet, figures)
        time.sleep(window)


def outage(fleet: Fleet, crowd: Crowd, window: float, figures: Figures) -> None:
    """The server is stopped, and comes back; then they do."""
    _join(fleet, crowd, window)
    fleet.restart(AWAY)
    began = time.monotonic()
    channels = KEYS.commands_to("*")
    with _watched(fleet, figures):
        fleet.until(
            lambda: len(fleet.client.pubsub_channels(channels)) >= crowd.consumers, pause=0.05
        )
        figures["seconds"] = time.monotonic() - began
        _look(fleet, figures)
        time.sleep(window)


def _join(fleet: Fleet, crowd: Crowd, within: float) -> list[psutil.Popen]:
    """Have the simulated ones come, and wait until they are idle; returns their programs."""
    programs = fleet.simulate(crowd.simulated, within)
    fleet.until_ready(crowd.consumers)
    time.sleep(SETTLE)
    return programs


def _look(fleet: Fleet, figures: Figures) -> None:
    """Ask as people and Prometheus do; notes how many seconds each answer takes."""
    figures["status"] = fleet.run("-m", "heori", "status")
    figures["doctor"] = fleet.run("-m", "heori", "doctor", fine=(0, 1))  # with a finding
    began = time.monotonic()
    fleet.answer_to("/metrics")
    figures["metrics"] = time.monotonic() - began


@contextmanager
def _watched(fleet: Fleet, figures: Figures) -> Iterator[None]:
    """Send jobs meanwhile, and note what became of them and of the server."""
    over = threading.Event()
    before = fleet.use()
    with ThreadPoolExecutor() as pool:
        sending = pool.submit(_send, fleet, over)
        connecting = pool.submit(_most_connections, fleet, over)
        try:
            with Pings(fleet.url) as pings:
                yield
            use = fleet.use().since(before)
        finally:
            over.set()
        round_trips, failed = sending.result()
    figures |= {
        "jobs": len(round_trips),
        "p50": statistics.median(round_trips),
        "slowest": max(round_trips),
        "late": sum(took > LATE for took in round_trips),
        "failed": failed,
        "silence": pings.slowest * 1000,
        "connections": connecting.result(),
        "commands": (use.commands - pings.sent) / use.seconds,
        "server": use.cpu / use.seconds * 100,
    }


def _send(fleet: Fleet, over: threading.Event) -> tuple[list[float], int]:
    """Send one job after the other; returns their round trips in ms, and how many failed."""
    round_trips: list[float] = []
    failed = 0
    while not over.wait(JOB_EVERY):
        try:
            number = len(round_trips) + failed
            sent = fleet.send(Order("answered", "nothing", 1, number, queues=fleet.system.queues))
            round_trips += [took / 1e6 for took in sent.round_trips]
        except Refused:
            failed += 1
    return round_trips, failed


def _most_connections(fleet: Fleet, over: threading.Event) -> int:
    """How many connections were made within a short time, at most."""
    most = 0
    before = fleet.connections()
    while not over.wait(COUNT_EVERY):
        now = fleet.connections()
        most, before = max(most, now - before), now
    return most


STORMS = Kind(
    "fleet storms",
    f"A crowd, simulated but for {REAL}, and jobs, one each {JOB_EVERY * 1000:.0f} ms: their "
    "round trips and the server's longest silence, ms; until all are there, and each look, s",
    (
        Column("seconds", "all there", ".1f"),
        Column("jobs", "jobs"),
        Column("p50", "p50", ".1f"),
        Column("slowest", "slowest"),
        Column("late", "over 1 s"),
        Column("failed", "failed"),
        Column("silence", "silence"),
        Column("connections", f"dials/{COUNT_EVERY} s"),
        Column("commands", "cmds/s"),
        Column("server", "server %", ".1f"),
        Column("status", "status", ".1f"),
        Column("top", "top", ".1f"),
        Column("doctor", "doctor", ".1f"),
        Column("metrics", "/metrics", ".2f"),
    ),
    _cases,
    seconds=90,
    turns=1,
)
