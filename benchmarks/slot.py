"""What a job that does nothing takes in the slot of a worker, piece by piece.

One thread runs each piece time and again, in turns, with nothing beside it, and the least of all
turns counts. So a busy machine tells about the same as a quiet one. In a worker all of it takes
longer, as other threads and processes use the same caches and cores.
"""

import os
import time
from collections.abc import Callable

from rich.table import Table

from benchmarks import tasks
from benchmarks.apps import heori_tasks  # registers them
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

__all__ = ["heori_tasks", "pieces"]

REPEATS = 100  # of a piece in a turn, beside which reading the clock is nothing
NAME = f"{tasks.__name__}.{tasks.nothing.__name__}"
ALL, INDENT = "Runner.run: from the raw job to its outcome", "    "


def pieces(*, quick: bool) -> Table:
    """The table."""
    least = _least(_made(), turns=3 if quick else 300)
    shown = Table("", "µs a job", title="worker: its slot, in one thread, least of many turns")
    for name, seconds in least.items():
        shown.add_row(name, f"{seconds * 1e6:.2f}")
    return shown


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
