"""The catalogue: every metric that Heori exports, named once, and the histogram behind some.

Names follow Prometheus' conventions (its documentation, "Metric and label naming"): base units
as suffix, `_total` for counters. Labels have few values: a worker is the number of its place,
never its process id, and no job or argument is ever a label. Each label says where its values come
from, so that no stranger can make any number of them. Dashboards, rules and `heori top` read the
names from here.

All that a consumer tells has its name as a label, the one under which Redis, `heori top` and the
page know it: an address says to nobody which consumer it is.
"""

from bisect import bisect_left
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Literal

INFINITY = float("inf")
# Upper bounds, in seconds: three to a decade, so that a quantile is no further from the truth than
# its neighbours are apart, from what a call to Redis takes to jobs, and waits, of hours.
JOB_SECONDS = (
    *(0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
    *(1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 14400.0),
    INFINITY,
)
# A lock is waited for as long as the job runs that holds it.
LOCK_SECONDS = JOB_SECONDS
# A call to Redis is given up after seconds. A request may wait for a result for a minute.
CALL_SECONDS = (*(bound for bound in JOB_SECONDS if bound <= 10), INFINITY)
REQUEST_SECONDS = (*(bound for bound in JOB_SECONDS if 0.001 <= bound <= 60), INFINITY)
BATCH_JOBS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, INFINITY)


@dataclass(slots=True)
class Histogram:
    """Counts per bucket and their sum."""

    bounds: tuple[float, ...]  # the last is infinity
    counts: list[int] = field(default_factory=list)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = self.counts or [0] * len(self.bounds)

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def __add__(self, other: "Histogram") -> "Histogram":
        return Histogram(
            self.bounds,
            [a + b for a, b in zip(self.counts, other.counts, strict=True)],
            self.total + other.total,
        )


Kind = Literal["counter", "gauge", "histogram"]


# The value of a label that stands for all that there is no room for.
OTHER = "other"
# Tasks and families of locks that are told one by one. Anybody who can write to Redis names them.
MOST_TASKS = 1000
MOST_FAMILIES = 100


def bounded(value: str, known: Collection[str], most: int) -> str:
    """A value of a label as it is told: itself if it is known or there is room, else OTHER."""
    return value if value in known or len(known) < most else OTHER


@dataclass(frozen=True, slots=True)
class Label:
    """A label, and where its values come from: one of these.

    Attributes:
        values: all that there are, and OTHER.
        most: so many of those that come from data, and OTHER.
        owner: who names them, and runs this process: as many as that names.
    """

    name: str
    values: tuple[str, ...] = ()
    most: int = 0
    owner: str = ""

    def __post_init__(self) -> None:
        if sum(map(bool, (self.values, self.most, self.owner))) != 1:
            raise ValueError(f"the label {self.name} says not where its values come from")

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric, as Prometheus sees it."""

    name: str
    kind: Kind
    help: str
    labels: tuple[Label, ...] = ()
    bounds: tuple[float, ...] = ()  # of a histogram's buckets
    source: Literal["consumer", "service"] = "consumer"  # which of the two exports it

    def __str__(self) -> str:
        return self.name

    @property
    def label_names(self) -> tuple[str, ...]:
        """The names of its labels, in their order; of a consumer's, the consumer is the first."""
        first = (CONSUMER.name,) if self.source == "consumer" else ()
        return (*first, *(label.name for label in self.labels))


CATALOGUE: dict[str, Metric] = {}


def _counter(name: str, about: str, *labels: Label) -> Metric:
    return _add(Metric(name, "counter", about, labels))


def _gauge(name: str, about: str, *labels: Label) -> Metric:
    return _add(Metric(name, "gauge", about, labels))


def _histogram(name: str, about: str, bounds: tuple[float, ...], *labels: Label) -> Metric:
    return _add(Metric(name, "histogram", about, labels, bounds))


def _add(metric: Metric) -> Metric:
    CATALOGUE[metric.name] = metric
    return metric


# Labels

CONSUMER = Label("consumer", owner="the consumer: host, process id and a part that no other has")
_TASK = Label("task", most=MOST_TASKS)
_LOCK = Label("lock", most=MOST_FAMILIES)
_QUEUE = Label("queue", owner="the queues of the consumer (--queue)")
_WORKER = Label("worker", owner="the places of its workers (--processes), and alone")
_COMMAND = Label("command", owner="the calls to Redis in the code")
_REASON = Label("reason", owner="exit codes and signals, and why the code replaces a worker")
_ROUTE = Label("route", owner="the routes of the service, one or two for each of its tasks")
_OUTCOME = Label("outcome", ("succeeded", "failed", "stopped", "retried", "lost"))
_FATE = Label("fate", ("put off", "given up"))
_REGISTRY = Label(
    "registry", ("started", "scheduled", "deferred", "finished", "failed", "canceled")
)
_MODEL = Label("model", ("threads", "processes", "hybrid", "asyncio", "auto", "inline"))
_VERSION = Label("version", owner="the installed heori")
_HOST = Label("host", owner="the machine, or the container")
_QUEUES = Label("queues", owner="the queues of the consumer, with commas between")
_BATCH = Label("command", ("claim", "ack"))
_STREAM = Label("stream", ("stdout", "stderr"))
_MEMORY = Label("kind", ("rss", "pss"))
_SWITCHES = Label("kind", ("voluntary", "involuntary"))
_STATE = Label("state", ("running", "gil_wait", "io_wait", "wait"))
_SOURCE = Label("source", ("external", "internal", "estimate"))
_CAME_OF = Label("outcome", ("kept", "undone", "overtaken"))
_CAUSE = Label("cause", owner="the causes, which are in the code")
_CHANGE = Label("change", owner="one more and one less of processes, slots and coroutines")
LOCK_KIND = Label("kind", ("mutex", "semaphore"))
METHOD = Label("method", ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
_STATUS = Label("status", owner="the routes, which are in the code")

# Jobs

JOBS = _counter(
    "heori_jobs_total",
    "Jobs that came to an end in a worker, by what Redis took of it: succeeded, failed, stopped, "
    "retried (failed, and to run again), or lost (with its lease; another delivery counts).",
    _TASK,
    _OUTCOME,
)
JOB_RUN = _histogram("heori_job_run_seconds", "Time a job took in its slot.", JOB_SECONDS, _TASK)
JOB_QUEUE = _histogram(
    "heori_job_queue_seconds", "Time from being enqueued to being claimed.", JOB_SECONDS, _TASK
)
JOB_CPU = _histogram(
    "heori_job_cpu_seconds",
    "CPU time of a job: of the thread while it ran the job, or of its coroutine's own steps.",
    JOB_SECONDS,
    _TASK,
)
BESIDE_LOOP = _counter(
    "heori_jobs_beside_loop_total",
    "Plain functions that ran in a thread beside an event loop; make them async.",
    _TASK,
)
DELIVERIES = _counter(
    "heori_deliveries_total", "Jobs claimed; one that is given back counts again.", _QUEUE
)
JOBS_GONE = _counter(
    "heori_jobs_gone_total",
    "Ids taken from a queue of which no job was left: evicted by a full Redis, expired by a ttl of "
    "rq's, or deleted while they waited. What is canceled does not count.",
    _QUEUE,
)
JOBS_EXPIRED = _counter(
    "heori_jobs_expired_total",
    "Jobs that were not run, as their `expires` was over when a slot was free for them.",
    _QUEUE,
)
REDELIVERED = _counter(
    "heori_jobs_redelivered_total", "Jobs given back after their worker or consumer died."
)
RESTARTED = _counter(
    "heori_jobs_restarted_total",
    "Jobs given back after they had begun, which was no delivery: beside a late one, for example.",
)
DEAD = _counter("heori_jobs_dead_total", "Jobs that became dead letters.")
REFUSED = _counter("heori_results_refused_total", "Results that came after the lease was lost.")
UNKNOWN_JOBS = _counter(
    "heori_jobs_unknown_total",
    "Deliveries of jobs whose task is not in the code of this consumer: put off, for another "
    "consumer; or given up, as no consumer of the queue knew it for long enough.",
    _FATE,
)
LEASES_LOST = _counter("heori_leases_lost_total", "Leases lost while held.")
LEASES_LATE = _counter("heori_leases_late_total", "Lease renewals that failed and are tried again.")
MOVED = _counter(
    "heori_jobs_scheduled_moved_total",
    "Scheduled jobs that this consumer put on their queues when they were due.",
)
TICKS = _counter(
    "heori_ticks_total",
    "Ticks of periodic jobs that this consumer dealt with as the leader: sent, missed (passed "
    "while nobody sent, and not made up for), or skipped (paused, or the job before still runs).",
    Label("entry", owner="HEORI_TASKS"),
    Label("outcome", ("sent", "missed", "skipped")),
)
SCHEDULER_LAG = _gauge(
    "heori_scheduler_lag_seconds",
    "By how much the latest batch of due jobs was late when it was moved.",
)

# Queues. Told for each queue by one of its consumers only, so that sums are right.

QUEUE_DEPTH = _gauge("heori_queue_depth", "Jobs that wait in a queue.", _QUEUE)
QUEUE_OLDEST = _gauge(
    "heori_queue_oldest_seconds",
    "For how long the job that is next in a queue has waited; 0 when none waits.",
    _QUEUE,
)
REGISTRY_JOBS = _gauge(
    "heori_registry_jobs",
    "Jobs in one of a queue's registries: started, scheduled, deferred, finished, failed, "
    "canceled.",
    _QUEUE,
    _REGISTRY,
)
RATE_WAITING = _gauge(
    "heori_jobs_waiting_for_rate", "Jobs of a queue that may not begin yet by their rate.", _QUEUE
)
QUEUE_PAUSED = _gauge("heori_queue_paused", "Whether a queue is paused.", _QUEUE)
TENANTS_PAUSED = _gauge("heori_tenants_paused", "Tenants of a queue that are paused.", _QUEUE)
TASKS_PAUSED = _gauge(
    "heori_tasks_paused", "Tasks that are paused, whatever the queue: each service tells all."
)
QUEUE_LIMIT = _gauge("heori_queue_limit", "Jobs that may wait in a bounded queue.", _QUEUE)
PRODUCERS_BLOCKED = _gauge(
    "heori_producers_blocked", "Producers that wait for room in a bounded queue.", _QUEUE
)
JOBS_REJECTED = _counter(
    "heori_jobs_rejected_total", "Jobs that a full queue did not take.", _QUEUE
)
JOBS_DROPPED = _counter(
    "heori_jobs_dropped_total", "Waiting jobs that made room for newer ones.", _QUEUE
)

# Consumers

CONSUMER_INFO = _gauge(
    "heori_consumer_info",
    "What this consumer is: 1, and the labels say it.",
    _MODEL,
    _VERSION,
    _HOST,
    _QUEUES,
)
WANTED_CONSUMERS = _gauge(
    "heori_wanted_consumers",
    "Consumers like this one that there should be, so that no job waits for longer than "
    "HEORI_TARGET_WAIT: for what starts and ends them. Of those that serve the same queues, one "
    "tells.",
    _QUEUES,
)
SLOTS = _gauge(
    "heori_slots",
    "Slots that can run jobs; with those of suspects, which have processes of their own, and never "
    "fewer than run one.",
)
SLOTS_RUNNING = _gauge(
    "heori_slots_running",
    "Slots that run a job. One whose job waits for other jobs is lent, and counts for what runs in "
    "its place.",
)
JOBS_WAITING = _gauge(
    "heori_jobs_waiting_for_jobs", "Jobs that wait for other jobs; their slots are lent meanwhile."
)
JOBS_HELD = _gauge("heori_jobs_held", "Jobs claimed and not yet settled, running or not.")
RESULTS_HELD = _gauge(
    "heori_results_held_bytes",
    "Results that Redis has yet to take; at 64 MB, this consumer reads and claims nothing more.",
)
JOBS_PREFETCHED = _gauge(
    "heori_jobs_prefetched", "Jobs that wait in a worker, so that no slot runs dry."
)
REDIS_UP = _gauge("heori_redis_up", "Whether Redis answers, and takes what this consumer sends.")
DRAINING = _gauge(
    "heori_draining", "Whether this consumer claims nothing, as it ends or was asked to drain."
)
SUSPENDED = _gauge("heori_suspended", "Whether `rq suspend` holds claims back.")
QUEUE_REFUSED = _gauge(
    "heori_queue_refused",
    "Whether this consumer takes no jobs of a queue, as its settings let it run none of them.",
    _QUEUE,
)
REDIS_CALL = _histogram(
    "heori_redis_call_seconds",
    "Round trip of a call to Redis, by script or command.",
    CALL_SECONDS,
    _COMMAND,
)
BATCH = _histogram(
    "heori_batch_jobs",
    "Jobs in one call: of a claim that brought any, of an acknowledgement.",
    BATCH_JOBS,
    _BATCH,
)
USABLE_CORES = _gauge(
    "heori_usable_cores", "Cores that this consumer may use: affinity, cut by the cgroup's quota."
)
SAMPLER_CPU = _counter(
    "heori_sampler_cpu_seconds_total", "What it costs to sample the states of threads."
)
LINES_DROPPED = _counter(
    "heori_lines_dropped_total",
    "Lines that a consumer or its tasks wrote to standard output (stdout) or error (stderr), and "
    "that nobody read in time, or that could not be written.",
    _STREAM,
)

AUTO_PROCESSES = _gauge("heori_auto_processes", "Worker processes that the model auto wants now.")
AUTO_SLOTS = _gauge("heori_auto_slots", "Threads of each process that the model auto wants now.")
AUTO_COROUTINES = _gauge("heori_auto_coroutines", "Coroutines of each process that auto wants now.")
AUTO_MOVES = _counter(
    "heori_auto_moves_total",
    "Changes of size that auto has made: kept, undone, or overtaken by a change of the work.",
    _CAME_OF,
)
AUTO_CAUSES = _counter("heori_auto_causes_total", "Moves of auto, by what they were for.", _CAUSE)
AUTO_ESTIMATE = _gauge(
    "heori_auto_estimate_ratio", "Jobs with one more or one less of each, × those of now.", _CHANGE
)

# Workers

RESTARTS = _counter(
    "heori_worker_restarts_total", "Worker processes that died and were replaced.", _REASON
)
CANNOT_START = _gauge(
    "heori_workers_cannot_start",
    "Places whose next worker cannot start, as when its tasks cannot be imported.",
)
WORKER_CPU = _counter(
    "heori_worker_cpu_seconds_total",
    "CPU time of the processes that this place has had.",
    _WORKER,
)
WORKER_MEMORY = _gauge(
    "heori_worker_memory_bytes",
    "Memory of a worker process: rss, all that is resident, or pss, with what is shared divided "
    "among those who share it. Do not add the two.",
    _WORKER,
    _MEMORY,
)
CONTEXT_SWITCHES = _counter(
    "heori_worker_context_switches_total",
    "How often the threads that run jobs gave their core away, voluntary, or had it taken, "
    "involuntary.",
    _WORKER,
    _SWITCHES,
)
RUNQUEUE_WAIT = _counter(
    "heori_worker_runqueue_wait_seconds_total",
    "Time that the threads that run jobs were ready and had no core.",
    _WORKER,
)
THREAD_STATE = _counter(
    "heori_worker_thread_state_seconds_total",
    "What threads that had a job did, sampled: running, gil_wait, io_wait (for anything but the "
    "GIL), or wait where the source cannot tell the two apart.",
    _WORKER,
    _STATE,
)
GIL_WAIT = _gauge(
    "heori_worker_gil_wait_ratio",
    "Share of the time of threads that had a job in which they waited for the GIL, in the last "
    "15 seconds.",
    _WORKER,
)
PARALLELISM = _gauge(
    "heori_worker_effective_parallelism_cores",
    "CPU seconds that a worker used each second, in the last 15 seconds.",
    _WORKER,
)
GIL_LOSS = _gauge(
    "heori_worker_gil_loss_ratio",
    "Share of the possible throughput that is lost to the GIL: the GIL's part of the time of "
    "threads, or the part of the cores that is idle, whichever is less; in the last 15 seconds. "
    "Not to be trusted where threads wait for a core.",
    _WORKER,
)
GIL_ENABLED = _gauge(
    "heori_worker_gil_enabled",
    "Whether the worker's interpreter has a GIL, and it is on.",
    _WORKER,
)
GIL_SOURCE = _gauge(
    "heori_gil_signal_source",
    "How the states of threads are known: external (read from outside the process), internal "
    "(from within), or estimate (from CPU time alone).",
    _WORKER,
    _SOURCE,
)
LOOP_BUSY = _counter(
    "heori_worker_loop_busy_seconds_total",
    "Time that a worker's event loop did not wait for events.",
    _WORKER,
)
LOOP_LAG = _gauge(
    "heori_worker_loop_lag_seconds",
    "How long a worker's event loop took to come to what it was asked to do, at most in the last "
    "15 seconds.",
    _WORKER,
)
TASK_STATE = _counter(
    "heori_task_thread_state_seconds_total",
    "What threads that had a job of the task did; states as those of workers.",
    _TASK,
    _STATE,
)
TASK_SPEEDUP = _gauge(
    "heori_task_process_speedup_ratio",
    "How many times as many jobs of the task processes would do than these threads: an estimate "
    "from what they lose to the GIL.",
    _TASK,
)

# Locks

LOCK_WAIT = _histogram(
    "heori_lock_wait_seconds", "Time until a lock was got.", LOCK_SECONDS, LOCK_KIND, _LOCK
)
LOCK_HOLD = _histogram(
    "heori_lock_hold_seconds", "Time that a lock was held.", LOCK_SECONDS, LOCK_KIND, _LOCK
)
LOCK_WAITERS = _gauge("heori_lock_waiters", "Who waits for a lock.", LOCK_KIND, _LOCK)
PERMITS_IN_USE = _gauge(
    "heori_semaphore_permits_in_use", "Permits of a semaphore that are held.", _LOCK
)
PERMITS_LIMIT = _gauge("heori_semaphore_permits_limit", "Permits that a semaphore has.", _LOCK)
LOCKS_LOST = _counter(
    "heori_locks_lost_total", "Locks that were lost, or taken away, while they were held."
)
LOCKS_EXPIRED = _counter(
    "heori_locks_expired_total", "Locks that were lost because their renewal came too late."
)
LOCK_DEADLOCKS = _counter("heori_lock_deadlocks_total", "Deadlocks that were found.")
FENCE_REJECTIONS = _counter(
    "heori_lock_fence_rejections_total", "Writes that were refused because of an old fencing token."
)
LOCKS_FORCED = _counter("heori_locks_forced_total", "Locks that somebody released by force.")

# `heori serve`

API_REQUESTS = _add(
    Metric(
        "heori_api_requests_total",
        "counter",
        "HTTP requests answered; the route is other where there is none.",
        (_ROUTE, METHOD, _STATUS),
        source="service",
    )
)
API_SECONDS = _add(
    Metric(
        "heori_api_request_seconds",
        "histogram",
        "Time until an HTTP request was answered, waiting for results included.",
        (_ROUTE,),
        REQUEST_SECONDS,
        source="service",
    )
)
