"""What keeps jobs waiting by intent: pauses, and rates."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from heori import formats
from heori.inspect.reader import RedisReader
from heori.inspect.shell import first, quoted
from heori_common.errors import cut
from heori_common.protocol.commands import Pause
from heori_common.protocol.keys import TENANT, whole_queue

MOST_RATES = 1000  # of one queue that are read
MOST_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Paused:
    """A queue, tenant or task that is paused."""

    kind: str  # queue, tenant or task
    name: str  # a tenant's with its queue, such as orders@@acme
    seconds: float  # for which it is
    set_aside: int | None  # jobs of a task


@dataclass(frozen=True, slots=True)
class RateLine:
    """Jobs of one queue that wait for one rate."""

    queue: str
    rate: str
    waiting: int
    next: float  # seconds until some of them may begin


@dataclass(frozen=True, slots=True)
class Held:
    """All of them; of many rates of a queue, those that are due first."""

    paused: list[Paused] = field(default_factory=list)
    rates: list[RateLine] = field(default_factory=list)

    def lines(self) -> list[str]:
        """For people; of many, the first few."""
        told = [_pause_line(each) for each in self.paused]
        longest = sorted(self.rates, key=lambda each: -each.waiting)
        told += [
            f"{formats.counted(each.waiting, 'job')} of {each.queue} wait"
            f"{'s' if each.waiting == 1 else ''} for the rate {cut(each.rate)}; the next may begin "
            f"in {formats.duration(max(0.0, each.next))}."
            for each in longest[:MOST_SHOWN]
        ]
        if len(longest) > MOST_SHOWN:
            others = sum(each.waiting for each in longest[MOST_SHOWN:])
            told.append(
                f"{formats.count(others)} more wait for {len(longest) - MOST_SHOWN} others."
            )
        return told


def read_held(reader: RedisReader, queues: Iterable[str]) -> Held:
    """Read them.

    Args:
        queues: names of all that there are.

    Raises:
        RedisUnavailable, RedisRefused: as `RedisReader`.
    """
    commands = reader.commands
    now = reader.client.execute(commands.time())
    pauses = reader.read(commands.pauses()) or []
    counts = reader.read_many([commands.count_paused(each.name) for each in pauses])
    paused = [
        Paused(_kind(each), each.name, max(0.0, now - each.since), count if is_task else None)
        for each, count in zip(pauses, counts, strict=True)
        for is_task in [each.kind == "task"]
    ]
    names = list(dict.fromkeys(map(whole_queue, queues)))
    due = reader.read_many([commands.rates(name, MOST_RATES) for name in names])
    lines = [
        (name, rate, when)
        for name, rates in zip(names, due, strict=True)
        for rate, when in rates or ()
    ]
    waiting = reader.read_many([commands.count_rate(name, rate) for name, rate, _ in lines])
    return Held(
        paused,
        [
            RateLine(name, rate, count, when - now)
            for (name, rate, when), count in zip(lines, waiting, strict=True)
            if count
        ],
    )


def resume_all(reader: RedisReader, what: Pause) -> tuple[bool, int]:
    """End a pause; returns whether there was one, and how many jobs of a task went back.

    Raises:
        RedisUnavailable, RedisRefused: as `RedisReader`.
    """
    resumed = reader.client.execute(reader.commands.resume(what))
    was_paused, jobs = resumed.was_paused, resumed.jobs
    while resumed.are_left:
        resumed = reader.client.execute(reader.commands.resume(what))
        jobs += resumed.jobs
    return was_paused, jobs


def _kind(pause: Pause) -> str:
    return "tenant" if TENANT in pause.name else pause.kind


def resumed_by(kind: str, name: str) -> str:
    """What `heori resume` is to be given, as it is typed, to end a pause of that kind."""
    if kind == "task":
        return f"--task {quoted(name)}"
    queue, _, tenant = name.partition(TENANT)
    return first(queue, *(("--tenant", tenant) if tenant else ()))


def _pause_line(paused: Paused) -> str:
    queue, _, tenant = paused.name.partition(TENANT)
    words = resumed_by(paused.kind, paused.name)
    named = f"tenant {tenant} of {queue}" if tenant else f"{paused.kind} {cut(paused.name)}"
    jobs = f", {formats.counted(paused.set_aside, 'job')} set aside" if paused.set_aside else ""
    since = formats.duration(paused.seconds)
    return f"Paused for {since}{jobs}: {named}; `heori resume {words}` ends that."
