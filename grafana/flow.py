"""Flow: what comes in, waits, runs and comes out, how long that takes, and what fails."""

from grafana_foundation_sdk.builders import stat, timeseries

from grafana.board import Board, Line
from grafana.colours import GREEN, ORANGE, RED
from grafana.panels import (
    CORES,
    COUNT,
    EACH_MINUTE,
    JOBS_EACH_SECOND,
    dashed,
    lines,
    number,
    spread,
    stacked,
)
from grafana.promql import RATE, SHOWN, only_some, quantile
from grafana.queries import SHARE, Query
from grafana.tables import TableColumn, rows_of
from heori_common import metrics

JOBS = 'consumer=~"$consumer", task=~"$task"'  # what is told for each task
CONSUMERS = 'consumer=~"$consumer"'
QUEUES = 'queue=~"$queue"'  # told by one consumer for all
ENDED = 'outcome!~"retried|lost"'  # for good

NO_CONSUMER = "No consumer answers"
NO_JOBS = "No job has ended in the time shown"
NO_LIMIT = "No queue has a limit (HEORI_QUEUE_LIMITS)"
NO_SERVICE = "No `heori serve` answers"


def board() -> Board:
    """The dashboard."""
    made = Board(
        "flow",
        "Flow",
        "Jobs from the queue to their end: how many, how long, and what fails.",
        ["queue", "task", "model", "consumer"],
    )
    made.top(_at_a_glance(), _tasks())
    made.row("In, waiting, out", [in_and_claimed(), ends()], _waiting())
    made.row("How long it takes", _how_long())
    made.row("What goes wrong", _what_fails())
    made.row("Back-pressure", _back_pressure())
    made.row("Rates and pauses", _held_back())
    made.row("Over HTTP", _over_http())
    return made


def oldest(*, span: int = 4) -> stat.Panel:
    """For how long somebody has waited."""
    return number(
        "Oldest is waiting for",
        "How long the first job of a queue has been waiting: orange after 30 seconds, red after "
        "five minutes.",
        "s",
        f"max({metrics.QUEUE_OLDEST}{{{QUEUES}}})",
        [(None, GREEN), (30, ORANGE), (300, RED)],
        empty=NO_CONSUMER,
        span=span,
    )


def slots_in_use(*, span: int = 4) -> stat.Panel:
    """How busy the consumers are."""
    return number(
        "Slots in use",
        "Share of the slots that run a job now. Near 100% with jobs waiting: add slots or "
        "consumers.",
        SHARE,
        f"sum({metrics.SLOTS_RUNNING}{{{CONSUMERS}}}) / sum({metrics.SLOTS}{{{CONSUMERS}}})",
        empty=NO_CONSUMER,
        span=span,
    )


def failing(*, span: int = 4) -> stat.Panel:
    """How many fail."""
    return number(
        "Failing",
        "Share of ended jobs that failed for good; what runs again is not counted. Orange from "
        "1%, red from 5%.",
        SHARE,
        f'sum(rate({metrics.JOBS}{{{JOBS}, outcome="failed"}}{RATE})) '
        f"/ (sum(rate({metrics.JOBS}{{{JOBS}, {ENDED}}}{RATE})) > 0)",
        [(None, GREEN), (0.01, ORANGE), (0.05, RED)],
        empty="No job ends",
        span=span,
    )


def _at_a_glance() -> Line:
    return [
        number(
            "Jobs done",
            "Jobs that succeeded, each second. It should keep up with what comes in.",
            JOBS_EACH_SECOND,
            f'sum(rate({metrics.JOBS}{{{JOBS}, outcome="succeeded"}}{RATE}))',
            [(None, GREEN)],
            empty="No job ends",
        ),
        number(
            "Waiting",
            "Jobs on the queues that nobody has claimed yet. When it only ever rises, there are "
            "too few slots or consumers.",
            "short",
            f"sum(max by (queue) ({metrics.QUEUE_DEPTH}{{{QUEUES}}}))",
            empty=NO_CONSUMER,
        ),
        oldest(),
        slots_in_use(),
        failing(),
        number(
            "Alerts",
            "How many of Heori's alerts fire now. The dashboard Is it healthy? lists them.",
            "none",
            'count(ALERTS{alertname=~"Heori.+", alertstate="firing"}) or vector(0)',
            [(None, GREEN), (1, RED)],
            empty="Prometheus does not answer",
        ),
    ]


def in_and_claimed() -> timeseries.Panel:
    """Whether what comes in is done."""
    claimed = f"sum(rate({metrics.DELIVERIES}{{{QUEUES}}}{RATE}))"
    growth = f"sum(deriv({metrics.QUEUE_DEPTH}{{{QUEUES}}}{RATE}))"
    return lines(
        "Coming in and claimed",
        "Two lines that run together are in balance; blue above green means that a backlog grows. "
        "What comes in is worked out from what is claimed and how the queues grow; a job that is "
        "tried again comes in again.",
        JOBS_EACH_SECOND,
        Query(f"clamp_min({claimed} + {growth}, 0)", "came in"),
        Query(claimed, "claimed"),
        empty=NO_CONSUMER,
    )


def ends() -> timeseries.Panel:
    """Whether what is done ends well."""
    return stacked(
        "How jobs end",
        "Ends of runs each second. Red should be thin; orange is what failed and is tried again.",
        JOBS_EACH_SECOND,
        Query(f"sum by (outcome) (rate({metrics.JOBS}{{{JOBS}}}{RATE}))", "{{outcome}}"),
        empty=NO_JOBS,
    )


def _waiting() -> Line:
    return [
        lines(
            "Waiting, by queue",
            "Jobs that nobody has claimed yet. A saw-tooth is healthy, a slope is not.",
            "short",
            Query(f"max by (queue) ({metrics.QUEUE_DEPTH}{{{QUEUES}}})", "{{queue}}"),
            decades=True,
            empty=NO_CONSUMER,
            span=8,
        ),
        lines(
            "Oldest waiting job, by queue",
            "Age of the first job of each queue. Above the dashed line, at five minutes, an alert "
            "fires.",
            "s",
            Query(f"max by (queue) ({metrics.QUEUE_OLDEST}{{{QUEUES}}})", "{{queue}}"),
            limit=300,
            decades=True,
            empty=NO_CONSUMER,
            span=8,
        ),
        dashed(
            lines(
                "Consumers there are, and should be",
                "By the queues that they serve. Dashed: as many as it takes so that no job waits "
                "for longer than HEORI_TARGET_WAIT, as one of them reckons from what waits, what "
                "runs and how long jobs take. KEDA can have it so.",
                COUNT,
                Query(f"count by (queues) ({metrics.CONSUMER_INFO}{{{CONSUMERS}}})", "{{queues}}"),
                Query(f"sum({metrics.WANTED_CONSUMERS}{{{CONSUMERS}}})", "wanted of all"),
                empty=NO_CONSUMER,
                span=8,
            ),
            "wanted of all",
        ),
    ]


def _how_long() -> Line:
    waited, ran = metrics.JOB_QUEUE, metrics.JOB_RUN
    return [
        lines(
            "Wait in the queue",
            "From being sent to being claimed. Half of all jobs wait less than the lowest line, "
            "one in a hundred longer than the highest.",
            "s",
            Query(quantile(0.5, waited, JOBS), "half"),
            Query(quantile(0.95, waited, JOBS), "95%"),
            Query(quantile(0.99, waited, JOBS), "99%"),
            span=7,
            height=11,
            decades=True,
            empty=NO_JOBS,
        ),
        lines(
            "Run time by task, 95%",
            "Of a hundred jobs of the task, 95 are faster than its line.",
            "s",
            Query(quantile(0.95, ran, JOBS, "task"), "{{task}}"),
            span=10,
            height=11,
            decades=True,
            empty=NO_JOBS,
        ),
        spread(
            "How long jobs run",
            "Each column is a moment; the more a cell stands out, the more jobs took that long. "
            "Two bands are two kinds of jobs.",
            "s",
            f"sum by (le) (rate({ran}_bucket{{{JOBS}}}{RATE}))",
            empty=NO_JOBS,
            span=7,
            height=11,
        ),
    ]


def _what_fails() -> Line:
    def each_minute(metric: metrics.Metric, name: str) -> Query:
        return Query(f"60 * sum(rate({metric}{{{CONSUMERS}}}{RATE}))", name)

    return [
        lines(
            "Failures by task",
            "Jobs that failed for good; only tasks with failures in the time shown are here. "
            "`heori dead list` tells why.",
            JOBS_EACH_SECOND,
            Query(only_some("task", f'{metrics.JOBS}{{{JOBS}, outcome="failed"}}'), "{{task}}"),
            empty=NO_CONSUMER,
            span=8,
            reach=1,
            shade=RED,
        ),
        lines(
            "Given back, refused, dead",
            "Given back: their worker or consumer died, so they run again. Restarted: they had "
            "begun beside a late job, or when the consumer stopped; no delivery. Refused: a result "
            "that came after the lease was lost. Dead letters: delivered too often. Unknown here: "
            "of a task that this consumer's code does not have; they wait for one that has it.",
            EACH_MINUTE,
            each_minute(metrics.REDELIVERED, "given back"),
            each_minute(metrics.RESTARTED, "restarted"),
            each_minute(metrics.UNKNOWN_JOBS, "unknown here"),
            each_minute(metrics.REFUSED, "refused"),
            each_minute(metrics.DEAD, "dead letters"),
            empty=NO_CONSUMER,
            span=8,
            reach=1,
        ),
        lines(
            "Kept in the registries",
            "How many jobs run, are scheduled for later, wait for others, or are kept as failed, "
            "which is the dead-letter queue: `heori dead replay` puts those back.",
            "short",
            Query(
                f'sum by (registry) ({metrics.REGISTRY_JOBS}{{{QUEUES}, registry!="finished"}})',
                "{{registry}}",
            ),
            decades=True,
            empty=NO_CONSUMER,
            span=8,
        ),
    ]


def _back_pressure() -> Line:
    def each_second(metric: metrics.Metric, name: str) -> Query:
        return Query(f"sum(rate({metric}{{{QUEUES}}}{RATE}))", name)

    return [
        lines(
            "How full bounded queues are",
            "Waiting jobs as a share of what the queue may hold. At 100%, producers wait or are "
            "refused. Each tenant may have as many: all together are full when one may be.",
            SHARE,
            Query(
                f"max by (queue) ({metrics.QUEUE_DEPTH}{{{QUEUES}}}) "
                f"/ on (queue) max by (queue) ({metrics.QUEUE_LIMIT}{{{QUEUES}}})",
                "{{queue}}",
            ),
            empty=NO_LIMIT,
            span=8,
        ),
        lines(
            "Producers that wait for room",
            "How many producers are held back now. It is what a bounded queue is for; for long, "
            "it means too few consumers.",
            "short",
            Query(f"max by (queue) ({metrics.PRODUCERS_BLOCKED}{{{QUEUES}}})", "{{queue}}"),
            empty=NO_CONSUMER,
            span=8,
            reach=1,
        ),
        lines(
            "Rejected, dropped, expired and gone",
            "Rejected: the producer was told that the queue is full. Dropped: the oldest waiting "
            "jobs made room, as the queue was told to do. Expired: their time was over before a "
            "slot was free, as their sender wanted it. Gone: nothing was left of a job that "
            "waited, as when Redis evicts keys (see `heori doctor`).",
            JOBS_EACH_SECOND,
            each_second(metrics.JOBS_REJECTED, "rejected"),
            each_second(metrics.JOBS_DROPPED, "dropped"),
            each_second(metrics.JOBS_EXPIRED, "expired"),
            each_second(metrics.JOBS_GONE, "gone"),
            empty=NO_CONSUMER,
            span=8,
            reach=1,
        ),
    ]


def _held_back() -> Line:
    def by_queue(metric: metrics.Metric) -> str:
        return f"max by (queue) ({metric}{{{QUEUES}}})"

    return [
        lines(
            "Waiting for a rate",
            "Jobs that may not begin yet, as their task has a rate. They take no slot. A line that "
            "only rises says that more is sent than the rate lets through.",
            "short",
            Query(by_queue(metrics.RATE_WAITING), "{{queue}}"),
            reach=1,
            empty=NO_CONSUMER,
        ),
        lines(
            "Paused",
            "What somebody has paused with `heori pause`, and nobody resumed yet: queues, tenants "
            "of queues, tasks. Nothing of it runs.",
            "short",
            Query(f"{by_queue(metrics.QUEUE_PAUSED)} > 0", "{{queue}}"),
            Query(f"{by_queue(metrics.TENANTS_PAUSED)} > 0", "tenants of {{queue}}"),
            Query(f"max({metrics.TASKS_PAUSED}) > 0", "tasks"),
            reach=1,
            empty="Nothing is paused",
        ),
    ]


def _over_http() -> Line:
    requests = metrics.API_REQUESTS
    return [
        stacked(
            "Requests, by answer",
            "What callers of `heori serve` were told: 2xx is done, 4xx was their mistake, 429 a "
            "full queue, 5xx (503) Redis that is away.",
            "reqps",
            Query(f"sum by (status) (rate({requests}{RATE}))", "{{status}}"),
            empty=NO_SERVICE,
        ),
        lines(
            "Time to answer, 95%, by route",
            "Of a hundred requests, 95 are faster than its line. That of jobs may wait for a "
            "result as long as the caller asks.",
            "s",
            Query(
                quantile(0.95, metrics.API_SECONDS, 'route!="/metrics"', "route"),
                "{{route}}",
            ),
            decades=True,
            empty="Nobody has asked a `heori serve` in the time shown",
        ),
    ]


def in_time_shown(selection: str, function: str = "increase") -> str:
    """Ends of jobs by task, counted or for each second."""
    return f"sum by (task) ({function}({metrics.JOBS}{{{JOBS}, {selection}}}{SHOWN}))"


def _tasks() -> Line:
    def each_second(selection: str) -> str:
        return in_time_shown(selection, "rate")

    def took(share: float, histogram: metrics.Metric) -> str:
        return quantile(share, histogram, JOBS, "task", over=SHOWN)

    succeeded, failed = each_second('outcome="succeeded"'), each_second('outcome="failed"')
    ended = each_second(ENDED)
    cpu, runs = (
        f"sum by (task) (rate({metrics.JOB_CPU}_{part}{{{JOBS}}}{SHOWN}))"
        for part in ("sum", "count")
    )
    return [
        rows_of(
            "Tasks",
            "What a job of each task took in the time shown, and how often it failed. Look at what "
            "is red, and at what takes the most CPU in all. A task's name leads to its own panels, "
            "and to its jobs on the page.",
            {"task": "Task"},
            [
                TableColumn("Done", succeeded, JOBS_EACH_SECOND),
                TableColumn(
                    "Failed",
                    f"{failed} / {ended}",
                    SHARE,
                    [(None, GREEN), (0.01, ORANGE), (0.05, RED)],
                ),
                TableColumn("Waits, half", took(0.5, metrics.JOB_QUEUE), "s"),
                TableColumn("Waits, 95%", took(0.95, metrics.JOB_QUEUE), "s"),
                TableColumn("Runs, half", took(0.5, metrics.JOB_RUN), "s"),
                TableColumn("Runs, 95%", took(0.95, metrics.JOB_RUN), "s"),
                TableColumn("CPU of a job", f"{cpu} / {runs}", "s"),
                TableColumn("CPU in all", cpu, CORES),
            ],
            empty=NO_JOBS,
            highest="CPU in all",
            height=11,
        ),
    ]
