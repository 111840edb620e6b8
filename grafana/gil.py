"""GIL: what Python's global interpreter lock costs, by worker, by task and by model."""

from grafana.board import Board, Line
from grafana.colours import GREEN, GREY, ORANGE, RED
from grafana.panels import (
    EACH_SECOND,
    JOBS_EACH_SECOND,
    Query,
    bars,
    dashed,
    lines,
    number,
    shares,
    stacked,
    words,
)
from grafana.promql import RATE, SHOWN
from heori_common import metrics

WORKERS = 'instance=~"$consumer"'
TASKS = 'instance=~"$consumer", task=~"$task"'
STATES = {
    "running": "running",
    "gil_wait": "waiting for the GIL",
    "io_wait": "waiting for I/O",
    "wait": "waiting, not told for what",
}
WORKER = "{{instance}} #{{worker}}"
LOSS = [(None, GREEN), (0.15, ORANGE), (0.3, RED)]


def board() -> Board:
    """The dashboard."""
    made = Board(
        "gil",
        "GIL",
        "What Python's global interpreter lock costs: one thread of a process computes in Python "
        "at a time, the others wait for it.",
        ["task", "model", "consumer"],
    )
    made.row("", _at_a_glance())
    made.row("Where the time goes", *_time())
    made.row("Which task pays", _tasks())
    made.row("Threads against processes", _models())
    made.row("Event loops", _loops())
    made.row("What it costs", _costs())
    return made


def _at_a_glance() -> Line:
    return [
        number(
            "Lost to the GIL",
            "Share of the possible throughput that the worst worker loses to the GIL. Above 30%, "
            "with cores idle, processes would do more: `--model processes` or `hybrid`.",
            "percentunit",
            f"max({metrics.GIL_LOSS}{{{WORKERS}}})",
            LOSS,
        ),
        number(
            "Waiting for the GIL",
            "Of the time that busy threads have, the share they wait for the GIL. It costs "
            "nothing as long as all cores are in use.",
            "percentunit",
            f"avg({metrics.GIL_WAIT}{{{WORKERS}}})",
            LOSS,
        ),
        number(
            "Cores in use",
            "CPU seconds that all workers use each second. One worker of threads in Python cannot "
            "get far beyond 1.",
            "none",
            f"sum({metrics.PARALLELISM}{{{WORKERS}}})",
        ),
        number(
            "Waiting for a core",
            "Of the time that busy threads have, the share they were ready and had no core. Above "
            "20%, others take the cores, and the loss to the GIL cannot be trusted.",
            "percentunit",
            f"sum(rate({metrics.RUNQUEUE_WAIT}{{{WORKERS}}}{RATE})) "
            f"/ sum(rate({metrics.THREAD_STATE}{{{WORKERS}}}{RATE}))",
            [(None, GREEN), (0.2, RED)],
        ),
        words(
            "The GIL",
            "Whether the interpreter has a GIL at all. A free-threaded Python has none, until an "
            "extension that cannot do without switches it on again.",
            Query(f"max({metrics.GIL_ENABLED}{{{WORKERS}}})", "GIL"),
            {"0": ("off", GREEN), "1": ("on", GREY)},
        ),
        words(
            "Measured by",
            "How the states of threads are known. External: read from outside, the most exact. "
            "Internal: by a thread inside the worker. Estimate: from the CPU time alone.",
            Query(f"max by (source) ({metrics.GIL_SOURCE}{{{WORKERS}}}) > 0", "{{source}}"),
            {},
        ),
    ]


def _time() -> list[Line]:
    def share(state: str) -> str:
        seconds = metrics.THREAD_STATE
        return (
            f'sum(rate({seconds}{{{WORKERS}, state="{state}"}}{RATE})) '
            f"/ sum(rate({seconds}{{{WORKERS}}}{RATE}))"
        )

    starved, busy = (
        f"sum by (instance, worker) (rate({seconds}{{{WORKERS}}}{RATE}))"
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
                "percentunit",
                *(Query(share(state), name) for state, name in STATES.items()),
                most=1,
            ),
            lines(
                "Lost to the GIL, by worker",
                "Share of the possible throughput that each worker loses. Above the dashed line, "
                "with cores idle, an alert fires.",
                "percentunit",
                Query(f"{metrics.GIL_LOSS}{{{WORKERS}}}", WORKER),
                limit=0.3,
                reach=1,
            ),
        ],
        [
            dashed(
                lines(
                    "Cores in use against cores there are",
                    "The workers' CPU time each second, and the cores that they may use. A gap "
                    "while jobs wait, with much red above, is what the GIL costs.",
                    "none",
                    Query(
                        f"sum by (instance) (rate({metrics.WORKER_CPU}{{{WORKERS}}}{RATE}))",
                        "{{instance}}",
                    ),
                    Query(f"max({metrics.USABLE_CORES}{{{WORKERS}}})", "usable"),
                ),
                "usable",
            ),
            lines(
                "Ready and without a core, by worker",
                "Of the time that busy threads have, the share they were in the system's run "
                "queue. Above the dashed line, do not trust the loss: others take the cores.",
                "percentunit",
                Query(f"{starved} / {busy}", WORKER),
                limit=0.2,
                reach=0.3,
            ),
        ],
    ]


def _tasks() -> Line:
    def for_a_job(state: str) -> str:
        seconds = f'{metrics.TASK_STATE}{{{TASKS}, state="{state}"}}'
        runs = f"{metrics.JOB_RUN}_count{{{TASKS}}}"
        return f"sum by (task) (rate({seconds}{SHOWN})) / sum by (task) (rate({runs}{SHOWN}))"

    return [
        shares(
            "What a job costs, by task",
            "The time of a job of each task in the time shown, on average: green computes, blue "
            "waits for I/O, and red waits for the GIL, which processes would save.",
            "s",
            "task",
            *(Query(for_a_job(state), name) for state, name in STATES.items()),
            span=14,
        ),
        bars(
            "Speed-up by processes, by task",
            "How many times as many jobs of a task processes would do on the same cores, as an "
            "estimate: at 1 there is nothing to gain, at 2 they would do twice as many.",
            "x",
            Query(f"max by (task) ({metrics.TASK_SPEEDUP}{{{TASKS}}})", "{{task}}"),
            [(None, GREEN), (1.2, ORANGE), (1.5, RED)],
            span=10,
        ),
    ]


def _models() -> Line:
    return [
        lines(
            "Jobs done, by model",
            "Jobs each second of all consumers of a model. Compare models that have the same jobs.",
            JOBS_EACH_SECOND,
            Query('model:heori_jobs:rate1m{model=~"$model"}', "{{model}}"),
            span=8,
        ),
        lines(
            "Lost to the GIL, by model",
            "The mean of the workers of each model. Processes with one slot each lose nothing.",
            "percentunit",
            Query('model:heori_worker_gil_loss_ratio:avg{model=~"$model"}', "{{model}}"),
            limit=0.3,
            reach=1,
            span=8,
        ),
        lines(
            "Memory of a slot, by model",
            "What each further job at once costs: the price that processes have for doing without "
            "the GIL.",
            "bytes",
            Query('model:heori_slot_memory_bytes:avg{model=~"$model"}', "{{model}}"),
            span=8,
        ),
    ]


def _loops() -> Line:
    return [
        lines(
            "Event loop busy, by worker",
            "Share of each second that the event loop did not wait for events. Near 100%, "
            "coroutines wait for each other: add processes, or move what computes elsewhere.",
            "percentunit",
            Query(f"rate({metrics.LOOP_BUSY}{{{WORKERS}}}{RATE})", WORKER),
            reach=1,
        ),
        lines(
            "Event loop lag, by worker",
            "How long the loop took to come to what it was asked. Long stretches are a coroutine "
            "that computes, or calls something that blocks.",
            "s",
            Query(f"{metrics.LOOP_LAG}{{{WORKERS}}}", WORKER),
        ),
    ]


def _costs() -> Line:
    sampler = f"sum by (instance) (rate({metrics.SAMPLER_CPU}{{{WORKERS}}}{RATE}))"
    switches = f"sum by (kind) (rate({metrics.CONTEXT_SWITCHES}{{{WORKERS}}}{RATE}))"
    return [
        lines(
            "Memory, by worker",
            "The memory of each worker process; what it shares with others counts in part.",
            "bytes",
            Query(f'{metrics.WORKER_MEMORY}{{{WORKERS}, kind="pss"}}', WORKER),
            span=8,
        ),
        lines(
            "Context switches",
            "How often threads gave a core away. Voluntary: they waited for something, the GIL "
            "included. Involuntary: it was taken from them.",
            EACH_SECOND,
            Query(switches, "{{kind}}"),
            span=8,
        ),
        lines(
            "Cost of measuring",
            "What it takes to sample the threads' states, as a share of a core. It should stay "
            "below the dashed line, at 1%.",
            "percentunit",
            Query(sampler, "{{instance}}"),
            limit=0.01,
            reach=0.012,
            span=8,
        ),
    ]
