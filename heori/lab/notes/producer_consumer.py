"""Producers and consumers need a buffer between them, and it needs a bound.

Both sides are faster by turns. What the producers are ahead waits: in a `queue.Queue` of one
process, and in a queue of Heori's. Each is tried without a bound, and with one at which producers
wait. So does all that goes from many producers to many consumers pass one place, as in an
hourglass, and each side sees nothing of the other but that.
"""

import os
import queue
import random
import threading
import time
import tracemalloc
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

from redis import Redis

from heori import Producer, Settings, connect, formats, task
from heori.lab.notes.findings import Curves, Figures, NoteFindings, Statement, Step
from heori.lab.notes.serving import serving
from heori_common.protocol.commands import Commands
from heori_common.redis.client import RedisClient

PRODUCERS = 4
CONSUMERS, SLOTS = 2, 2
FAST, SLOW = 160.0, 30.0  # items a second, of all producers or all consumers together
TURNS, QUICK_TURNS = 4, 2
TURN_S, QUICK_TURN_S = 1.1, 0.3
BOUND, QUICK_BOUND = 30, 10
GIVEN_BACK = 16  # jobs beyond the bound, at most: as many as a consumer may hold here
CHARACTERS = 20_000  # of an item
LOOK_S = 0.03
REST_S = 60.0  # for the consumers to do what is left
DONE = "done"  # list: a worker and a number, for each job that was done
QUEUES = {"unbounded": "without-bound", "bounded": "with-bound"}
NAMES = {
    ("process", "unbounded"): "queue.Queue, no bound",
    ("process", "bounded"): "queue.Queue, bound",
    ("heori", "unbounded"): "Heori, no limit",
    ("heori", "bounded"): "Heori, limit",
}


class FlowSample(NamedTuple):
    """How it stands at a moment; what was made and done, so far."""

    at: float  # seconds
    waiting: int
    memory: float  # bytes that these take
    made: int
    done: int
    blocked: int  # producers that wait for room


Of = Callable[[FlowSample], float]


@dataclass(frozen=True)
class Turns:
    """Who is faster, by the one clock of this machine: the producers at first.

    Attributes:
        began: when.
        seconds: of each turn.
        number: of turns; then the producers have done their part.
    """

    began: float
    seconds: float
    number: int

    def begun(self) -> "Turns":
        """The same, from now on."""
        return replace(self, began=time.monotonic())

    @property
    def whole(self) -> float:
        """Seconds for which the producers are at work."""
        return self.number * self.seconds

    def elapsed(self) -> float:
        """Seconds since the first began."""
        return time.monotonic() - self.began

    def production(self, at: float) -> float:
        """Items a second that all producers would make after so many seconds."""
        turn = int(at / self.seconds)
        return 0.0 if turn >= self.number else SLOW if turn % 2 else FAST

    def consumption(self, at: float) -> float:
        """Items a second that all consumers would do then."""
        turn = int(at / self.seconds)
        return FAST if turn >= self.number or turn % 2 else SLOW


@cache
def redis() -> Any:  # its hints mix in those of asyncio
    """The client of a worker."""
    return connect(Settings().redis_url)


@task(result_ttl=1)
def use(number: int, text: str, turns: Turns) -> None:  # noqa: ARG001 - the text is to take room
    """Take the time that a job takes just now, and say who has done it."""
    time.sleep(CONSUMERS * SLOTS / turns.consumption(turns.elapsed()))
    redis().rpush(DONE, f"{os.getpid()} {number}")


def measure(step: Step, *, seed: int, quick: bool) -> Figures:
    """Let both sides be faster by turns, in one process and with Heori, with a bound and none."""
    text = random.Random(seed).randbytes(CHARACTERS // 2).hex()
    seconds, number = (QUICK_TURN_S, QUICK_TURNS) if quick else (TURN_S, TURNS)
    bound = QUICK_BOUND if quick else BOUND
    turns = Turns(0.0, seconds, number)
    figures: Figures = {"bound": bound, "seconds": seconds, "turns": number}
    began = time.monotonic()

    def so_far() -> None:
        step(min(0.99, (time.monotonic() - began) / (len(NAMES) * (number + 0.5) * seconds)))

    with serving(__name__, list(QUEUES.values()), slots=SLOTS, consumers=CONSUMERS) as service:
        bounds = {"bounded": bound, "unbounded": 0}
        figures["process"] = {
            name: _in_process(most, text, turns, so_far) for name, most in bounds.items()
        }
        service.ready()
        figures["heori"] = {
            name: _with_heori(service.url, most, text, turns, so_far)
            for name, most in bounds.items()
        }
    return figures


def findings(figures: Figures) -> NoteFindings:
    """See `heori.lab.notes`."""
    bound = figures["bound"]
    turns = Turns(0.0, figures["seconds"], figures["turns"])
    runs = {each: FlowRun(figures[each[0]][each[1]], turns) for each in NAMES}
    free = [runs[each] for each in runs if each[1] == "unbounded"]
    held = [runs[each] for each in runs if each[1] == "bounded"]
    waist = runs["heori", "bounded"]
    shares = waist.made_by
    return NoteFindings(
        "Producers and consumers need a buffer between them, and it needs a bound.",
        (
            "",
            "most waiting",
            "memory",
            "producers blocked",
            f"done in {turns.whole:g} s",
            "all done after",
        ),
        [
            (
                NAMES[each],
                formats.count(run.deepest),
                formats.size(run.memory),
                formats.share(run.blocked),
                formats.count(run.in_time),
                formats.duration(run.seconds),
            )
            for each, run in runs.items()
        ],
        [
            Statement(
                all(run.deepest > bound for run in free),
                "Both sides are faster by turns. Without a bound, what the producers are ahead "
                f"piles up: {free[0].deepest} items waited in one process, and {free[1].deepest} "
                "jobs with Heori. The longer their turn, the more.",
                "The producers were never far ahead here: this machine was too slow for them.",
            ),
            Statement(
                held[0].deepest <= bound and held[1].deepest <= bound + GIVEN_BACK,
                f"With a bound of {bound} there were never more than {held[0].deepest} and "
                f"{held[1].deepest}.",
                f"At a bound of {bound} there were {held[0].deepest} items in one process and "
                f"{held[1].deepest} jobs with Heori.",
                "With a bound there are never more than that, and with Heori at most 16 more, as "
                "what a consumer gives back is always let in.",
            ),
            Statement(
                all(one.memory < other.memory for one, other in zip(held, free, strict=True)),
                f"What waits takes memory: {_sizes(free)} without a bound, in the process and in "
                f"Redis; {_sizes(held)} with it.",
                "What waited without a bound took no more memory than with it.",
            ),
            Statement(
                all(one.blocked > other.blocked for one, other in zip(held, free, strict=True)),
                "At the bound the producers wait instead: in their fast turns for "
                f"{held[0].blocked:.0%} and {held[1].blocked:.0%} of the time, without it for "
                f"{free[0].blocked:.0%} and {free[1].blocked:.0%}.",
                "The producers did not wait longer at the bound than without one.",
            ),
            Statement(
                all(one.in_time < other.in_time for one, other in zip(held, free, strict=True)),
                f"That is its price: {_counts(held)} were done in the time in which "
                f"{_counts(free)} are without it, as what waits is what fast consumers live on. A "
                "bound is to be as large as the bursts that come and as the memory that there is.",
                "As much was done with the bound as without it.",
            ),
            Statement(
                abs(waist.into - waist.out) <= 0.25 * FAST,
                f"While the queue is full, jobs go in as fast as they come out: {waist.into:.0f}/s "
                f"in and {waist.out:.0f}/s out, of {FAST:.0f}/s that the producers could send.",
                f"While the queue was to be full, {waist.into:.0f} jobs/s went in and "
                f"{waist.out:.0f}/s came out.",
            ),
            Statement(
                waist.once,
                f"All that {len(shares)} producers sent ({_list(shares)}) went through one queue, "
                f"and each job was done once, by {len(waist.done_by)} consumers "
                f"({_list(waist.done_by)}).",
                "Not every job was done once.",
                "All that many producers send goes through one queue, and each job is done once by "
                "one of many consumers.",
            ),
        ],
        "So a queue of Heori's can have a bound, by `heori limit orders 10000`. It holds for all "
        "producers together, as the script that enqueues holds to it, "
        "common/heori_common/protocol/lua/calls/enqueue.lua, "
        "and producers wait in line for room, first come first served, or are refused "
        '(when_full="reject"): producer/heori_producer/sending.py. Either side grows, dies and is '
        "replaced without the other noticing: Heori (허리) is the Korean word for the waist.",
        [
            _curves(
                f"How many wait, over time; bound and limit: {bound}",
                runs,
                lambda sample: sample.waiting,
            ),
            _curves("What that takes, MB", runs, lambda sample: sample.memory / 1e6),
            _waist(waist, bound, turns),
        ],
    )


class FlowRun:
    """What is to be told of one run."""

    def __init__(self, figures: Figures, turns: Turns) -> None:
        self.samples = [FlowSample(*each) for each in figures["samples"]]
        self.made_by: list[int] = figures["made"]
        self.done_by: list[int] = figures["done"]
        self.once: bool = figures["once"]
        self.deepest = max(sample.waiting for sample in self.samples)
        self.memory = max(sample.memory for sample in self.samples)
        self.seconds = self.samples[-1].at
        self.in_time = round(self._at(lambda sample: sample.done, turns.whole))
        # While the producers are faster: how much of the time they wait, and, in the later half of
        # each such turn, items a second.
        fast = [each.blocked for each in self.samples if turns.production(each.at) == FAST]
        self.blocked = sum(fast) / len(fast) / PRODUCERS if fast else 0.0
        self.into = self._growth(lambda sample: sample.made, turns)
        self.out = self._growth(lambda sample: sample.done, turns)

    def rates(self, of: Of, seconds: float) -> list[tuple[float, float]]:
        """A rate over time, each over so many seconds."""
        found, last = [], self.samples[0]
        for sample in self.samples:
            if sample.at - last.at >= seconds:
                rate = (of(sample) - of(last)) / (sample.at - last.at)
                found.append(((sample.at + last.at) / 2, rate))
                last = sample
        return found

    def _growth(self, of: Of, turns: Turns) -> float:
        """By how much something grows a second, in the later half of each turn of the producers."""
        ends = [(turn + 1) * turns.seconds for turn in range(0, turns.number, 2)]
        half = turns.seconds / 2
        return sum(self._at(of, end) - self._at(of, end - half) for end in ends) / half / len(ends)

    def _at(self, of: Of, at: float) -> float:
        """What something was after so many seconds."""
        for before, after in pairwise(self.samples):
            if before.at <= at <= after.at:
                part = (at - before.at) / (after.at - before.at)
                return of(before) + part * (of(after) - of(before))
        return of(self.samples[-1 if at > self.samples[0].at else 0])


def _sizes(runs: Sequence[FlowRun]) -> str:
    return " and ".join(formats.size(run.memory) for run in runs)


def _counts(runs: Sequence[FlowRun]) -> str:
    return " and ".join(formats.count(run.in_time) for run in runs)


def _list(numbers: Sequence[int]) -> str:
    return ", ".join(map(formats.count, numbers))


def _curves(title: str, runs: dict[tuple[str, str], FlowRun], of: Of) -> Curves:
    lines = {
        NAMES[each]: [(sample.at, of(sample)) for sample in run.samples]
        for each, run in runs.items()
    }
    return Curves(title, "seconds", lines)


def _waist(run: FlowRun, bound: int, turns: Turns) -> Curves:
    could: dict[str, list[tuple[float, float]]] = {"producers could": [], "consumers could": []}
    for number in range(turns.number):
        first, last = number * turns.seconds, (number + 1) * turns.seconds
        for at in (first, last):
            could["producers could"].append((at, turns.production((first + last) / 2)))
            could["consumers could"].append((at, turns.consumption((first + last) / 2)))
    return Curves(
        f"The waist: jobs/s from {PRODUCERS} producers, by a queue for {bound}, to {CONSUMERS} "
        "consumers",
        "seconds",
        {
            **could,
            "into the queue": run.rates(lambda sample: sample.made, turns.seconds / 6),
            "out of it, done": run.rates(lambda sample: sample.done, turns.seconds / 6),
        },
        faint=tuple(could),
    )


# One run


Put = Callable[[int, str], object]
Look = Callable[[Sequence["MakingThread"]], FlowSample]


class MakingThread:
    """A producer: it makes items and puts them, as fast as its turn is and as it is let."""

    def __init__(self, place: int, put: Put, text: str, turns: Turns) -> None:
        self.made = 0
        self._put = put
        self._place = place
        self._text = text
        self._turns = turns
        self.putting = False
        self._thread = threading.Thread(target=self._make, daemon=True)
        self._thread.start()

    @property
    def at_work(self) -> bool:
        """Whether it has not done its part yet."""
        return self._thread.is_alive()

    def _make(self) -> None:
        due = time.monotonic()
        while rate := self._turns.production(self._turns.elapsed()):
            self.putting = True
            self._put(self._place + PRODUCERS * self.made, self._text)
            self.putting = False
            self.made += 1
            due = max(time.monotonic(), due + PRODUCERS / rate)  # no haste after it was held up
            time.sleep(max(0.0, due - time.monotonic()))


def _run(
    puts: Sequence[Put], look: Look, text: str, turns: Turns, step: Callable[[], None]
) -> Figures:
    """Have producers put items; look until all is done."""
    makers = [MakingThread(place, put, text, turns) for place, put in enumerate(puts)]
    samples: list[FlowSample] = []
    while turns.elapsed() < turns.whole + REST_S:
        step()
        at_work = any(maker.at_work for maker in makers)
        samples.append(look(makers))
        if not at_work and samples[-1].done >= samples[-1].made:
            break
        time.sleep(LOOK_S)
    return {"samples": samples, "made": [maker.made for maker in makers]}


def _in_process(bound: int, text: str, turns: Turns, step: Callable[[], None]) -> Figures:
    """Threads on both sides of a `queue.Queue`; 0 is no bound."""
    buffer: queue.Queue[tuple[int, str] | None] = queue.Queue(bound)
    turns = turns.begun()
    done: list[list[int]] = [[] for _ in range(CONSUMERS * SLOTS)]

    def consume(mine: list[int]) -> None:
        while (item := buffer.get()) is not None:
            time.sleep(CONSUMERS * SLOTS / turns.consumption(turns.elapsed()))
            mine.append(item[0])

    consumers = [threading.Thread(target=consume, args=(mine,), daemon=True) for mine in done]
    for consumer in consumers:
        consumer.start()

    def look(makers: Sequence[MakingThread]) -> FlowSample:
        taken, _ = tracemalloc.get_traced_memory()
        blocked = sum(maker.putting for maker in makers)
        counts = sum(maker.made for maker in makers), sum(map(len, done))
        return FlowSample(turns.elapsed(), buffer.qsize(), taken, *counts, blocked)

    def put(number: int, text: str) -> None:
        buffer.put((number, f"{number} {text}"))

    tracemalloc.start()
    try:
        figures = _run([put] * PRODUCERS, look, text, turns, step)
    finally:
        tracemalloc.stop()
    for _ in consumers:
        buffer.put(None)
    for consumer in consumers:
        consumer.join()
    return figures | _who({f"thread {n}": mine for n, mine in enumerate(done)}, figures["made"])


def _with_heori(url: str, bound: int, text: str, turns: Turns, step: Callable[[], None]) -> Figures:
    """Producers of jobs, and consumers that are processes of their own; 0 is no limit."""
    name = QUEUES["bounded" if bound else "unbounded"]
    # Made without the environment: settings of the user's are for their own server.
    settings = Settings.model_construct(redis_url=url, queue_limits={name: bound} if bound else {})
    commands = Commands()
    with ExitStack() as stack:
        server: Any = stack.enter_context(
            Redis.from_url(url, socket_timeout=None, decode_responses=True)
        )
        client = stack.enter_context(RedisClient(url))
        producers = [stack.enter_context(Producer(settings=settings)) for _ in range(PRODUCERS)]
        server.delete(DONE)
        turns = turns.begun()

        def look(makers: Sequence[MakingThread]) -> FlowSample:
            # First what is done: when that is all, nothing is told to wait any more.
            counts = sum(maker.made for maker in makers), server.llen(DONE)
            waiting, *_, blocked = client.execute_many(commands.counts(name))
            [head] = server.lrange(commands.keys.queue(name), 0, 0) or [""]
            one = server.memory_usage(commands.keys.job(head), samples=0) or 0  # each is as large
            return FlowSample(turns.elapsed(), waiting, waiting * one, *counts, blocked)

        def put_by(producer: Producer) -> Put:
            sender = producer.options(queue=name)
            return lambda number, text: sender.submit(use, number, text, turns)

        figures = _run([put_by(each) for each in producers], look, text, turns, step)
        by: dict[str, list[int]] = {}
        for entry in server.lrange(DONE, 0, -1):
            worker, number = entry.split()
            by.setdefault(worker, []).append(int(number))
    return figures | _who(by, figures["made"])


def _who(by: dict[str, list[int]], made: Sequence[int]) -> Figures:
    """How many each has done, and whether that was each item once."""
    done = sorted(number for numbers in by.values() for number in numbers)
    all_made = sorted(place + PRODUCERS * n for place, many in enumerate(made) for n in range(many))
    return {"done": [len(numbers) for numbers in by.values()], "once": done == all_made}
