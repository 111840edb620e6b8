"""What each slot of a consumer does now, for whoever asks. It costs nothing while nobody does."""

import heapq
import os
import time
from importlib.metadata import version
from typing import Any

from heori_common import clock
from heori_common.errors import cut
from heori_common.protocol.job import Claim
from heori_consumer.between.slot_table import SlotState
from heori_consumer.gil.states import IO_WAIT
from heori_consumer.gil.usage import thread_cpu
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

    def report(self, most: int | None = None, job_id: str = "") -> dict[str, Any]:
        """The consumer, its workers, and what their slots run.

        Args:
            most: jobs that are named, MOST_JOBS at most; with 0, no worker is either.
            job_id: of the one job that is to be named, with its worker, if a slot has it.
        """
        options, running = self._context.options, self._pool.running()
        report: dict[str, Any] = {
            "consumer": self._context.name,
            "version": version("heori"),
            "model": options.model,
            "processes": self._pool.roster.places,
            "slots": self._pool.slots(running),
            "running": running,
            "waiting": self._pool.waiting(),
            "prefetched": self._pool.prefetched(),
            "executed": self._roles.acknowledger.executed,
            "state": self._roles.health.doing(),
            "seconds": round(time.monotonic() - self._since, 3),
        }
        if self._roles.autoscaler is not None:
            report["auto"] = self._roles.autoscaler.told()
        if most == 0:
            return report
        workers = self._pool.roster.everyone()
        jobs = [
            (worker, job)
            for worker in workers
            for job in worker.in_slots()
            if job_id in ("", job[2].job_id)
        ]
        named = heapq.nlargest(
            min(most or MOST_JOBS, MOST_JOBS), jobs, key=lambda each: -each[1][1].since
        )
        of: dict[WorkerHandle, list[dict[str, Any]]] = {}
        for worker, job in named:
            of.setdefault(worker, []).append(self._job(worker, *job))
        shown = list(of) if job_id else workers[:MOST_WORKERS]
        told = [self._worker(worker, of.get(worker, [])) for worker in shown]
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
            "slots": worker.table.slots + max(0, worker.beside),
            "lent": worker.lent,
            "finished": worker.finished,
            "gil_enabled": place.gil_enabled if place else None,
            "gil_loss": place.gil_loss if place else None,
            "gil_source": place.source if place else None,
            "thread_seconds": dict(use.states) if use else {},
            "jobs": sorted(jobs, key=lambda job: job["slot"]),
        }

    def _job(
        self, worker: WorkerHandle, slot: int, state: SlotState, claim: Claim
    ) -> dict[str, Any]:
        lock_name = self._context.commands.keys.lock_name
        return {
            "slot": slot,
            "job": _shown(claim.job_id),
            "task": _shown(worker.tasks.get(state.task, "")),
            "queue": _shown(claim.queue),
            "delivery": claim.deliveries,
            "seconds": round(max(0.0, time.monotonic() - state.since), 3),
            "cpu_seconds": _cpu(worker, state),
            "gil_seconds": self._gil_wait(worker, state),
            "thread_state": _thread_state(worker, slot, state),
            "lent": state.waits,
            "locks": [
                {"kind": kind, "name": _shown(name), "fence": fence}
                for key, fence in claim.locks[:MOST_LOCKS]
                for kind, name in [lock_name(key)]
            ],
            "in_line": [
                {
                    "kind": kind,
                    "name": _shown(name),
                    "seconds": round(max(0.0, clock.now() - since), 3),
                }
                for kind, name, since in worker.in_line.get(state.taken, ())[:MOST_LOCKS]
            ],
        }

    def _gil_wait(self, worker: WorkerHandle, state: SlotState) -> float | None:
        """Seconds for which a job was seen to wait for the GIL, where that can be seen."""
        place = self._roles.gil_sampler.report.places.get(worker.name)
        if place is None or place.source != "external" or not _has_thread(worker, state):
            return None
        return round(worker.gil_waits.get(state.taken, 0.0), 3)


def _has_thread(worker: WorkerHandle, state: SlotState) -> bool:
    """Whether a job shares its thread with no other, as coroutines do."""
    return state.thread != worker.table.loop()


def _cpu(worker: WorkerHandle, state: SlotState) -> float | None:
    """Seconds that a job has used so far; None where its thread is not its own."""
    if state.cpu_before < 0 or not _has_thread(worker, state):
        return None
    used = thread_cpu(worker.process.pid if worker.process else os.getpid(), state.thread)
    return None if used is None else round(max(0.0, used - state.cpu_before), 3)


def _thread_state(worker: WorkerHandle, slot: int, state: SlotState) -> str | None:
    """What the thread of a job does; of the coroutines of a loop all wait but one."""
    if not _has_thread(worker, state) and worker.table.at() != slot:
        return IO_WAIT
    return worker.thread_state(state.thread)


def _shown(text: str) -> str:
    """Of what anybody may have written: text that JSON can carry, and not too much of it."""
    return cut(text, 300)
