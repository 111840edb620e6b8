"""Consumers: the processes that do the work, how they fare, and what they ask of Redis."""

from grafana.board import Board, Line
from grafana.colours import GREEN, GREY, ORANGE, RED
from grafana.panels import (
    CALLS_EACH_SECOND,
    CORES,
    COUNT,
    EACH_MINUTE,
    JOBS_EACH_SECOND,
    lines,
    number,
    stacked,
)
from grafana.promql import RATE, SHOWN, only_some, quantile
from grafana.queries import Query
from grafana.tables import TableColumn, rows_of
from heori_common import metrics

CONSUMERS = 'consumer=~"$consumer"'

NO_CONSUMER = "No consumer answers"


def board() -> Board:
    """The dashboard."""
    made = Board(
        "consumers",
        "Consumers",
        "The consumers and their worker processes: what runs where, what was restarted and why, "
        "and what Redis is asked.",
        ["model", "consumer"],
    )
    made.top(_at_a_glance(), _who())
    made.row("What they hold, and what holds them", _held())
    made.row("Worker processes", *_workers())
    made.row("Leases and the schedule", *_leases())
    made.row("Redis", _redis())
    return made


def _at_a_glance() -> Line:
    def sum_of(metric: metrics.Metric) -> str:
        return f"sum({metric}{{{CONSUMERS}}})"

    def lately(metric: metrics.Metric) -> str:
        return f"round(sum(increase({metric}{{{CONSUMERS}}}{SHOWN})))"

    return [
        number(
            "Consumers",
            "Consumers that answer Prometheus now: one for each container.",
            COUNT,
            f"{sum_of(metrics.CONSUMER_INFO)} or vector(0)",
            [(None, RED), (1, GREEN)],
            empty="Prometheus does not answer",
        ),
        number(
            "Slots",
            "Jobs that can run at once: worker processes times slots in each.",
            COUNT,
            sum_of(metrics.SLOTS),
            empty=NO_CONSUMER,
        ),
        number(
            "Claimed jobs",
            "Jobs that are out of Redis: those that run, and those that wait in a worker so that "
            "no slot runs dry.",
            "short",
            sum_of(metrics.JOBS_HELD),
            empty=NO_CONSUMER,
        ),
        number(
            "Workers that died",
            "Worker processes that died and were replaced since their consumers started. Their "
            "jobs ran again.",
            COUNT,
            f"{sum_of(metrics.RESTARTS)} or vector(0)",
            [(None, GREEN), (1, ORANGE)],
            empty=NO_CONSUMER,
        ),
        number(
            "Leases lost",
            "Jobs in the time shown that this consumer held for too long without a sign of life, "
            "so that they ran elsewhere as well. It should be 0.",
            COUNT,
            lately(metrics.LEASES_LOST),
            [(None, GREEN), (1, RED)],
            empty=NO_CONSUMER,
        ),
        number(
            "Without Redis",
            "Consumers that Redis does not answer. They finish what they run, and claim nothing.",
            COUNT,
            f"sum(1 - {metrics.REDIS_UP}{{{CONSUMERS}}})",
            [(None, GREEN), (1, RED)],
            empty=NO_CONSUMER,
        ),
    ]


def _of_each(metric: metrics.Metric) -> str:
    return f"sum by (consumer) ({metric}{{{CONSUMERS}}})"


_YES = [(None, GREY), (1, ORANGE)]


def _who() -> Line:
    return [
        rows_of(
            "Consumer by consumer",
            "One row each, by the name that it has in `heori top` and on the page, where the name "
            "leads. Draining: it was told to end, and finishes what runs.",
            {
                "consumer": "Consumer",
                "model": "Model",
                "queues": "Queues",
                "host": "Host",
                "version": "Version",
            },
            [
                TableColumn(
                    "",
                    "sum by (consumer, model, queues, host, version) "
                    f"({metrics.CONSUMER_INFO}{{{CONSUMERS}}})",
                    COUNT,
                ),
                TableColumn("Slots", _of_each(metrics.SLOTS), COUNT),
                TableColumn("Running", _of_each(metrics.SLOTS_RUNNING), COUNT),
                TableColumn(
                    "Done",
                    f"sum by (consumer) (rate({metrics.JOBS}{{{CONSUMERS}}}{RATE}))",
                    JOBS_EACH_SECOND,
                ),
                TableColumn(
                    "Redis",
                    _of_each(metrics.REDIS_UP),
                    "bool_yes_no",
                    [(None, RED), (1, GREEN)],
                ),
                TableColumn("Draining", _of_each(metrics.DRAINING), "bool_yes_no", _YES),
            ],
            empty=NO_CONSUMER,
            highest="Done",
        )
    ]


def _held() -> Line:
    return [
        rows_of(
            "Held, consumer by consumer",
            "Claimed: jobs that are out of Redis. Prefetched: those of them that are not yet in a "
            "slot. Waiting: jobs that wait for other jobs, which run in their slots meanwhile. "
            "Results held: that Redis has yet to take; with 64 MB of them, nothing is claimed. "
            "Suspended: `rq suspend` holds it back, `rq resume` lets it go on. Refused: queues of "
            "which it takes no jobs, as its settings let it run none; its log and `heori status` "
            "say which line mends that.",
            {"consumer": "Consumer"},
            [
                TableColumn("Claimed", _of_each(metrics.JOBS_HELD), COUNT),
                TableColumn("Prefetched", _of_each(metrics.JOBS_PREFETCHED), COUNT),
                TableColumn("Waiting", _of_each(metrics.JOBS_WAITING), COUNT),
                TableColumn("Results held", _of_each(metrics.RESULTS_HELD), "decbytes"),
                TableColumn("Suspended", _of_each(metrics.SUSPENDED), "bool_yes_no", _YES),
                TableColumn("Refused", _of_each(metrics.QUEUE_REFUSED), COUNT, _YES),
            ],
            empty=NO_CONSUMER,
            highest="Claimed",
        )
    ]


def _workers() -> list[Line]:
    four = [
        lines(
            "Deaths and recycling, by reason",
            "Worker processes replaced. A signal or an exit code is a crash, timeout "
            "is a job that could not be interrupted; recycle-after and max-rss are recycling, and "
            "healthy. With max-files and max-threads a task leaves files open or threads behind. "
            "Places that wait for a worker: its tasks cannot be imported, say.",
            EACH_MINUTE,
            Query(
                f"60 * sum by (reason) (rate({metrics.RESTARTS}{{{CONSUMERS}}}{RATE}))",
                "{{reason}}",
            ),
            Query(f"sum({metrics.CANNOT_START}{{{CONSUMERS}}})", "places that wait for a worker"),
            empty=NO_CONSUMER,
            shade=RED,
        ),
        lines(
            "CPU, by worker",
            "Cores that each worker process uses. A worker of threads stays near 1 when it "
            "computes in Python.",
            CORES,
            Query(
                f"rate({metrics.WORKER_CPU}{{{CONSUMERS}}}{RATE})",
                "{{consumer}} #{{worker}}",
            ),
            empty=NO_CONSUMER,
        ),
        lines(
            "Functions beside an event loop",
            "Plain functions that a consumer of coroutines had to run in a thread, by task. Make "
            "them async, or give them to consumers of threads.",
            JOBS_EACH_SECOND,
            Query(only_some("task", f"{metrics.BESIDE_LOOP}{{{CONSUMERS}}}"), "{{task}}"),
            reach=1,
            empty=NO_CONSUMER,
        ),
        lines(
            "Lines of output dropped",
            "Lines of logs and prints that nobody read in time, or that could not be written: a "
            "collector that is slow or gone, a full disk. Nothing else waits for that.",
            EACH_MINUTE,
            Query(
                f"60 * sum by (stream) (rate({metrics.LINES_DROPPED}{{{CONSUMERS}}}{RATE}))",
                "{{stream}}",
            ),
            reach=1,
            empty=NO_CONSUMER,
        ),
    ]
    return [four[:2], four[2:]]


def _leases() -> list[Line]:
    four = [
        lines(
            "Leases late and lost",
            "Late: renewals that failed and are tried again, when Redis is slow or away. Lost: "
            "too late, the job runs elsewhere as well.",
            EACH_MINUTE,
            Query(f"60 * sum(rate({metrics.LEASES_LATE}{{{CONSUMERS}}}{RATE}))", "late"),
            Query(f"60 * sum(rate({metrics.LEASES_LOST}{{{CONSUMERS}}}{RATE}))", "lost"),
            reach=1,
            empty=NO_CONSUMER,
        ),
        lines(
            "Scheduled jobs put on their queues",
            "Delayed jobs and retries that became due, each second.",
            JOBS_EACH_SECOND,
            Query(f"sum(rate({metrics.MOVED}{{{CONSUMERS}}}{RATE}))", "moved"),
            empty=NO_CONSUMER,
        ),
        lines(
            "Ticks of periodic jobs",
            "Sent; missed while no consumer sent, and not made up for; skipped, as the entry is "
            "paused or its job before still runs.",
            EACH_MINUTE,
            Query(
                f"60 * sum by (outcome) (rate({metrics.TICKS}{{{CONSUMERS}}}{RATE}))",
                "{{outcome}}",
            ),
            empty="No task is periodic, or none was due yet",
        ),
        lines(
            "Lateness of scheduled jobs",
            "By how much the latest batch came after it was due. One consumer of all does it; "
            "another takes over within seconds when it dies.",
            "s",
            Query(f"max({metrics.SCHEDULER_LAG}{{{CONSUMERS}}})", "behind"),
            decades=True,
            empty=NO_CONSUMER,
        ),
    ]
    return [four[:2], four[2:]]


def _redis() -> Line:
    call, batch = metrics.REDIS_CALL, metrics.BATCH
    shares = ((0.5, "half"), (0.95, "95%"), (0.99, "99%"))
    return [
        stacked(
            "Calls, by script or command",
            "What all consumers ask of Redis each second. Far fewer calls than jobs: claims and "
            "acknowledgements go in batches.",
            CALLS_EACH_SECOND,
            Query(f"sum by (command) (rate({call}_count{{{CONSUMERS}}}{RATE}))", "{{command}}"),
            empty=NO_CONSUMER,
            span=8,
        ),
        lines(
            "How long Redis takes",
            "Half of all calls are answered faster than the lowest line, one in a hundred is "
            "slower than the highest: the network, a busy Redis, or a consumer without a core.",
            "s",
            *(Query(quantile(share, call, CONSUMERS), name) for share, name in shares),
            decades=True,
            empty=NO_CONSUMER,
            span=8,
        ),
        lines(
            "Jobs in a batch",
            "How many jobs one call claims or acknowledges, on average. It grows with the load.",
            "short",
            Query(
                f"sum by (command) (rate({batch}_sum{{{CONSUMERS}}}{RATE})) "
                f"/ (sum by (command) (rate({batch}_count{{{CONSUMERS}}}{RATE})) > 0)",
                "{{command}}",
            ),
            empty="Nothing was claimed in the time shown",
            span=8,
        ),
    ]
