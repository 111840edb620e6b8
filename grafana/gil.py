"""GIL: what Python's global interpreter lock costs, by worker and by task."""

from grafana.board import Board, Line
from grafana.colours import BLUE, GREEN, GREY, ORANGE, RED
from grafana.panels import (
    CORES,
    COUNT,
    EACH_SECOND,
    bars,
    best,
    dashed,
    lines,
    number,
    shares,
    stacked,
    words,
)
from grafana.promql import RATE, SHOWN
from grafana.queries import SHARE, Query
from heori_common import metrics

WORKERS = 'consumer=~"$consumer"'
TASKS = 'consumer=~"$consumer", task=~"$task"'
STATES = {
    "running": "running",
    "gil_wait": "waiting for the GIL",
    "io_wait": "waiting for I/O",
    "wait": "waiting, not told for what",
}
WORKER = "{{consumer}} #{{worker}}"
LOSS_LIMIT = 0.3  # above it, with cores idle, an alert fires
LOSS = [(None, GREEN), (0.15, ORANGE), (LOSS_LIMIT, RED)]

NO_JOBS = "No worker has had a job in the time shown"
NO_WORKER = "No worker answers"
NO_LOOP = "No consumer of the model asyncio has run in the time shown"
NO_AUTO = "No consumer of the model auto has run in the time shown"


def board() -> Board:
    """The dashboard."""
    made = Board(
        "gil",
        "GIL",
        "What Python's global interpreter lock costs: one thread of a process computes in Python "
        "at a time, the others wait for it.",
        ["task", "model", "consumer"],
    )
    time, cores = _time()
    made.top(_at_a_glance(), time)
    made.row("Which task pays", _tasks())
    made.row("Cores", cores)
    made.row("Event loops", _loops())
    made.row("The model auto: threads, processes, and why", _auto())
    made.row("What it costs", _costs())
    return made


def _at_a_glance() -> Line:
    return [
        number(
            "Lost to the GIL",
            "Share of the possible throughput that the worst worker loses to the GIL. Above 30%, "
            "with cores idle, processes would do more: `--model processes` or `hybrid`.",
            SHARE,
            f"max({metrics.GIL_LOSS}{{{WORKERS}}})",
            LOSS,
            empty=NO_WORKER,
        ),
        number(
            "Waiting for the GIL",
            "Of the time that busy threads have, the share they wait for the GIL. It costs "
            "nothing as long as all cores are in use.",
            SHARE,
            f"avg({metrics.GIL_WAIT}{{{WORKERS}}})",
            LOSS,
            empty=NO_WORKER,
        ),
        number(
            "Cores in use",
            "CPU seconds that all workers use each second. One worker of threads in Python cannot "
            "get far beyond 1.",
            CORES,
            f"sum({metrics.PARALLELISM}{{{WORKERS}}})",
            empty=NO_WORKER,
        ),
        number(
            "Waiting for a core",
            "Of the time that busy threads have, the share they were ready and had no core. Above "
            "20%, others take the cores, and the loss to the GIL cannot be trusted.",
            SHARE,
            f"sum(rate({metrics.RUNQUEUE_WAIT}{{{WORKERS}}}{RATE})) "
            f"/ (sum(rate({metrics.THREAD_STATE}{{{WORKERS}}}{RATE})) > 0)",
            [(None, GREEN), (0.2, RED)],
            empty="No worker has a job",
        ),
        words(
            "The GIL",
            "Whether the interpreter has a GIL at all. A free-threaded Python has none, until an "
            "extension that cannot do without switches it on again.",
            Query(f"max({metrics.GIL_ENABLED}{{{WORKERS}}})", "GIL"),
            {"0": ("off", GREEN), "1": ("on", GREY)},
            empty=NO_WORKER,
        ),
        best(
            "Measured by",
            "How the states of threads are known, and of how many workers. External: read from "
            "outside, the most exact. Internal: by a thread inside the worker. Estimate: from the "
            "CPU time alone.",
            COUNT,
            Query(f"count by (source) ({metrics.GIL_SOURCE}{{{WORKERS}}} > 0)", "{{source}}"),
            empty=NO_WORKER,
            span=4,
            height=4,
        ),
    ]


def _time() -> list[Line]:
    def share(state: str) -> str:
        seconds = metrics.THREAD_STATE
        return (
            f'sum(rate({seconds}{{{WORKERS}, state="{state}"}}{RATE})) '
            f"/ (sum(rate({seconds}{{{WORKERS}}}{RATE})) > 0)"
        )

    starved, busy = (
        f"sum by (consumer, worker) (rate({seconds}{{{WORKERS}}}{RATE}))"
        for seconds in (
            metrics.RUNQUEUE_WAIT,
            metrics.THREAD_STATE,
        )
    )
    return [
        [
            stacked(
                "What busy threads do",
                "Of the time of all threads that have a job. Green computes; blue waits for a "
                "file, a server or a sleep, which threads are good at; red waits for the GIL, "
                "which only processes avoid. Grey is there only where the two cannot be told "
                "apart.",
                SHARE,
                *(Query(share(state), name) for state, name in STATES.items()),
                empty=NO_JOBS,
            ),
            lines(
                "Lost to the GIL, by worker",
                "Share of the possible throughput that each worker loses. Above the dashed line, "
                "with cores idle, an alert fires.",
                SHARE,
                Query(f"{metrics.GIL_LOSS}{{{WORKERS}}}", WORKER),
                limit=LOSS_LIMIT,
                empty=NO_JOBS,
            ),
        ],
        [
            dashed(
                lines(
                    "Cores in use against cores there are",
                    "The workers' CPU time each second, and the cores that they may use. A gap "
                    "while jobs wait, with much red above, is what the GIL costs.",
                    CORES,
                    Query(
                        f"sum by (consumer) (rate({metrics.WORKER_CPU}{{{WORKERS}}}{RATE}))",
                        "{{consumer}}",
                    ),
                    Query(f"max({metrics.USABLE_CORES}{{{WORKERS}}})", "usable"),
                    empty=NO_WORKER,
                ),
                "usable",
            ),
            lines(
                "Ready and without a core, by worker",
                "Of the time that busy threads have, the share they were in the system's run "
                "queue. Above the dashed line, do not trust the loss: others take the cores.",
                SHARE,
                Query(f"{starved} / ({busy} > 0)", WORKER),
                limit=0.2,
                empty=NO_JOBS,
            ),
        ],
    ]


def _tasks() -> Line:
    def for_a_job(state: str) -> str:
        seconds = f'{metrics.TASK_STATE}{{{TASKS}, state="{state}"}}'
        runs = f"{metrics.JOB_RUN}_count{{{TASKS}}}"
        count = f"sum by (task) (increase({runs}{SHOWN}))"
        return f"(sum by (task) (increase({seconds}{SHOWN})) or {count} * 0) / ({count} > 0)"

    return [
        shares(
            "What a job costs, by task",
            "The time of a job of each task in the time shown, on average: green computes, blue "
            "waits for I/O, and red waits for the GIL, which processes would save.",
            "s",
            "task",
            *(Query(for_a_job(state), name) for state, name in STATES.items()),
            empty="No job has ended in the time shown",
            span=14,
        ),
        bars(
            "Speed-up by processes, by task",
            "How many times as many jobs of a task processes would do on the same cores, as an "
            "estimate: grey has nothing to gain, at 2 they would do twice as many. The dashboard "
            "Threads against processes has the truth, once a task runs on both.",
            "x",
            Query(f"max by (task) ({metrics.TASK_SPEEDUP}{{{TASKS}}})", "{{task}}"),
            [(None, GREY), (1.2, BLUE), (1.5, GREEN)],
            empty="No task has run in threads in the time shown",
            span=10,
        ),
    ]


def _loops() -> Line:
    return [
        lines(
            "Event loop busy, by worker",
            "Share of each second that the event loop did not wait for events. Near 100%, "
            "coroutines wait for each other: add processes, or move what computes elsewhere.",
            SHARE,
            Query(f"rate({metrics.LOOP_BUSY}{{{WORKERS}}}{RATE})", WORKER),
            empty=NO_LOOP,
        ),
        lines(
            "Event loop lag, by worker",
            "How long the loop took to come to what it was asked. Long stretches are a coroutine "
            "that computes, or calls something that blocks.",
            "s",
            Query(f"{metrics.LOOP_LAG}{{{WORKERS}}}", WORKER),
            decades=True,
            empty=NO_LOOP,
        ),
    ]


def _auto() -> Line:
    return [
        lines(
            "Size that it wants",
            "Worker processes, threads of each for plain tasks, and coroutines of each for async "
            "ones. It moves only while jobs wait for a slot. Each move is a mark on all charts, "
            "with where from, where to and why; `heori consumers NAME` and the page say more.",
            COUNT,
            Query(f"sum by (consumer) ({metrics.AUTO_PROCESSES}{{{WORKERS}}})", "{{consumer}} P"),
            Query(f"sum by (consumer) ({metrics.AUTO_SLOTS}{{{WORKERS}}})", "{{consumer}} S"),
            Query(
                f"sum by (consumer) ({metrics.AUTO_COROUTINES}{{{WORKERS}}})",
                "{{consumer}} coroutines",
            ),
            decades=True,
            empty=NO_AUTO,
            span=8,
        ),
        bars(
            "One more, or one less",
            "How many times as many jobs would be done with one more or one less of each, as it "
            "reckons. At 1 there is nothing to gain.",
            "x",
            Query(f"avg by (change) ({metrics.AUTO_ESTIMATE}{{{WORKERS}}})", "{{change}}"),
            [(None, GREY), (1.05, GREEN)],
            empty=NO_AUTO,
            span=6,
        ),
        lines(
            "Moves, by what came of them",
            "Changes of size in the time of each point. Kept: it helped by more than chance. "
            "Undone: it did not. Overtaken: the work changed meanwhile.",
            COUNT,
            Query(
                f"sum by (outcome) (increase({metrics.AUTO_MOVES}{{{WORKERS}}}{RATE}))",
                "{{outcome}}",
            ),
            reach=1,
            empty=NO_AUTO,
            span=5,
        ),
        lines(
            "Moves, by what they were for",
            "Changes of size in the time of each point, by what there was to gain.",
            COUNT,
            Query(
                f"sum by (cause) (increase({metrics.AUTO_CAUSES}{{{WORKERS}}}{RATE}))",
                "{{cause}}",
            ),
            reach=1,
            empty=NO_AUTO,
            span=5,
        ),
    ]


def _costs() -> Line:
    sampler = f"sum by (consumer) (rate({metrics.SAMPLER_CPU}{{{WORKERS}}}{RATE}))"
    switches = f"sum by (kind) (rate({metrics.CONTEXT_SWITCHES}{{{WORKERS}}}{RATE}))"
    return [
        lines(
            "Memory, by worker",
            "The memory of each worker process; what it shares with others counts in part.",
            "bytes",
            Query(f'{metrics.WORKER_MEMORY}{{{WORKERS}, kind="pss"}}', WORKER),
            empty="No worker answers, or this system does not tell shared memory",
            span=8,
        ),
        lines(
            "Context switches",
            "How often threads gave a core away. Voluntary: they waited for something, the GIL "
            "included. Involuntary: it was taken from them.",
            EACH_SECOND,
            Query(switches, "{{kind}}"),
            empty=NO_WORKER,
            span=8,
        ),
        lines(
            "Cost of measuring",
            "What it takes to sample the threads' states, as a share of a core. It should stay "
            "below the dashed line, at 1%.",
            SHARE,
            Query(sampler, "{{consumer}}"),
            limit=0.01,
            reach=0.012,
            empty="No consumer answers",
            span=8,
        ),
    ]
