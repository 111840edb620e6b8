"""What is wrong now, in words, with what to do about it.

A sentence is kept as a pattern and its values, so that a page can tell it in another language.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from heori import formats
from heori.inspect.overview import Overview
from heori_common.errors import cut
from heori_common.protocol.keys import TENANT, whole_queue

Level = Literal["bad", "warning", "note"]

LONG_WAIT_S = 60.0  # for which the next job of a queue has waited
FAILING = 0.1  # of a task's jobs
GIL_LOSS = 0.25  # of the time of a consumer's workers
MEMORY = 0.8  # of what Redis may use
MOST_OF_A_KIND = 5  # that are told one by one
_ORDER: tuple[Level, ...] = ("bad", "warning", "note")


@dataclass(frozen=True, slots=True)
class Alert:
    """One thing that somebody should know.

    Attributes:
        says: what there is: a sentence, with the values' names in braces.
        todo: what to do about it, likewise.
        link: the page that shows more of it, by its kind, and what it is about.
    """

    level: Level
    says: str
    todo: str
    values: Mapping[str, str] = field(default_factory=dict)
    link: tuple[str, str] | None = None

    def record(self) -> dict[str, Any]:
        """For scripts."""
        return {
            "level": self.level,
            "says": self.says.format(**self.values),
            "todo": self.todo.format(**self.values),
        }


def alerts(overview: Overview, memory: float | None = None) -> list[Alert]:
    """What is wrong, the worst first; of many of a kind, the first few.

    Args:
        memory: the share of its memory that Redis uses; None where it has no limit.
    """
    found: list[Alert] = []
    for kind in (_unserved, _queues, _standstills, _tasks, _silent, _gil, _paused, _unreadable):
        of_kind = list(kind(overview))
        found += of_kind[:MOST_OF_A_KIND]
        if (more := len(of_kind) - MOST_OF_A_KIND) > 0:
            found.append(
                Alert(
                    of_kind[0].level,
                    "{count} more are like this.",
                    "",
                    {"count": formats.count(more)},
                )
            )
    if memory is not None and memory > MEMORY:
        found.insert(
            0,
            Alert(
                "bad",
                "Redis uses {share} of the memory that it may.",
                "Give it more (maxmemory), limit queues, or let results be kept for less long.",
                {"share": formats.share(memory)},
            ),
        )
    return sorted(found, key=lambda alert: _ORDER.index(alert.level))


def _unserved(overview: Overview) -> Iterator[Alert]:
    served = _served(overview)
    waiting: Counter[str] = Counter()  # with that of all tenants
    for row in overview.queues:
        if row.waiting and not {row.queue, whole_queue(row.queue)} & served:
            waiting[whole_queue(row.queue)] += row.waiting
    for queue, jobs in waiting.items():
        yield Alert(
            "bad",
            "No consumer serves {queue}. Jobs that wait there: {waiting}.",
            "Start one: heori consume --queue {queue}",
            {"queue": queue, "waiting": formats.count(jobs)},
            ("queue", queue),
        )


def _served(overview: Overview) -> set[str]:
    return {queue for row in overview.consumers for queue in row.queues.split(",")}


def _queues(overview: Overview) -> Iterator[Alert]:
    served = _served(overview)
    paused = {each.name for each in overview.held.paused if each.kind != "task"}
    for row in overview.queues:
        about = ("queue", row.queue)
        names = {row.queue, whole_queue(row.queue)}
        if row.blocked:
            yield Alert(
                "warning",
                "{queue} is full. Producers that wait for room: {blocked}.",
                "Start more consumers, or raise its limit.",
                {"queue": row.queue, "blocked": formats.count(row.blocked)},
                about,
            )
        elif row.oldest > LONG_WAIT_S and names & served and not names & paused:
            yield Alert(
                "warning",
                "The next job of {queue} has waited for {age}.",
                "Start more consumers of it.",
                {"queue": row.queue, "age": formats.duration(row.oldest)},
                about,
            )


def _standstills(overview: Overview) -> Iterator[Alert]:
    for row in overview.consumers:
        if row.waits_for:
            yield Alert(
                "bad",
                "All slots of {consumer} wait for jobs of {queues}.",
                "Start another consumer, or let this one lend more slots (HEORI_LEND_SLOTS).",
                {"consumer": row.consumer, "queues": row.waits_for},
                ("consumer", row.consumer),
            )


def _tasks(overview: Overview) -> Iterator[Alert]:
    for row in overview.tasks:
        if row.failed_per_second and row.failed_per_second > FAILING * row.jobs_per_second:
            share = min(1.0, row.failed_per_second / row.jobs_per_second)
            yield Alert(
                "bad",
                "{task} fails: {share} of its jobs in the last {seconds}.",
                "Look at the errors of its dead letters.",
                {
                    "task": row.task,
                    "share": formats.share(share),
                    "seconds": formats.duration(overview.seconds),
                },
                ("dead", row.task),
            )


def _silent(overview: Overview) -> Iterator[Alert]:
    silent = overview.asked - overview.answered
    if silent > 0:
        yield Alert(
            "warning",
            "{silent} of {asked} consumers do not answer with their metrics.",
            "Look whether they are overloaded, and whether this machine reaches their ports.",
            {"silent": formats.count(silent), "asked": formats.count(overview.asked)},
            ("consumers", ""),
        )


def _gil(overview: Overview) -> Iterator[Alert]:
    losses: dict[str, list[float]] = {}
    for worker in overview.workers:
        if worker.gil_loss is not None:
            losses.setdefault(worker.consumer, []).append(worker.gil_loss)
    for consumer, of_workers in losses.items():
        loss = sum(of_workers) / len(of_workers)
        if loss > GIL_LOSS:
            yield Alert(
                "warning",
                "{consumer} loses {share} of its time to the GIL.",
                "Run its tasks in more processes: --model processes, or hybrid.",
                {"consumer": consumer, "share": formats.share(loss)},
                ("consumer", consumer),
            )


def _paused(overview: Overview) -> Iterator[Alert]:
    for each in overview.held.paused:
        queue, _, tenant = each.name.partition(TENANT)
        yield Alert(
            "note",
            {
                "queue": "Queue {name} has been paused for {age}.",
                "tenant": "Tenant {tenant} of {name} has been paused for {age}.",
                "task": "Task {name} has been paused for {age}.",
            }[each.kind],
            "Its jobs wait until it is resumed.",
            {"name": queue, "tenant": tenant, "age": formats.duration(each.seconds)},
            ("jobs", each.name) if each.kind == "task" else ("queue", queue),
        )


def _unreadable(overview: Overview) -> Iterator[Alert]:
    for key, why in overview.unreadable.items():
        yield Alert(
            "warning",
            "{key} cannot be read: {why}",
            "`heori doctor` says how to mend it.",
            {"key": cut(key), "why": why},
        )
