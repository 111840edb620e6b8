"""All that a consumer exports, read from its parts at the moment of a scrape.

What each metric is stands in the catalogue, `heori_common.metrics`; its values come from here.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from heori_common import metrics as m
from heori_common.locks.commands import LockCount
from heori_common.locks.statistics import MOST_FAMILIES, OTHER, family_name, total
from heori_common.redis.client import AsyncRedisClient
from heori_consumer.between.outcome import FAILED, FINISHED, RETRY, STATUSES, STOPPED
from heori_consumer.gil.process import memory
from heori_consumer.gil.sampler import Sampler
from heori_consumer.pool.pool import Pool
from heori_consumer.supervisor.acknowledger import Acknowledger
from heori_consumer.supervisor.claimer import Claimer
from heori_consumer.supervisor.leases import Leases, Reaper
from heori_consumer.supervisor.queue_sampler import Census
from heori_consumer.supervisor.redis_retry import Outage
from heori_consumer.supervisor.scheduler import Scheduler

# What a job's end is called in the label, by its status.
OUTCOMES = {FINISHED: "succeeded", FAILED: "failed", STOPPED: "stopped", RETRY: "retried"}


class Sample(NamedTuple):
    """One value of a metric."""

    metric: m.Metric
    value: float | m.Histogram
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Metrics(Collector):
    """The collector that a consumer registers."""

    model: str
    cores: float
    client: AsyncRedisClient
    pool: Pool
    claimer: Claimer
    leases: Leases
    reaper: Reaper
    scheduler: Scheduler
    acknowledger: Acknowledger
    census: Census
    sampler: Sampler
    outage: Outage
    draining: Callable[[], bool]
    _families: set[tuple[str, str]] = field(default_factory=set, init=False, compare=False)

    def collect(self) -> Iterator[Family]:
        """All metrics, now."""
        ours = (metric for metric in m.CATALOGUE.values() if metric.source == "consumer")
        families = {metric.name: _family(metric) for metric in ours}
        for part in (
            self._jobs,
            self._queues,
            self._consumer,
            self._workers,
            self._threads,
            self._locks,
        ):
            for metric, value, labels in part():
                family = families[metric.name]
                if isinstance(family, HistogramMetricFamily):
                    assert isinstance(value, m.Histogram)
                    family.add_metric(labels, _buckets(value), value.total)
                else:
                    assert isinstance(family, CounterMetricFamily | GaugeMetricFamily)
                    assert not isinstance(value, m.Histogram)
                    family.add_metric(labels, value)
        yield from families.values()

    def _jobs(self) -> Iterator[Sample]:
        for task, totals in sorted(self.pool.totals().items()):
            for status, ended in zip(STATUSES, totals.ended, strict=True):
                yield Sample(m.JOBS, ended, (task, OUTCOMES[status]))
            yield Sample(m.BESIDE_LOOP, totals.beside_loop, (task,))
            yield Sample(m.JOB_RUN, totals.run_time, (task,))
            yield Sample(m.JOB_CPU, totals.cpu_time, (task,))
            yield Sample(m.JOB_QUEUE, totals.queue_time, (task,))
        redelivered = self.acknowledger.redelivered + self.reaper.redelivered
        yield Sample(m.REDELIVERED, redelivered)
        yield Sample(m.DEAD, self.acknowledger.dead + self.reaper.dead)
        yield Sample(m.REFUSED, self.acknowledger.refused)
        yield Sample(m.LEASES_LOST, self.leases.lost)
        yield Sample(m.LEASES_LATE, self.leases.late)
        yield Sample(m.MOVED, self.scheduler.moved)
        yield Sample(m.SCHEDULER_LAG, self.scheduler.lag)

    def _queues(self) -> Iterator[Sample]:
        for queue, count in self.claimer.deliveries.items():
            yield Sample(m.DELIVERIES, count, (queue,))
        for queue, census in self.census.counted().items():
            yield Sample(m.QUEUE_DEPTH, census.waiting, (queue,))
            yield Sample(m.QUEUE_OLDEST, census.oldest, (queue,))
            for registry, size in census.registries.items():
                yield Sample(m.REGISTRY_JOBS, size, (queue, registry))
            if census.bound.limit is not None:
                yield Sample(m.QUEUE_LIMIT, census.bound.limit, (queue,))
            yield Sample(m.PRODUCERS_BLOCKED, census.blocked, (queue,))
            yield Sample(m.JOBS_REJECTED, census.bound.rejected, (queue,))
            yield Sample(m.JOBS_DROPPED, census.bound.dropped, (queue,))

    def _consumer(self) -> Iterator[Sample]:
        workers = list(self.pool.crew.workers.copy().values())
        yield Sample(m.CONSUMER_INFO, 1, (self.model,))
        yield Sample(m.USABLE_CORES, self.cores)
        yield Sample(m.SLOTS, sum(worker.table.slots for worker in workers))
        yield Sample(m.SLOTS_RUNNING, self.pool.running())
        yield Sample(m.JOBS_HELD, len(self.leases))
        yield Sample(m.JOBS_PREFETCHED, self.pool.prefetched())
        yield Sample(m.REDIS_UP, not self.outage.away)
        yield Sample(m.DRAINING, self.draining())
        yield Sample(m.SUSPENDED, self.claimer.suspended)
        for command, took in sorted(self.client.calls.copy().items()):
            yield Sample(m.REDIS_CALL, took, (command,))
        yield Sample(m.BATCH, self.claimer.batches, ("claim",))
        yield Sample(m.BATCH, self.acknowledger.batches, ("ack",))
        yield Sample(m.SAMPLER_CPU, self.sampler.cpu)

    def _workers(self) -> Iterator[Sample]:
        for reason, count in sorted(self.pool.crew.restarts.copy().items()):
            yield Sample(m.RESTARTS, count, (reason,))
        for name, use in sorted(self.sampler.report.uses.items()):
            yield Sample(m.WORKER_CPU, use.cpu, (name,))
            yield Sample(m.CONTEXT_SWITCHES, use.voluntary, (name, "voluntary"))
            yield Sample(m.CONTEXT_SWITCHES, use.involuntary, (name, "involuntary"))
            yield Sample(m.RUNQUEUE_WAIT, use.runqueue, (name,))
            if use.loop_busy:
                yield Sample(m.LOOP_BUSY, use.loop_busy, (name,))
        # One worker for each place: the next one waits for it to be free, beside this one.
        for worker in self.pool.crew.workers.copy().values():
            if worker.handle and (has := memory(worker.handle)):
                yield Sample(m.WORKER_MEMORY, has.rss, (worker.name, "rss"))
                if has.pss is not None:
                    yield Sample(m.WORKER_MEMORY, has.pss, (worker.name, "pss"))

    def _threads(self) -> Iterator[Sample]:
        report = self.sampler.report
        for name, use in sorted(report.uses.items()):
            for state, seconds in sorted(use.states.items()):
                yield Sample(m.THREAD_STATE, seconds, (name, state))
        for name, place in sorted(report.places.items()):
            yield Sample(m.GIL_WAIT, place.gil_wait, (name,))
            yield Sample(m.PARALLELISM, place.parallelism, (name,))
            yield Sample(m.GIL_LOSS, place.gil_loss, (name,))
            yield Sample(m.GIL_ENABLED, place.gil_enabled, (name,))
            yield Sample(m.GIL_SOURCE, 1, (name, place.source))
            if place.loop_lag is not None:
                yield Sample(m.LOOP_LAG, place.loop_lag, (name,))
        for task, states in sorted(report.tasks.items()):
            for state, seconds in sorted(states.items()):
                yield Sample(m.TASK_STATE, seconds, (task, state))
        for task, speedup in sorted(report.speedups.items()):
            yield Sample(m.TASK_SPEEDUP, speedup, (task,))

    def _locks(self) -> Iterator[Sample]:
        seen = total([self.pool.locks(), self.leases.locks.statistics])
        for labels, family in sorted(seen.families.items()):
            yield Sample(m.LOCK_WAIT, family.wait, labels)
            yield Sample(m.LOCK_HOLD, family.hold, labels)
        yield Sample(m.LOCKS_LOST, seen.lost)
        yield Sample(m.LOCKS_EXPIRED, seen.expired)
        yield Sample(m.LOCK_DEADLOCKS, seen.deadlocks)
        yield Sample(m.FENCE_REJECTIONS, seen.fenced_out)
        if counts := self.census.locks():
            yield Sample(m.LOCKS_FORCED, counts.forced)
            yield from self._census(counts.locks)

    def _census(self, counts: Sequence[LockCount]) -> Iterator[Sample]:
        """By families, as the waits and holds: those that are most in use, and the others as one.

        A family whose locks are all free now is told with 0: were it left out, Grafana would draw
        a line from what was to what comes next.
        """
        sums: dict[tuple[str, str], Counter[str]] = {
            family: Counter() for family in sorted(self._families)
        }
        for count in sorted(counts, key=lambda count: (-count.waiters, count.name)):
            family = (count.kind, family_name(count.name))
            if family not in sums and len(sums) >= MOST_FAMILIES:
                family = (count.kind, OTHER)
            sums.setdefault(family, Counter()).update(
                in_use=count.in_use, limit=count.limit, waiters=count.waiters
            )
        self._families.update(sums)
        for (kind, name), of in sums.items():
            yield Sample(m.LOCK_WAITERS, of["waiters"], (kind, name))
            if kind == "semaphore":
                yield Sample(m.PERMITS_IN_USE, of["in_use"], (name,))
                yield Sample(m.PERMITS_LIMIT, of["limit"], (name,))


_FAMILIES = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "histogram": HistogramMetricFamily,
}


def _family(metric: m.Metric) -> Family:
    made: Family = _FAMILIES[metric.kind](metric.name, metric.help, labels=metric.labels)
    return made


def _buckets(histogram: m.Histogram) -> list[tuple[str, float]]:
    """Cumulative counts, as Prometheus wants them."""
    bounds = ("+Inf" if bound == m.INFINITY else repr(float(bound)) for bound in histogram.bounds)
    return list(zip(bounds, accumulate(histogram.counts), strict=True))
