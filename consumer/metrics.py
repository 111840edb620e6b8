"""Every metric that a consumer exports, read from its parts at the moment of a scrape."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psutil
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from consumer.acknowledger import Acknowledger
from consumer.leases import Leases, Reaper
from consumer.outage import Outage
from consumer.pool import Pool
from consumer.scheduler import Scheduler
from consumer.totals import BUCKETS, FAILED, FINISHED, RETRY, STATUSES, STOPPED, Histogram

# What a job's end is called in the label, by its status.
OUTCOMES = {FINISHED: "succeeded", FAILED: "failed", STOPPED: "stopped", RETRY: "retried"}


@dataclass(frozen=True, slots=True)
class Metrics(Collector):
    """The collector that a consumer registers."""

    model: str
    pool: Pool
    leases: Leases
    reaper: Reaper
    scheduler: Scheduler
    acknowledger: Acknowledger
    outage: Outage
    draining: Callable[[], bool]
    suspended: Callable[[], bool]

    def collect(self) -> Iterator[Metric]:
        """All metrics, now."""
        yield from self._jobs()
        yield from self._workers()
        yield from self._deliveries()
        yield from self._schedule()

    def _jobs(self) -> Iterator[Metric]:
        jobs = CounterMetricFamily(
            "heori_jobs", "Jobs that came to an end in a worker.", labels=["task", "outcome"]
        )
        run = HistogramMetricFamily(
            "heori_job_run_seconds", "Time a job took in its slot.", labels=["task"]
        )
        queued = HistogramMetricFamily(
            "heori_job_queue_seconds", "Time from being enqueued to being claimed.", labels=["task"]
        )
        beside = CounterMetricFamily(
            "heori_jobs_beside_loop",
            "Plain functions that ran in a thread beside an event loop; make them async.",
            labels=["task"],
        )
        for name, totals in sorted(self.pool.totals().items()):
            for status, ended in zip(STATUSES, totals.ended, strict=True):
                jobs.add_metric([name, OUTCOMES[status]], ended)
            beside.add_metric([name], totals.beside_loop)
            run.add_metric([name], _buckets(totals.run_time), totals.run_time.total)
            queued.add_metric([name], _buckets(totals.queue_time), totals.queue_time.total)
        yield jobs
        yield beside
        yield run
        yield queued

    def _workers(self) -> Iterator[Metric]:
        workers = list(self.pool.crew.workers.copy().values())
        slots = sum(worker.table.slots for worker in workers)
        yield GaugeMetricFamily("heori_slots", "Slots that can run jobs.", slots)
        yield GaugeMetricFamily("heori_slots_running", "Slots that run a job.", self.pool.running())
        yield GaugeMetricFamily(
            "heori_jobs_held", "Jobs claimed and not yet settled, running or not.", len(self.leases)
        )
        info = GaugeMetricFamily("heori_consumer_info", "What this consumer is.", labels=["model"])
        info.add_metric([self.model], 1)
        yield info
        restarts = CounterMetricFamily(
            "heori_worker_restarts",
            "Worker processes that died and were replaced.",
            labels=["reason"],
        )
        for reason, count in sorted(self.pool.crew.restarts.copy().items()):
            restarts.add_metric([reason], count)
        yield restarts
        cpu = CounterMetricFamily(
            "heori_worker_cpu_seconds",
            "CPU time of the process in this worker slot; it starts anew with the process.",
            labels=["worker"],
        )
        memory = GaugeMetricFamily(
            "heori_worker_memory_bytes", "Resident memory of a worker process.", labels=["worker"]
        )
        for worker in workers:
            if worker.handle is None:
                continue
            with contextlib.suppress(psutil.NoSuchProcess):  # it died just now
                times = worker.handle.cpu_times()
                cpu.add_metric([worker.name], times.user + times.system)
                memory.add_metric([worker.name], worker.handle.memory_info().rss)
        yield cpu
        yield memory

    def _deliveries(self) -> Iterator[Metric]:
        redelivered = self.acknowledger.redelivered + self.reaper.redelivered
        yield CounterMetricFamily(
            "heori_jobs_redelivered",
            "Jobs given back after their worker or consumer died.",
            redelivered,
        )
        yield CounterMetricFamily(
            "heori_jobs_dead",
            "Jobs that became dead letters.",
            self.acknowledger.dead + self.reaper.dead,
        )
        yield CounterMetricFamily(
            "heori_results_refused",
            "Results that came after the lease was lost.",
            self.acknowledger.refused,
        )
        yield CounterMetricFamily("heori_leases_lost", "Leases lost while held.", self.leases.lost)
        yield CounterMetricFamily(
            "heori_leases_late", "Lease renewals that failed and are tried again.", self.leases.late
        )
        yield GaugeMetricFamily("heori_redis_up", "Whether Redis answers.", not self.outage.away)
        yield GaugeMetricFamily("heori_draining", "Whether this consumer stops.", self.draining())
        yield GaugeMetricFamily(
            "heori_suspended", "Whether `rq suspend` holds claims back.", self.suspended()
        )

    def _schedule(self) -> Iterator[Metric]:
        yield CounterMetricFamily(
            "heori_jobs_scheduled_moved",
            "Scheduled jobs that this consumer put on their queues when they were due.",
            self.scheduler.moved,
        )
        yield GaugeMetricFamily(
            "heori_scheduler_lag_seconds",
            "By how much the latest batch of due jobs was late when it was moved.",
            self.scheduler.lag,
        )


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """Cumulative counts, as Prometheus wants them."""
    running = 0.0
    cumulative = []
    for bound, count in zip(BUCKETS, histogram.counts, strict=True):
        running += count
        cumulative.append(("+Inf" if bound == float("inf") else repr(bound), running))
    return cumulative
