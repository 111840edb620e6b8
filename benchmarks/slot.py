"""What a job that does nothing takes in the slot of a worker, piece by piece.

One thread runs each piece time and again, in turns, with nothing beside it, and the least of all
turns counts. So a busy machine tells about the same as a quiet one. In a worker all of it takes
longer, as other threads and processes use the same caches and cores. What a piece takes after a job
that has computed for 5 ms stands beside it: nothing of it is in the caches by then.
"""

import os
import time
from collections.abc import Callable
from statistics import median

from rich.table import Table

from benchmarks import tasks
from benchmarks.apps import heori_tasks  # registers them
from benchmarks.bound import calibrate
from heori_common import resolution
from heori_common.platform import shared_memory
from heori_common.protocol.job import Claim
from heori_common.protocol.payload import Call, decode_call, encode_call, encode_result
from heori_common.tasks import Task
from heori_consumer.between.frames import JOBS, OUTCOMES, pack, unpacker
from heori_consumer.between.options import Policy
from heori_consumer.between.slot_table import SlotTable
from heori_consumer.between.totals import Totals, count
from heori_consumer.worker.execution import Runner
from heori_consumer.worker.restore import SharedState

__all__ = ["computing", "heori_tasks", "pieces"]

REPEATS = 100  # of a piece in a turn, beside which reading the clock is nothing
NAME = f"{tasks.__name__}.{tasks.nothing.__name__}"
ALL, INDENT = "Runner.run: from the raw job to its outcome", "    "
COMPUTE = 0.005  # seconds that a job computes
HELD = 50  # blocks of each size that `tasks.work` makes and drops in each round


def pieces(*, quick: bool) -> Table:
    """The table."""
    made = _made()
    least = _least(made, turns=3 if quick else 300)
    cold = _cold(made, turns=1 if quick else 40)
    shown = Table(
        *("", "µs a job", f"after {COMPUTE * 1e3:.0f} ms of computing"),
        title="worker: its slot, in one thread; the least of many turns, and the median",
    )
    for name, seconds in least.items():
        shown.add_row(name, f"{seconds * 1e6:.2f}", f"{cold[name] * 1e6:.1f}")
    return shown


def computing(*, quick: bool) -> Table:
    """What the same function takes that makes small objects, by where these are made.

    CPython makes them in pools of one size. As imports leave them, most pools have few blocks free;
    when a pool is full, the next one takes its place, and so it goes in each round. Holding some
    blocks takes those that are left, so that all others come from one pool.
    """
    rounds = calibrate(COMPUTE)
    seen: tuple[list[float], list[float]] = [], []
    for _ in range(3 if quick else 40):
        for times, blocks in zip(seen, (0, HELD), strict=True):
            held = [[first + number for number in range(blocks)] for first in (1 << 40, 1 << 70)]
            began = time.thread_time()
            tasks.work(rounds)
            times.append(time.thread_time() - began)
            del held
    shown = Table("", "µs, the least", title="a function that computes, after all imports")
    for name, times in zip(("as it is", f"{HELD} blocks held"), seen, strict=True):
        shown.add_row(name, f"{min(times) * 1e6:,.0f}")
    return shown


def _cold(made: dict[str, Callable[[], object]], turns: int) -> dict[str, float]:
    rounds = calibrate(COMPUTE)
    seen: dict[str, list[float]] = {name: [] for name in made}
    for _ in range(turns):
        for name, piece in made.items():
            tasks.work(rounds)
            began = time.thread_time()
            piece()
            seen[name].append(time.thread_time() - began)
    return {name: median(times) for name, times in seen.items()}


def _least(made: dict[str, Callable[[], object]], turns: int) -> dict[str, float]:
    least = dict.fromkeys(made, float("inf"))
    for _ in range(turns):
        for name, piece in made.items():
            began = time.thread_time()
            for _ in range(REPEATS):
                piece()
            least[name] = min(least[name], (time.thread_time() - began) / REPEATS)
    return least


def _made() -> dict[str, Callable[[], object]]:
    """Each piece, by what it is; those that are parts of the first are indented."""
    os.environ.setdefault(tasks.TALLY, os.devnull)
    file = shared_memory(SlotTable.bytes_of(1, 0))
    table = SlotTable(file, 1, 0)
    os.close(file)
    policy = Policy((), (), ("json",), 1 << 20, 1.0)
    runner = Runner(policy, table, _told, _told, _told, _told, _told)
    task = resolution.resolve(NAME, ())
    assert isinstance(task, Task)
    data = encode_call(Call(NAME, (7,), {}))
    now = time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime()).encode()
    fields = pack([data, b"queued", b"180", now])
    claim = Claim("0" * 36, "bench", "0" * 20, 1, time.time(), None, 180, None, None, fields)
    outcome = runner.run(0, 1, claim)
    jobs = pack([JOBS, {1: claim}])
    counted: Totals = {}

    def receive() -> Claim:
        stream = unpacker()
        stream.feed(jobs)
        [[_, claims]] = stream
        return Claim._make(claims[1])

    return {
        ALL: lambda: runner.run(0, 1, claim),
        INDENT + "its payload is read": lambda: decode_call(data, ("json",), 1 << 20),
        INDENT + "its arguments are checked": lambda: task.receive([7], {}, None),
        INDENT + "the function itself, with a write": lambda: tasks.nothing(7),
        INDENT + "CPU time is asked, twice": lambda: (time.thread_time(), time.thread_time()),
        INDENT + "its result is checked and written": lambda: task.dump_result(7),
        INDENT + "and encoded as RQ does": lambda: encode_result(b"7", "json"),
        "what a task may change is put back": SharedState(handlers=True).restore,
        "it is received, alone in a frame": receive,
        "its outcome is packed, alone in a frame": lambda: pack([OUTCOMES, {1: outcome}, {}]),
        "and counted": lambda: count(counted, [outcome]),
    }


def _told(*_: object) -> None:
    pass
