"""Whether jobs that hold the GIL are to be kept out of the way of jobs that wait for other things.

Where jobs of a task only wait for each other for the GIL, one at a time in each process does as
much. Jobs that wait then find the GIL free sooner each time that they go on, and slots for them.
Pure, as the controller: it is told what was seen, and says which tasks are to be kept apart.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from heori_consumer.auto.demand import Observation, Spent, TaskUse

# Observations, all of one size, that a choice takes, and a judgement after the first of them.
SEEN = 6
# Shares of the time of threads with a job of a task. One that holds the GIL waits for little else,
# and for the GIL where there are several at once.
HOLDS = 0.1
CROWDED = 0.3
# One that was taken for the first kind is no more.
RELEASES = 0.25
NOTABLE = 0.1  # of the time of all threads
FEW = 10  # jobs say nothing of how long they take
# Threads are ready for so many times as long as they compute: whoever has the cores, and be it
# jobs of this pool, nothing can be told of the GIL.
SHORT_OF_CORES = 2.0
# How much more of the one for the other, of work and of time, is worth it; and what may be less of
# either of them, which is no more than chance.
GAINED, CHANCE = 1.1, 0.05
REMEMBERED_S = 900.0  # that it was of no use
PUT_OFF_S = 30.0  # when nothing could be told
MOST_NAMED = 3  # tasks
# Jobs may stand aside in a process that begin within so many seconds.
AHEAD_S = 1.0

Fate = Literal["on trial", "kept", "undone", "put off", "over"]


class Effect(NamedTuple):
    """What came of keeping tasks apart.

    Attributes:
        time: how many times as long jobs take that wait for other things.
        work: how much of the cores the others have, × before.
    """

    time: float
    work: float

    @property
    def is_worth_it(self) -> bool:
        """Whether it is to stay so."""
        is_harmless = self.time <= 1 + CHANCE and self.work >= 1 - CHANCE
        return is_harmless and self.work >= GAINED * self.time

    def __str__(self) -> str:
        """For people."""
        return f"those that wait take {self.time:.2f} × as long, the others do {self.work:.2f} ×"


class KeepingApart:
    """Decides for one pool.

    Attributes:
        tasks: that are kept apart: jobs of these run one at a time in each process.
        most: of their jobs that may stand aside in a process.
        fate: what came of the latest change.
        effect: what was seen of it.
    """

    def __init__(self) -> None:
        self.tasks: frozenset[str] = frozenset()
        self.most = 0
        self.fate: Fate = "over"
        self.effect: Effect | None = None
        self._seen: deque[Observation] = deque(maxlen=SEEN)
        self._before: Sequence[Observation] = ()
        self._waiters: frozenset[str] = frozenset()
        self._left = 0.0  # seconds in which it is not tried

    def __str__(self) -> str:
        """For people; empty while nothing is kept apart."""
        if not self.tasks:
            return ""
        of = ", ".join(sorted(self.tasks)[:MOST_NAMED]) + ", …" * (len(self.tasks) > MOST_NAMED)
        came_of = "whether that helps is not known yet" if self.effect is None else self.effect
        return f"jobs of {of} run one at a time in each process: {came_of}"

    def step(self, seen: Observation, *, is_free: bool) -> bool:
        """Look at what was seen of the last second; returns whether `tasks` has changed.

        Args:
            is_free: whether nothing else is on trial.
        """
        self._left = max(0.0, self._left - seen.seconds)
        if not seen.settled or (self._seen and self._seen[-1].size != seen.size):
            self._seen.clear()
        if seen.settled:
            self._seen.append(seen)
        if self._before and seen.size != self._before[-1].size:
            return self._end("put off", PUT_OFF_S)  # it cannot be told from what the size does
        if len(self._seen) < SEEN:
            return False
        if self._before:
            return self._judge()
        if self.tasks:
            return self._look_again()
        return not self._left and is_free and self._begin()

    def _begin(self) -> bool:
        if _lack_cores(self._seen):
            return False
        holders = frozenset(name for name in self._tasks() if self._holds(name))
        waiters = frozenset(name for name in self._tasks() if self._waits(name))
        if not holders or not waiters:
            return False
        use = _use(self._seen, holders)
        self.tasks, self._waiters = holders, waiters
        each = use.cpu / max(1, use.finished)
        self.most = min(self._seen[-1].size.slots, int(AHEAD_S / max(1e-3, each)))
        self._before = tuple(self._seen)
        self.fate, self.effect = "on trial", None
        self._seen.clear()
        return True

    def _judge(self) -> bool:
        before, after = self._before, list(self._seen)[1:]  # the first is half of what was
        was, now = (_use(each, self._waiters) for each in (before, after))
        if min(was.finished, now.finished) < FEW or _lack_cores(after):
            return self._end("put off", PUT_OFF_S)
        self.effect = Effect(
            (now.run / now.finished) / (was.run / was.finished),
            _cpu_a_second(after, self.tasks) / max(1e-6, _cpu_a_second(before, self.tasks)),
        )
        if not self.effect.is_worth_it:
            return self._end("undone", REMEMBERED_S)
        self._before = ()
        self.fate = "kept"
        return False

    def _look_again(self) -> bool:
        """Jobs may have become others, or there are none to keep them apart from."""
        waits = any(spent.io_wait > RELEASES * sum(spent) for spent in map(self._spent, self.tasks))
        alone = not any(self._waits(name) for name in self._tasks() - self.tasks)
        return (waits or alone) and self._end("over", 0.0)

    def _end(self, fate: Fate, put_off: float) -> bool:
        self.tasks, self.most, self._before = frozenset(), 0, ()
        self.fate, self._left = fate, put_off
        self._seen.clear()
        return True

    # What was seen

    def _tasks(self) -> frozenset[str]:
        return frozenset(name for each in self._seen for name in each.spent)

    def _spent(self, name: str) -> Spent:
        total = Spent()
        for each in self._seen:
            total = total.plus(each.spent.get(name, Spent()))
        return total

    def _holds(self, name: str) -> bool:
        spent = self._spent(name)
        total = sum(spent)
        return (
            total >= NOTABLE * sum(sum(self._spent(each)) for each in self._tasks()) > 0
            and spent.io_wait <= HOLDS * total
            and spent.gil_wait >= CROWDED * total
        )

    def _waits(self, name: str) -> bool:
        """Waits for the GIL say nothing of what a task does when nothing is in its way."""
        use = _use(self._seen, [name])
        return use.finished >= FEW and self._spent(name).io_wait > use.cpu


def _use(seen: Iterable[Observation], tasks: Iterable[str]) -> TaskUse:
    uses = [each.tasks[name] for each in seen for name in tasks if name in each.tasks]
    return TaskUse(
        sum(use.finished for use in uses),
        sum(use.run for use in uses),
        sum(use.cpu for use in uses),
    )


def _lack_cores(seen: Iterable[Observation]) -> bool:
    seconds = [(each.running, each.cpu) for each in seen]
    return sum(running for running, _ in seconds) > SHORT_OF_CORES * sum(cpu for _, cpu in seconds)


def _cpu_a_second(seen: Sequence[Observation], tasks: Iterable[str]) -> float:
    return _use(seen, tasks).cpu / sum(each.seconds for each in seen)
