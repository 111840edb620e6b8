"""Threads against processes: which model does more of a task with the same cores, and by how much.

A core that a consumer may use counts, whether it uses it or not: threads that wait for the GIL
leave cores idle, and each job costs as much CPU time as ever. Of a consumer that runs other tasks
as well, the part counts that its threads' time has for the task.
"""

from grafana.board import Board, Line
from grafana.colours import BLUE
from grafana.gil import LOSS_LIMIT, STATES, TASKS, WORKERS
from grafana.panels import JOBS_EACH_SECOND, NEUTRAL, bars, best, lines, shares
from grafana.promql import RATE, SHOWN, STEP, by_model
from grafana.queries import SHARE, Query
from heori_common import metrics

ENOUGH = 0.5  # of the slots in use, before models can be compared
ALIKE = 1.1  # times as many jobs that are no difference
JOBS_OF_A_CORE = "count:jobs"

NO_JOBS = "No job of these tasks has ended in the time shown"


def board() -> Board:
    """The dashboard."""
    made = Board(
        "models",
        "Threads against processes",
        "Which model does more of a task with the same cores. Run one task by consumers of both, "
        "with more jobs than either can do, and choose the task above.",
        ["task", "model", "consumer"],
    )
    return made.top(_answer(), _why(), _price())


def jobs_of_a_core(window: str) -> str:
    """Jobs done in a second of a core that consumers may use, by model.

    Only the time counts in which a consumer was there: it may have come later than another.
    """
    jobs = f'sum by (consumer) (increase({metrics.JOBS}{{{TASKS}, outcome="succeeded"}}{window}))'
    of_task, of_all = (
        f"sum by (consumer) (increase({seconds}{{{matchers}}}{window}))"
        for seconds, matchers in ((metrics.TASK_STATE, TASKS), (metrics.THREAD_STATE, WORKERS))
    )
    part = f"(clamp_max({of_task} / {of_all}, 1) > 0)"
    there = f"{window[:-1]}:{STEP}]"
    cores = f"{STEP[:-1]} * sum_over_time({metrics.USABLE_CORES}{{{WORKERS}}}{there})"
    used = f"({cores} * on (consumer) {part})"
    return f"({by_model(jobs)} / {by_model(used)} > 0)"


def slots_in_use(window: str) -> str:
    """The share of the slots that ran jobs, by model."""
    running, slots = (
        by_model(f"avg_over_time({metric}{{{WORKERS}}}{window})")
        for metric in (metrics.SLOTS_RUNNING, metrics.SLOTS)
    )
    return f"({running} / {slots})"


def _answer() -> Line:
    jobs, slots = jobs_of_a_core(SHOWN), slots_in_use(SHOWN)
    times = f"topk(1, {jobs}) / on () group_left () min({jobs})"
    comparable = (
        f"and on () count({jobs}) > 1 and on () min({slots} and on (model) {jobs}) > {ENOUGH}"
    )
    return [
        best(
            "Take",
            "The model that does the most jobs with a core, and how many times as many as the one "
            "that does the least: at less than 1.1 times, either will do. There is an answer only "
            "while both are busy, as whoever waits for jobs cannot show what it can do.",
            "x",
            Query(f"({times} > {ALIKE}) {comparable}", "{{model}}"),
            Query(f"max({times} <= {ALIKE}) {comparable}", "either"),
            empty="Run one task on two models, with jobs waiting",
            span=8,
            height=7,
        ),
        bars(
            "Jobs per core-second, by model",
            "How many jobs of the chosen tasks each model did in the time shown, for each second "
            "of a core that it could use. The longer bar is the model to take.",
            JOBS_OF_A_CORE,
            Query(jobs, "{{model}}"),
            NEUTRAL,
            empty=NO_JOBS,
            span=8,
            height=7,
        ),
        bars(
            "Slots in use, by model",
            "Share of the slots that ran jobs in the time shown. Compare models only while all of "
            "them are near 100%; below 50%, send more jobs.",
            SHARE,
            Query(slots, "{{model}}"),
            [(None, BLUE)],
            empty="No consumer answers",
            span=8,
            height=7,
        ),
    ]


def _why() -> Line:
    def state(name: str) -> str:
        seconds = f"sum by (consumer) (rate({metrics.TASK_STATE}{{{TASKS}%s}}{SHOWN}))"
        of_all = by_model(seconds % "")
        of_state = by_model(seconds % f', state="{name}"')
        return f"({of_state} or {of_all} * 0) / ({of_all} > 0)"

    return [
        shares(
            "What busy threads do, by model",
            "Side by side, of the time of threads that had a job of the chosen tasks. Green "
            "computes, blue waits for I/O, which threads are good at, and red waits for the GIL, "
            "which only processes avoid. The model with much red is not the one to take.",
            SHARE,
            "model",
            *(Query(state(name), shown) for name, shown in STATES.items()),
            empty=NO_JOBS,
        ),
        lines(
            "Jobs per core-second over time",
            "As above, minute by minute: the distance between the lines is what the better model "
            "gains, and where they meet, one of them had nothing to do.",
            JOBS_OF_A_CORE,
            Query(jobs_of_a_core(RATE), "{{model}}"),
            empty=NO_JOBS,
        ),
    ]


def _price() -> Line:
    loss = f"avg by (consumer) ({metrics.GIL_LOSS}{{{WORKERS}}})"
    info = f"on (consumer) group_left (model) {metrics.CONSUMER_INFO}"
    memory = f'sum by (consumer) ({metrics.WORKER_MEMORY}{{{WORKERS}, kind="pss"}})'
    jobs = f'sum by (consumer) (rate({metrics.JOBS}{{{TASKS}, outcome="succeeded"}}{RATE}))'
    return [
        lines(
            "Lost to the GIL, by model",
            "The mean of the workers of each model: how much of what its cores could do is lost. "
            "Processes with one slot each lose nothing.",
            SHARE,
            Query(f"avg by (model) ({loss} * {info})", "{{model}}"),
            limit=LOSS_LIMIT,
            empty="No worker has had jobs in the time shown",
            span=8,
        ),
        lines(
            "Memory of a slot, by model",
            "What each further job at once costs: the price that processes have for doing without "
            "the GIL.",
            "bytes",
            Query(
                f"{by_model(memory)} / {by_model(f'{metrics.SLOTS}{{{WORKERS}}}')}",
                "{{model}}",
            ),
            empty="No consumer answers, or this system does not tell shared memory",
            span=8,
        ),
        lines(
            "Jobs done, by model",
            "Jobs of the chosen tasks each second of all consumers of a model, however many cores "
            "these have.",
            JOBS_EACH_SECOND,
            Query(by_model(jobs), "{{model}}"),
            empty=NO_JOBS,
            span=8,
        ),
    ]
