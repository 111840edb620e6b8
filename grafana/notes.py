"""The notes, live: a row for each of those that the profile lab of compose.yaml runs."""

from collections.abc import Callable
from typing import Any

from grafana import gil
from grafana.board import Board, Line
from grafana.panels import (
    COUNT,
    EACH_MINUTE,
    JOBS_EACH_SECOND,
    bars,
    lines,
    number,
    shares,
    stacked,
    text,
)
from grafana.promql import RATE, SHOWN, by_model, quantile
from grafana.queries import SHARE, Query
from heori.examples import accounts, notes
from heori_common import metrics, tasks

NOT_HERE = "Nothing of the lab in the time shown: docker compose --profile lab up"
WAITERS = f'queues=~".*{notes.WAITING}.*"'  # of consumers
LOCK_NAMES = 'lock=~"account|printers"'
Task = Callable[..., Any]
BUFFERS = {"with a bound": notes.BOUNDED, "without a bound": notes.UNBOUNDED}


def board() -> Board:
    """The dashboard."""
    made = Board(
        "notes",
        "Notes",
        "What processes, threads, locks and the like are, on real work: run it with "
        "docker compose --profile lab up.",
        [],
    )
    made.top(*_at_a_glance())
    made.row("2 · Threads share a heap", *_thread())
    made.row("3 · Many threads wait cheaply", *_many_threads())
    made.row("4 · Many processes: a crash takes one", *_many_processes())
    made.row("5 · The GIL: one thread at a time", *_gil())
    made.row("7 · Groups of threads: futures", *_groups())
    made.row("8 · Locks", *_locks())
    made.row("9 · Producer and consumer", *_buffer())
    return made


def _said(page: str, sentences: str) -> Line:
    """What a row begins with."""
    return [text(f"{sentences} More of it: `docs/notes/{page}.md`.")]


def _named(task: Task) -> str:
    """The matcher of a task."""
    return f'task="{tasks.find(task).name}"'


def _ended(matchers: str, outcome: str, window: str = RATE, function: str = "rate") -> str:
    """Runs of tasks that ended so; 0 where none did and others have."""
    of_all, of_these = (
        f"sum({function}({metrics.JOBS}{{{which}}}{window}))"
        for which in (matchers, f'{matchers}, outcome="{outcome}"')
    )
    return f"({of_these} or {of_all} * 0)"


def _of_model(model: str) -> str:
    """The matcher of what consumers of it tell of themselves."""
    return f'{WAITERS}, model="{model}"'


def _took(task: Task, *by: str) -> str:
    """How long a job takes on average."""
    total, count = (
        f"sum by ({', '.join(by)}) (rate({metrics.JOB_RUN}_{part}{{{_named(task)}}}{RATE}))"
        for part in ("sum", "count")
    )
    return f"{total} / ({count} > 0)"


def _at_a_glance() -> list[Line]:
    signed = _named(notes.sign)
    lost = _ended(signed, "retried", SHOWN, "increase")
    process, thread = (f"sum({_slot(_of_model(model))})" for model in ("processes", "threads"))
    return [
        [
            text(
                "Each row below is one note, as work that goes on for ever: its first lines say "
                "what to look at.",
                span=6,
                height=4,
            ),
            number(
                "2 · Updates lost without a lock",
                "Of the additions of threads to a page that they share, those that another thread "
                "has overwritten.",
                SHARE,
                f"{lost} / (sum(increase({metrics.JOBS}{{{signed}}}{SHOWN})) > 0)",
                empty=NOT_HERE,
                span=6,
            ),
            number(
                "3 · Memory: a process to a thread",
                "How many times as much memory a slot takes that is a process as one that is a "
                "thread.",
                "x",
                f"{process} / {thread}",
                empty=NOT_HERE,
                span=6,
            ),
            number(
                "4 · Hit by a crash among threads",
                "Jobs given back for each crash of a worker whose slots are threads; of one whose "
                "only slot is the process, it is one.",
                COUNT,
                f"sum({_hit(_of_model('threads'))})",
                empty="No worker of the lab has crashed yet",
                span=6,
            ),
        ],
        [
            number(
                "5 · Waiting for the GIL",
                "Of the time of threads that had a job computing in Python, the share that they "
                "waited for their turn: W.",
                SHARE,
                _waiting(notes.compute, SHOWN),
                empty=NOT_HERE,
                span=6,
            ),
            number(
                "7 · Futures not done",
                "Futures of the group that wait or run now; each minute there is a new group.",
                COUNT,
                f"{_of_queue(metrics.QUEUE_DEPTH, notes.GROUP)} + {_registry('started')}",
                empty=NOT_HERE,
                span=6,
            ),
            number(
                "8 · Deadlocks found",
                "Circles of owners that waited for each other, in the time shown; each was broken.",
                COUNT,
                f"round(sum(increase({metrics.LOCK_DEADLOCKS}{SHOWN}) and on (consumer) "
                f'{metrics.CONSUMER_INFO}{{queues=~".*{notes.LOCKS}.*"}}))',
                empty=NOT_HERE,
                span=6,
            ),
            number(
                "9 · Producer blocked by the bound",
                "Share of the time shown for which the bounded queue had no room, and its producer "
                "waited.",
                SHARE,
                f"max(avg_over_time({metrics.PRODUCERS_BLOCKED}"
                f'{{queue="{notes.BOUNDED}"}}{SHOWN}))',
                empty=NOT_HERE,
                span=6,
            ),
        ],
    ]


def _thread() -> list[Line]:
    both = (("without a lock", notes.sign), ("with a lock", notes.sign_locked))
    return [
        _said(
            "thread",
            "**Threads share the heap of their process; what they share needs a lock.** Each "
            "job reads a page, adds its name and writes it back. Without a lock, one "
            "overwrites what another has just written: a name that is lost is written again. "
            "With a lock none is lost, but each waits for its turn.",
        ),
        [
            lines(
                "Updates lost",
                "Additions each second that another thread has overwritten. With a lock it is 0.",
                JOBS_EACH_SECOND,
                *(Query(_ended(_named(task), "retried"), name) for name, task in both),
                empty=NOT_HERE,
            ),
            lines(
                "What the lock costs: time of a job",
                "On average. With a lock they come one after the other.",
                "s",
                *(Query(_took(task), name) for name, task in both),
                decades=True,
                empty=NOT_HERE,
            ),
        ],
    ]


def _memory(consumers: str = WAITERS) -> str:
    pss = f'sum by (consumer) ({metrics.WORKER_MEMORY}{{kind="pss"}})'
    return by_model(pss, consumers)


def _slot(consumers: str = WAITERS) -> str:
    """The memory of one, by model."""
    return f"{_memory(consumers)} / {by_model(str(metrics.SLOTS), consumers)}"


def _many_threads() -> list[Line]:
    jobs = f"sum by (consumer) (rate({metrics.JOBS}{{{_named(notes.wait_for_answer)}}}{RATE}))"
    return [
        _said(
            "many-threads",
            "**Work that waits goes on at the same time in many threads, and a thread costs "
            "little.** 16 threads of one process and 4 processes answer the same calls, each "
            "of which waits for half a second. Threads do four times as many, and a slot "
            "takes a fraction of the memory.",
        ),
        [
            lines(
                "Calls answered, by model",
                "Jobs each second. What waits needs no core, so it grows with the slots.",
                JOBS_EACH_SECOND,
                Query(by_model(jobs, WAITERS), "{{model}}"),
                empty=NOT_HERE,
            ),
            bars(
                "Memory of a slot, by model",
                "What one more call at once costs: the workers' memory, divided by their slots.",
                "bytes",
                Query(_slot(), "{{model}}"),
                empty="Nothing of the lab, or this system does not tell shared memory",
            ),
        ],
    ]


def _hit(consumers: str = WAITERS) -> str:
    """Jobs given back for each crash since the consumers started, by model."""
    given_back, crashes = (
        by_model(f"sum by (consumer) ({metric})", consumers)
        for metric in (metrics.REDELIVERED, metrics.RESTARTS)
    )
    return f"({given_back} / ({crashes} > 0))"


def _many_processes() -> list[Line]:
    crashes = f"60 * sum by (consumer) (rate({metrics.RESTARTS}{RATE}))"
    return [
        _said(
            "many-processes",
            "**Processes share nothing, so a crash takes one; among threads it takes all.** "
            "Every 10 s a job of the two consumers above reads from an address that is not "
            "there. Its worker is replaced, and what ran in it is given back: one job of a "
            "process, and those of all threads. None is lost.",
        ),
        [
            lines(
                "Crashes, by model",
                "Worker processes that died each minute and were replaced.",
                EACH_MINUTE,
                Query(by_model(crashes, WAITERS), "{{model}}"),
                empty=NOT_HERE,
                span=8,
            ),
            bars(
                "Jobs hit by a crash, by model",
                "Jobs that were given back for each crash: how far one spreads.",
                "short",
                Query(_hit(), "{{model}}"),
                empty="No worker of the lab has crashed yet",
                span=8,
            ),
            lines(
                "Memory, by model",
                "Of all workers of each consumer; what they share counts once. That is the price.",
                "bytes",
                Query(_memory(), "{{model}}"),
                empty="Nothing of the lab, or this system does not tell shared memory",
                span=8,
            ),
        ],
    ]


def _states(task: Task, window: str, state: str = "", model: str = ".+") -> str:
    """The time of threads that had a job of a task, by model."""
    of = f', state="{state}"' if state else ""
    seconds = f"rate({metrics.TASK_STATE}{{{_named(task)}{of}}}{window})"
    return by_model(f"sum by (consumer) ({seconds})", f'model=~"{model}"')


def _waiting(task: Task, window: str) -> str:
    """The share of the time of a task's threads in which they waited for the GIL: W."""
    waits, of_all = (_states(task, window, state, "threads") for state in ("gil_wait", ""))
    return f"sum({waits} or {of_all} * 0) / (sum({of_all}) > 0)"


def _gil() -> list[Line]:
    def state(task: Task, name: str) -> str:
        of_all = _states(task, SHOWN)
        return f"({_states(task, SHOWN, name)} or {of_all} * 0) / ({of_all} > 0)"

    took = by_model(f"({_took(notes.compute, 'consumer')})")
    return [
        _said(
            "gil",
            "**One thread of a process is in Python at a time; the others wait for the GIL "
            "(W, red). Each process has one of its own, and C code such as hashing lets go of "
            "it.** Four threads and four processes get the same bursts of work, which computes "
            "in Python and hashes by turns.",
        ),
        [
            *(
                shares(
                    title,
                    "Side by side, of the time of threads that had such a job: green runs or waits "
                    "for a core, red waits for the GIL.",
                    SHARE,
                    "model",
                    *(Query(state(task, name), shown) for name, shown in gil.STATES.items()),
                    empty=NOT_HERE,
                    span=6,
                )
                for title, task in (
                    ("Computing in Python", notes.compute),
                    ("Hashing, in C", notes.digest),
                )
            ),
            lines(
                "W, in threads",
                "Of the time of the threads that had a job, the share that they waited for the "
                "GIL. Processes would save it.",
                SHARE,
                Query(_waiting(notes.compute, RATE), "in Python"),
                Query(_waiting(notes.digest, RATE), "hashing"),
                empty=NOT_HERE,
                span=6,
            ),
            lines(
                "Time of a job that computes in Python",
                "On average. Four threads take turns with one GIL; processes have only the cores "
                "to share.",
                "s",
                Query(took, "{{model}}"),
                decades=True,
                empty=NOT_HERE,
                span=6,
            ),
        ],
    ]


def _of_queue(metric: metrics.Metric, queue: str) -> str:
    return f'max({metric}{{queue="{queue}"}})'


def _registry(name: str) -> str:
    """How many futures are there."""
    return f'max({metrics.REGISTRY_JOBS}{{queue="{notes.GROUP}", registry="{name}"}})'


def _groups() -> list[Line]:
    def ends(outcome: str) -> str:
        return f"60 * {_ended(_named(notes.answer), outcome)}"

    return [
        _said(
            "groups",
            "**A group of threads takes calls and gives futures: pending, running, and then a "
            "result, an exception, or cancelled.** Each minute a `RedisExecutor`, which is a "
            "`concurrent.futures.Executor`, submits 200 calls to four threads elsewhere; its "
            "`with` ends when all are done. Five of them fail, and 20 are cancelled.",
        ),
        [
            stacked(
                "Futures that are not done",
                "Pending: in the queue. Running: a slot has them, and no more than there are "
                "slots.",
                COUNT,
                Query(_registry("started"), "running"),
                Query(_of_queue(metrics.QUEUE_DEPTH, notes.GROUP), "pending"),
                empty=NOT_HERE,
                span=8,
            ),
            lines(
                "Calls that end",
                "Result: the call has returned. Exception: it has raised, and `result()` raises "
                "that again.",
                EACH_MINUTE,
                Query(ends("succeeded"), "result"),
                Query(ends("failed"), "exception"),
                empty=NOT_HERE,
                span=8,
            ),
            stacked(
                "Futures that are done and kept",
                "For some minutes; what was cancelled never ran. An exception is deleted once it "
                "was seen, so that it does not stay as a dead letter.",
                COUNT,
                Query(_registry("finished"), "result"),
                Query(_registry("canceled"), "cancelled"),
                empty=NOT_HERE,
                span=8,
            ),
        ],
    ]


def _locks() -> list[Line]:
    def acquired(kind: str) -> str:
        return quantile(0.95, metrics.LOCK_WAIT, f'{LOCK_NAMES}, kind="{kind}"')

    held = f'sum(rate({metrics.LOCK_HOLD}_sum{{lock="printers"}}{RATE}))'
    crosswise = _ended(_named(accounts.transfer_crosswise), "retried")
    return [
        _said(
            "locks",
            "**A mutex lets one in, a semaphore a number; two that take mutexes in different "
            "orders may wait for each other for ever.** Transfers lock two of six accounts, "
            "and pages go to three printers. Half of the transfers lock in any order: such a "
            "deadlock is found at once, one of the two gets an error, and is tried again.",
        ),
        [
            lines(
                "Waits for locks, 95%",
                "From asking to having, of 95 in a hundred. Who waits, waits for all before it.",
                "s",
                Query(acquired("mutex"), "mutex of an account"),
                Query(acquired("semaphore"), "semaphore of the printers"),
                decades=True,
                empty=NOT_HERE,
                span=8,
            ),
            lines(
                "Printers in use",
                "Permits of the semaphore that are held, as a share of the three, on average.",
                SHARE,
                Query(f"{held} / {accounts.PRINTERS}", "printers"),
                empty=NOT_HERE,
                span=8,
            ),
            lines(
                "Deadlocks found",
                "Transfers each minute that got an error in place of a wait without an end. Those "
                "that take their locks in one order never do.",
                EACH_MINUTE,
                Query(f"60 * {crosswise}", "deadlocks"),
                empty=NOT_HERE,
                span=8,
            ),
        ],
    ]


def _buffer() -> list[Line]:
    def of_both(metric: metrics.Metric, function: str = "", window: str = "") -> list[Query]:
        return [
            Query(f'max({function}({metric}{{queue="{queue}"}}{window}))', name)
            for name, queue in BUFFERS.items()
        ]

    return [
        _said(
            "producer-consumer",
            "**A buffer between producer and consumer evens out their paces; a bound makes "
            "whoever is too fast wait.** For 20 s the producer is faster; then it has "
            "nothing to send. Without a bound the queue grows, and with it how long each job "
            "waits; with one it is full at 50, and the producer is blocked.",
        ),
        [
            lines(
                "Depth of the buffer",
                "Jobs that wait. The dashed line is the bound.",
                COUNT,
                *of_both(metrics.QUEUE_DEPTH),
                limit=50,
                empty=NOT_HERE,
                span=8,
            ),
            lines(
                "Producer blocked",
                "Share of the last minute for which the producer waited for room.",
                SHARE,
                *of_both(metrics.PRODUCERS_BLOCKED, "avg_over_time", RATE),
                empty=NOT_HERE,
                span=8,
            ),
            lines(
                "The next job has waited",
                "For how long the job has waited that is next. A bound keeps that short, too.",
                "s",
                *of_both(metrics.QUEUE_OLDEST),
                decades=True,
                empty=NOT_HERE,
                span=8,
            ),
        ],
    ]
