"""What it costs that a job asks for more than to be run: of what rq can do."""

import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from benchmarks.drain import drain
from benchmarks.kinds import Case, Column, Figures, Kind
from benchmarks.rig import HIDDEN, Rig
from benchmarks.sender import Order
from benchmarks.systems import QUEUE, heori

SYSTEM = heori("threads", 1, 1, jobs=10_000)
PLAIN, TTL = "plain", "ttl"
PAIRS, RETRY, REPEAT = "depends_on: pairs", "Retry: each once", "Repeat: each once"

# Which task, and the fields that rq adds to a job's hash.
FEATURES: Mapping[str, tuple[str, Mapping[str, str]]] = {
    PLAIN: ("nothing", {}),
    TTL: ("nothing", {"ttl": "3600"}),
    "get_current_job().id": ("ask", {}),
    "on_success": (
        "nothing",
        {
            "success_callback_name": "benchmarks.tasks.succeeded",
            "success_callback_timeout": "60",
            "failure_callback_name": "",
            "stopped_callback_name": "",
        },
    ),
}


def _cases(quick: bool) -> list[Case]:
    jobs = 200 if quick else SYSTEM.jobs

    def measure(task: str, fields: Mapping[str, str]) -> Figures:
        return drain(SYSTEM, jobs, task, fields=fields)

    once = [
        Case(name, partial(measure, *feature), SYSTEM.missing())
        for name, feature in FEATURES.items()
    ]
    again = [
        Case(name, partial(run_again, name, jobs), SYSTEM.missing())
        for name in (PAIRS, RETRY, REPEAT)
    ]
    return [*once, *again]


def run_again(name: str, jobs: int) -> Figures:
    """Drain a queue whose jobs are followed by others, or run twice; each figure is per run."""
    with Rig(SYSTEM) as rig:
        rig.hide(Order("bulk", "fail_at_first" if name == RETRY else "nothing", jobs))
        listed: Any = rig.client.lrange(HIDDEN, 0, -1)
        ids = [each.decode() for each in listed]
        if name == PAIRS:
            _pair(rig, ids)
        else:
            _write(rig, ids, {"retries_left": 1} if name == RETRY else {"repeats_left": 1})
        rig.consume()
        rig.warm_up()
        runs = jobs if name == PAIRS else 2 * jobs
        before, started = rig.cpu(), time.perf_counter()
        rig.release()
        rig.until(lambda: rig.begun() >= runs and not rig.client.exists(f"rq:wip:{QUEUE}"))
        seconds = time.perf_counter() - started
        main, others, server = (
            (now - then) / runs * 1e6 for now, then in zip(rig.cpu(), before, strict=True)
        )
        rig.verify(jobs)
        figures = {"rate": runs / seconds, "client_us": main + others, "server_us": server}
        return {**figures, "pairs": jobs / 2 / seconds} if name == PAIRS else figures


def _write(rig: Rig, ids: list[str], fields: dict[Any, Any]) -> None:
    with rig.client.pipeline(transaction=False) as pipe:
        for job_id in ids:
            pipe.hset(f"rq:job:{job_id}", mapping=fields)
        pipe.execute()


def _pair(rig: Rig, ids: list[str]) -> None:
    """Have each job of the second half wait for one of the first."""
    half = len(ids) // 2
    with rig.client.pipeline(transaction=False) as pipe:
        pipe.ltrim(HIDDEN, 0, half - 1)
        for parent, child in zip(ids, ids[half:], strict=False):
            waits: dict[Any, Any] = {"status": "deferred", "dependency_ids": parent}
            pipe.hset(f"rq:job:{child}", mapping=waits)
            pipe.sadd(f"rq:job:{parent}:dependents", child)
            pipe.sadd(f"rq:job::{child}:dependencies", parent)
            pipe.zadd(f"rq:deferred:{QUEUE}", {child: time.time()})
        pipe.execute()


FEATURES_OF_RQ = Kind(
    "features",
    f"Jobs that do nothing, and what rq does around them, with {SYSTEM.name}",
    (
        Column("rate", "jobs/s"),
        Column("pairs", "pairs/s"),
        Column("of_plain", "of plain", ".2f"),
        Column("client_us", "CPU µs/job"),
        Column("server_us", "server µs"),
        Column("commands", "commands", ".1f"),
    ),
    _cases,
    seconds=8,
)
