"""All that a consumer exports, read from its parts at the moment of a scrape.

What each metric is stands in the catalogue, `heori_common.metrics`; its values come from here.
"""

import socket
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from itertools import accumulate
from typing import NamedTuple, get_args

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from heori_common import metrics as m
from heori_common.locks.commands import LockCount, LockCounts
from heori_common.locks.statistics import family_name, total
from heori_common.outlet import STDERR, STDOUT
from heori_common.platform import usable_cores
from heori_common.protocol.commands import QueueCensus
from heori_common.protocol.job import FAILED, FINISHED, RETRY, STOPPED
from heori_consumer.auto.move import Cause, Fate
from heori_consumer.gil.usage import memory
from heori_consumer.supervisor.acknowledger import LOST
from heori_consumer.supervisor.context import Context
from heori_consumer.supervisor.roles import Roles
from heori_consumer.supervisor.wanted import WantedConsumers

# What a job's end is called in the label, by its status.
OUTCOMES = {
    FINISHED: "succeeded",
    FAILED: "failed",
    STOPPED: "stopped",
    RETRY: "retried",
    LOST: "lost",
}


class MetricSample(NamedTuple):
    """One value of a metric."""

    metric: m.Metric
    value: float | m.Histogram
    labels: tuple[str, ...] = ()


def registry_of(context: Context, roles: Roles) -> CollectorRegistry:
    """What a scrape of a consumer asks."""
    registry = CollectorRegistry()
    registry.register(ConsumerMetrics(context, roles))
    return registry


class ConsumerMetrics(Collector):
    """The collector that a consumer registers."""

    def __init__(self, context: Context, roles: Roles) -> None:
        self._context = context
        self._roles = roles
        self._wanted = WantedConsumers(context, roles.pool)
        self._families: set[tuple[str, str]] = set()  # of locks, that were told before
        self._about = (
            context.options.model,
            version("heori"),
            socket.gethostname(),
            ",".join(context.queues),
        )

    def describe(self) -> Iterator[Family]:
        """All metrics without values, so that some may be asked for by name."""
        yield from _families().values()

    def collect(self) -> Iterator[Family]:
        """All metrics, now."""
        families = _families()
        queues, locks = self._roles.queue_sampler.counts()
        for part in (
            self._jobs(),
            self._queues(queues),
            self._consumer(),
            self._size(),
            self._workers(),
            self._threads(),
            self._locks(locks),
        ):
            for metric, value, labels in part:
                family = families[metric.name]
                named = (self._context.name, *labels)
                if isinstance(family, HistogramMetricFamily):
                    assert isinstance(value, m.Histogram)
                    family.add_metric(named, _buckets(value), value.total)
                else:
                    assert isinstance(family, CounterMetricFamily | GaugeMetricFamily)
                    assert not isinstance(value, m.Histogram)
                    family.add_metric(named, value)
        yield from families.values()

    def _jobs(self) -> Iterator[MetricSample]:
        outcomes = self._roles.acknowledger.outcomes.copy()
        for task in sorted({task for task, _ in outcomes}):
            for status, name in OUTCOMES.items():
                yield MetricSample(m.JOBS, outcomes[task, status], (task, name))
        for task, totals in sorted(self._roles.pool.totals().items()):
            yield MetricSample(m.BESIDE_LOOP, totals.beside_loop, (task,))
            yield MetricSample(m.JOB_RUN, totals.run_time, (task,))
            yield MetricSample(m.JOB_CPU, totals.cpu_time, (task,))
            yield MetricSample(m.JOB_QUEUE, totals.queue_time, (task,))
        redelivered = self._roles.acknowledger.redelivered + self._roles.reaper.redelivered
        yield MetricSample(m.REDELIVERED, redelivered)
        yield MetricSample(m.RESTARTED, self._roles.acknowledger.restarted)
        yield MetricSample(m.DEAD, self._roles.acknowledger.dead + self._roles.reaper.dead)
        yield MetricSample(m.REFUSED, self._roles.acknowledger.refused)
        given_up = self._roles.acknowledger.given_up
        yield MetricSample(
            m.UNKNOWN_JOBS, self._roles.acknowledger.unknown - given_up, ("put off",)
        )
        yield MetricSample(m.UNKNOWN_JOBS, given_up, ("given up",))
        yield MetricSample(m.LEASES_LOST, self._roles.lease_keeper.lost)
        yield MetricSample(m.LEASES_LATE, self._roles.lease_keeper.late)
        yield MetricSample(m.MOVED, self._roles.scheduler.moved)
        yield MetricSample(m.SCHEDULER_LAG, self._roles.scheduler.lag)
        for (entry, outcome), count in sorted(self._roles.ticker.counts.copy().items()):
            yield MetricSample(m.TICKS, count, (entry, outcome))

    def _queues(self, counts: Mapping[str, QueueCensus]) -> Iterator[MetricSample]:
        for queue, delivered in self._roles.intake.deliveries.copy().items():
            yield MetricSample(m.DELIVERIES, delivered, (queue,))
        for queue, gone in self._roles.intake.gone.copy().items():
            yield MetricSample(m.JOBS_GONE, gone, (queue,))
        for queue, expired in self._roles.intake.expired.copy().items():
            yield MetricSample(m.JOBS_EXPIRED, expired, (queue,))
        for queue, count in counts.items():
            yield MetricSample(m.QUEUE_DEPTH, count.waiting, (queue,))
            yield MetricSample(m.QUEUE_OLDEST, count.oldest, (queue,))
            for registry, size in count.registries.items():
                yield MetricSample(m.REGISTRY_JOBS, size, (queue, registry))
            if count.bound.limit is not None:
                yield MetricSample(m.QUEUE_LIMIT, count.bound.limit, (queue,))
            yield MetricSample(m.PRODUCERS_BLOCKED, count.blocked, (queue,))
            yield MetricSample(m.RATE_WAITING, count.waiting_for_rate, (queue,))
            yield MetricSample(m.QUEUE_PAUSED, count.paused, (queue,))
            yield MetricSample(m.TENANTS_PAUSED, count.tenants_paused, (queue,))
            yield MetricSample(m.JOBS_REJECTED, count.bound.rejected, (queue,))
            yield MetricSample(m.JOBS_DROPPED, count.bound.dropped, (queue,))

        for count in list(counts.values())[:1]:
            yield MetricSample(m.TASKS_PAUSED, count.tasks_paused)
        if (wanted := self._wanted.number(counts)) is not None:
            yield MetricSample(m.WANTED_CONSUMERS, wanted, (self._about[-1],))

    def _consumer(self) -> Iterator[MetricSample]:
        running = self._roles.pool.running()
        yield MetricSample(m.CONSUMER_INFO, 1, self._about)
        yield MetricSample(m.USABLE_CORES, usable_cores())
        yield MetricSample(m.SLOTS, self._roles.pool.slots(running))
        yield MetricSample(m.SLOTS_RUNNING, running)
        yield MetricSample(m.JOBS_WAITING, self._roles.pool.waiting())
        yield MetricSample(m.JOBS_HELD, len(self._context.leases))
        yield MetricSample(m.RESULTS_HELD, self._roles.acknowledger.held.bytes)
        yield MetricSample(m.JOBS_PREFETCHED, self._roles.pool.prefetched())
        yield MetricSample(m.REDIS_UP, self._context.retry.trouble is None)
        yield MetricSample(m.DRAINING, self._roles.health.drains)
        yield MetricSample(m.SUSPENDED, self._roles.claimer.suspended)
        for queue in self._context.queues:
            yield MetricSample(m.QUEUE_REFUSED, queue in self._context.refusals, (queue,))
        for command, took in sorted(self._context.redis.calls.copy().items()):
            yield MetricSample(m.REDIS_CALL, took, (command,))
        yield MetricSample(m.BATCH, self._roles.intake.batches, ("claim",))
        yield MetricSample(m.BATCH, self._roles.acknowledger.batches, ("ack",))
        for outlet in (STDOUT, STDERR):
            yield MetricSample(m.LINES_DROPPED, outlet.dropped, (outlet.name,))
        yield MetricSample(m.SAMPLER_CPU, self._roles.gil_sampler.cpu)

    def _size(self) -> Iterator[MetricSample]:
        autoscaler = self._roles.autoscaler
        if autoscaler is None:
            return
        controller = autoscaler.controller
        yield MetricSample(m.AUTO_PROCESSES, controller.size.processes)
        yield MetricSample(m.AUTO_SLOTS, controller.size.slots)
        yield MetricSample(m.AUTO_COROUTINES, controller.size.coroutines)
        for outcome in get_args(Fate):
            yield MetricSample(m.AUTO_MOVES, controller.outcomes[outcome], (outcome,))
        for cause in get_args(Cause):
            yield MetricSample(m.AUTO_CAUSES, autoscaler.causes[cause], (cause,))
        for change, ratio in controller.estimates.items():
            yield MetricSample(m.AUTO_ESTIMATE, ratio, (change,))

    def _workers(self) -> Iterator[MetricSample]:
        for reason, count in sorted(self._roles.pool.roster.restarts.copy().items()):
            yield MetricSample(m.RESTARTS, count, (reason,))
        yield MetricSample(m.CANNOT_START, len(self._roles.pool.roster.trouble))
        for name, use in sorted(self._roles.gil_sampler.report.uses.items()):
            yield MetricSample(m.WORKER_CPU, use.cpu, (name,))
            yield MetricSample(m.CONTEXT_SWITCHES, use.voluntary, (name, "voluntary"))
            yield MetricSample(m.CONTEXT_SWITCHES, use.involuntary, (name, "involuntary"))
            yield MetricSample(m.RUNQUEUE_WAIT, use.runqueue, (name,))
            if use.loop_busy:
                yield MetricSample(m.LOOP_BUSY, use.loop_busy, (name,))
        # One worker for each place: the next one waits for it to be free, beside this one.
        for worker in self._roles.pool.roster.workers.copy().values():
            if worker.process and (has := memory(worker.process)):
                yield MetricSample(m.WORKER_MEMORY, has.rss, (worker.name, "rss"))
                if has.pss is not None:
                    yield MetricSample(m.WORKER_MEMORY, has.pss, (worker.name, "pss"))

    def _threads(self) -> Iterator[MetricSample]:
        report = self._roles.gil_sampler.report
        for name, use in sorted(report.uses.items()):
            for state, seconds in sorted(use.states.items()):
                yield MetricSample(m.THREAD_STATE, seconds, (name, state))
        for name, place in sorted(report.places.items()):
            yield MetricSample(m.GIL_WAIT, place.gil_wait, (name,))
            yield MetricSample(m.PARALLELISM, place.parallelism, (name,))
            yield MetricSample(m.GIL_LOSS, place.gil_loss, (name,))
            yield MetricSample(m.GIL_ENABLED, place.gil_enabled, (name,))
            yield MetricSample(m.GIL_SOURCE, 1, (name, place.source))
            if place.loop_lag is not None:
                yield MetricSample(m.LOOP_LAG, place.loop_lag, (name,))
        for task, states in sorted(report.tasks.items()):
            for state, seconds in sorted(states.items()):
                yield MetricSample(m.TASK_STATE, seconds, (task, state))
        for task, speedup in sorted(report.speedups.items()):
            yield MetricSample(m.TASK_SPEEDUP, speedup, (task,))

    def _locks(self, counts: LockCounts | None) -> Iterator[MetricSample]:
        seen = total([self._roles.pool.locks(), self._context.leases.locks.statistics])
        for labels, family in sorted(seen.families.items()):
            yield MetricSample(m.LOCK_WAIT, family.wait, labels)
            yield MetricSample(m.LOCK_HOLD, family.hold, labels)
        yield MetricSample(m.LOCKS_LOST, seen.lost)
        yield MetricSample(m.LOCKS_EXPIRED, seen.expired)
        yield MetricSample(m.LOCK_DEADLOCKS, seen.deadlocks)
        yield MetricSample(m.FENCE_REJECTIONS, seen.fenced_out)
        if counts is not None:
            yield MetricSample(m.LOCKS_FORCED, counts.forced)
            yield from self._lock_counts(counts.locks)

    def _lock_counts(self, counts: Sequence[LockCount]) -> Iterator[MetricSample]:
        """By families, as the waits and holds: those that are most in use, and the others as one.

        A family whose locks are all free now is told with 0: were it left out, Grafana would draw
        a line from what was to what comes next.
        """
        sums: dict[tuple[str, str], Counter[str]] = {
            family: Counter() for family in sorted(self._families)
        }
        for count in sorted(counts, key=lambda count: (-count.waiters, count.name)):
            kind = count.kind if count.kind in m.LOCK_KIND.values else m.OTHER
            family = (kind, family_name(count.name))
            if family not in sums and len(sums) >= m.MOST_FAMILIES:
                family = (kind, m.OTHER)
            sums.setdefault(family, Counter()).update(
                in_use=count.in_use, limit=count.limit, waiters=count.waiters
            )
        self._families.update(sums)
        for (kind, name), of in sums.items():
            yield MetricSample(m.LOCK_WAITERS, of["waiters"], (kind, name))
            if kind == "semaphore":
                yield MetricSample(m.PERMITS_IN_USE, of["in_use"], (name,))
                yield MetricSample(m.PERMITS_LIMIT, of["limit"], (name,))


_FAMILIES = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "histogram": HistogramMetricFamily,
}


def _families() -> dict[str, Family]:
    """All that a consumer tells, by name, without values."""
    ours = (metric for metric in m.CATALOGUE.values() if metric.source == "consumer")
    return {metric.name: _family(metric) for metric in ours}


def _family(metric: m.Metric) -> Family:
    made: Family = _FAMILIES[metric.kind](metric.name, metric.help, labels=metric.label_names)
    return made


def _buckets(histogram: m.Histogram) -> list[tuple[str, float]]:
    """Cumulative counts, as Prometheus wants them."""
    bounds = ("+Inf" if bound == m.INFINITY else repr(float(bound)) for bound in histogram.bounds)
    return list(zip(bounds, accumulate(histogram.counts), strict=True))
