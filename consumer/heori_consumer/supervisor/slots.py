"""What each slot of a consumer does now, for whoever asks. It costs nothing while nobody does."""

import heapq
import os
import time
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

from heori_common.errors import cut
from heori_consumer.pool.handle import WorkerHandle
from heori_consumer.supervisor.context import Context
from heori_consumer.supervisor.roles import Roles

MOST_JOBS = 500  # that one answer names, those that have run for longest
MOST_WORKERS = 500
MOST_LOCKS = 10  # of one job


class SlotReport:
    """Tells ids and names of tasks, and no argument: the port is open to whoever reads metrics.

    Its methods are called from another thread than the event loop's, and read what may change
    meanwhile: a job that has just ended may be missing.
    """

    def __init__(self, context: Context, roles: Roles) -> None:
        self._context = context
        self._roles = roles
        self._pool = roles.pool
        self._since = time.monotonic()

    def report(self, most: int | None = None) -> dict[str, Any]:
        """The consumer, its workers, and what their slots run.

        Args:
            most: jobs that are named, MOST_JOBS at most; with 0, no worker is either.
        """
        options, running = self._context.options, self._pool.running()
        report: dict[str, Any] = {
            "consumer": self._context.name,
            "version": version("heori"),
            "model": options.model,
            "processes": options.processes,
            "slots": self._pool.slots(running),
            "running": running,
            "waiting": self._pool.waiting(),
            "prefetched": self._pool.prefetched(),
            "executed": self._roles.acknowledger.executed,
            "state": self._roles.health.doing(),
            "seconds": round(time.monotonic() - self._since, 3),
        }
        if most == 0:
            return report
        workers = self._pool.roster.everyone()
        jobs = [(worker, job) for worker in workers for job in self._jobs(worker)]
        named = heapq.nlargest(
            min(most or MOST_JOBS, MOST_JOBS), jobs, key=lambda each: each[1]["seconds"]
        )
        of: dict[WorkerHandle, list[dict[str, Any]]] = {}
        for worker, job in named:
            of.setdefault(worker, []).append(job)
        told = [self._worker(worker, of.get(worker, [])) for worker in workers[:MOST_WORKERS]]
        left_out = len(jobs) - sum(len(worker["jobs"]) for worker in told)
        return {**report, "workers": told, "left_out": left_out}

    def _worker(self, worker: WorkerHandle, jobs: list[dict[str, Any]]) -> dict[str, Any]:
        process = worker.process
        report = self._roles.gil_sampler.report
        place, use = report.places.get(worker.name), report.uses.get(worker.name)
        return {
            "worker": worker.name,
            # One of `inline` is in the supervisor's own process.
            "pid": process.pid if process else os.getpid() if worker.ready else None,
            "seconds": round(time.monotonic() - worker.began, 3) if worker.ready else None,
            "state": self._pool.roster.state_of(worker),
            "slots": worker.table.slots,
            "lent": worker.lent,
            "finished": worker.finished,
            "gil_loss": place.gil_loss if place else None,
            "gil_source": place.source if place else None,
            "thread_seconds": dict(use.states) if use else {},
            "jobs": sorted(jobs, key=lambda job: job["slot"]),
        }

    def _jobs(self, worker: WorkerHandle) -> Iterator[dict[str, Any]]:
        now, lock_name = time.monotonic(), self._context.commands.keys.lock_name
        for slot, state, claim in worker.in_slots():
            yield {
                "slot": slot,
                "job": _shown(claim.job_id),
                "task": _shown(worker.tasks.get(state.task, "")),
                "queue": _shown(claim.queue),
                "delivery": claim.deliveries,
                "seconds": round(max(0.0, now - state.since), 3),
                "lent": state.waits,
                "locks": [
                    {"kind": kind, "name": _shown(name), "fence": fence}
                    for key, fence in claim.locks[:MOST_LOCKS]
                    for kind, name in [lock_name(key)]
                ],
            }


def _shown(text: str) -> str:
    """Of what anybody may have written: text that JSON can carry, and not too much of it."""
    return cut(text, 300)
