"""Are those alive who are registered, and is every queue served?"""

from collections.abc import Callable, Iterable, Iterator, Sequence

from heori import formats
from heori.inspect.checks.finding import MOST_NAMED, Finding, command
from heori.inspect.checks.look import Look, named, pages, some
from heori.inspect.reader import RedisReader
from heori.inspect.schedule import read_entries
from heori.inspect.shell import consume
from heori_common.errors import cut
from heori_common.protocol.job import MalformedJob, parse_time
from heori_common.protocol.keys import whole_queue

# Seconds without a heartbeat after which a record without a TTL is of a dead worker: of rq's,
# rq.defaults.DEFAULT_WORKER_TTL, and what rq adds to it.
SILENT_SECONDS = 480.0
ENDED, ENDLESS = -2, -1  # what TTL says of a key that is gone, and of one that stays


class ConsumerChecks:
    """Looks at consumers and stock workers."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._keys = look.keys

    def all(self) -> tuple[Callable[[], Iterable[Finding]], ...]:
        """The checks."""
        return (self._consumers, self._standstills, self._refusals, self._schedule)

    def _standstills(self) -> Iterator[Finding]:
        names = self._look.workers
        waits = self._look.many((("HGET", name, "heori_waits_for") for name in names), "consumers")
        for name, waits_for in zip(names, waits, strict=True):
            if waits_for:
                queues = named(waits_for)
                consumer = named(name).removeprefix(self._keys.worker(""))
                yield Finding(
                    "consumers",
                    "problem",
                    f"all slots of {consumer} wait for jobs of {queues}",
                    "those wait for a slot, so that nothing goes on until timeouts end the waits",
                    consume(map(whole_queue, queues.split(","))),
                )

    def _refusals(self) -> Iterator[Finding]:
        names = self._look.workers
        refuses = self._look.many((("HGET", name, "heori_refuses") for name in names), "consumers")
        for name, refused in zip(names, refuses, strict=True):
            for line in named(refused).splitlines() if refused else ():
                queue, _, reason = line.partition(": ")
                consumer = named(name).removeprefix(self._keys.worker(""))
                yield Finding(
                    "consumers",
                    "problem",
                    f"{cut(consumer)} takes no jobs of {cut(queue)}: {cut(reason, 500)}",
                    "they wait for another consumer, and this one must be started with the setting",
                )

    def _schedule(self) -> Iterator[Finding]:
        reader = RedisReader(self._look.client, self._keys)
        entries = read_entries(reader)
        alone = [view.entry.name for view in entries if view.state == "nobody"]
        if alone:
            yield Finding(
                "schedule",
                "problem",
                f"no consumer sends {formats.counted(len(alone), 'periodic job')}: {some(alone)}",
                "their ticks pass by; a consumer with the code that declares them sends them again",
            )
        elif entries:
            paused = sum(view.state == "paused" for view in entries)
            also = f", {formats.count(paused)} paused" if paused else ""
            yield Finding(
                "schedule", "fine", f"{formats.counted(len(entries), 'periodic job')}{also}"
            )

    def _consumers(self) -> Iterator[Finding]:
        keys, look = self._keys, self._look
        silent = self._silent(self._silent(look.workers))  # twice: one may just have ended well
        if silent:
            dead = [named(name) for name in silent]
            yield Finding(
                "consumers",
                "warning",
                f"registered, and without a sign of life: {len(silent)} of {len(look.workers)} "
                f"({some(dead)})",
                "they are dead and still listed; any consumer strikes them in a minute or two, and "
                "their jobs come back when leases end",
                command("SREM", keys.workers(), *dead[:MOST_NAMED]),
            )
        else:
            yield Finding("consumers", "fine", f"{len(look.workers)} registered, all alive")
        queues = [queue for queue in look.queues if look.holds(keys.queue(queue), b"list")]
        depths = look.many((("LLEN", keys.queue(queue)) for queue in queues), "queues")
        listening = look.many(
            (
                ("SUNION", keys.workers_of(queue), keys.workers_of(whole_queue(queue)))
                for queue in queues
            ),
            "consumers",
        )
        for queue, waiting, workers in zip(queues, depths, listening, strict=True):
            if waiting and set(silent).issuperset(workers or ()):
                yield Finding(
                    "consumers",
                    "problem",
                    f"waiting in {queue}, which no consumer serves: {formats.count(waiting)}",
                    "they wait until a consumer comes",
                    consume([whole_queue(queue)]),
                )

    def _silent(self, workers: Sequence[bytes]) -> list[bytes]:
        """Those of them that are registered, and show no sign of life.

        With each heartbeat the server is told anew when the record ends. So it is the server that
        has counted the time since, and not a consumer whose clock may be wrong.
        """
        words = (
            word
            for name in workers
            for word in (
                ("SISMEMBER", self._keys.workers(), name),
                ("TTL", name),
                ("HGET", name, "last_heartbeat"),
            )
        )
        found = pages(self._look.many(words, "consumers"), 3)
        return [
            name
            for name, (is_there, life, beat) in zip(workers, found, strict=True)
            if is_there and (life == ENDED or (life == ENDLESS and self._is_old(name, beat)))
        ]

    def _is_old(self, name: bytes, heartbeat: bytes | None) -> bool:
        """Whether a record that never ends is of a worker that is dead by its own clock."""
        if not self._look.holds(named(name), b"hash"):  # whose it is cannot be read
            return False
        try:
            beat = parse_time("last_heartbeat", heartbeat)
        except MalformedJob:
            return True
        return beat is None or self._look.now - beat.timestamp() >= SILENT_SECONDS
