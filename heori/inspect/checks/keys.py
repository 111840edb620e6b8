"""Does each key hold what it should: its type, and names that can be read."""

import re
from collections.abc import Callable, Iterable, Iterator

from heori.inspect.checks.finding import MOST_NAMED, Finding, command
from heori.inspect.checks.look import Look, named, some
from heori.inspect.limits import resumed_by
from heori.inspect.locks import Locks
from heori_common.errors import cut
from heori_common.protocol.catalogue import catalogue
from heori_common.protocol.keys import service_of, whole_queue

ASIDE = ":broken"  # what a key ends with that was put aside
NO_USE = "what it is for does not work, or not for all"
# Types that the key of no job may have; rq's sets of dependents stand below it.
NO_JOB = ("string", "list", "zset", "stream")


class KeyChecks:
    """Looks at the keys whose names are known, and at those of all jobs."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._keys = look.keys
        self._wrong: set[str] = set()  # keys whose type says all that there is to say

    def all(self) -> tuple[Callable[[], Iterable[Finding]], ...]:
        """The checks; `types` finds what all others look at."""
        return (self.suspended, self.paused, self.types, self.names)

    def suspended(self) -> Iterator[Finding]:
        """Whether consumers may claim jobs."""
        if self._look.one("EXISTS", self._keys.suspended()):
            yield Finding(
                "suspended",
                "warning",
                "`rq suspend` is in force",
                "no consumer claims jobs",
                command("DEL", self._keys.suspended()),
            )

    def paused(self) -> Iterator[Finding]:
        """Whether anything is paused that may have been forgotten."""
        pauses = self._look.one("HGETALL", self._keys.paused()) or {}
        for what in sorted(map(named, pauses)):
            kind, _, name = what.partition(":")
            yield Finding(
                "paused",
                "warning",
                f"`heori pause` is in force for {kind} {cut(name)}",
                "no consumer begins jobs of it",
                f"heori resume {resumed_by(kind, name)}",
            )

    def types(self) -> Iterator[Finding]:
        """Whether each key has the type that the catalogue of keys names."""
        look = self._look
        expected = self._expected()
        found = look.many((("TYPE", key) for key in expected), "keys")
        named_kinds = zip(expected, found, strict=True)
        look.kinds = {key: kind for key, kind in named_kinds if kind not in (b"none", None)}
        for key, kind in look.kinds.items():
            if kind.decode() != expected[key] and not key.endswith(ASIDE):
                yield self._misplaced(key, kind.decode(), expected[key])
        for no_job in NO_JOB:
            for page in look.scan(self._keys.job("*"), no_job, "jobs"):
                yield from (
                    self._misplaced(key, no_job, "hash")
                    for key in map(named, page)
                    if not key.endswith(ASIDE)
                )

    def _misplaced(self, key: str, kind: str, expected: str) -> Finding:
        self._wrong.add(key)
        return Finding(
            "types",
            "problem",
            f"{key} holds a {kind}, and should hold a {expected}",
            NO_USE,
            command("RENAME", key, key + ASIDE),
        )

    def names(self) -> Iterator[Finding]:
        """Whether names, and what workers say of themselves, can be read."""
        keys = self._keys
        for key, stem in ((keys.queues(), keys.queue("")), (keys.workers(), keys.worker(""))):
            members = map(named, sorted(self._look.one("SMEMBERS", key) or ()))
            bad = [name for name in members if not _is_text(name) or not name.startswith(stem)]
            if bad:
                yield Finding(
                    "names",
                    "problem",
                    f"{key} has names that rq cannot read: {len(bad)} ({some(bad)})",
                    "rq's own tools fail at them, and Heori goes on; the command takes them off "
                    "the list, and leaves what they name",
                    command("SREM", key, *bad[:MOST_NAMED]),
                )
        workers = [
            name for name in map(named, self._look.workers) if self._look.holds(name, b"hash")
        ]
        records = self._look.many((("HGETALL", name) for name in workers), "consumers")
        for name, record in zip(workers, records, strict=True):
            pairs = ((named(field), named(value)) for field, value in (record or {}).items())
            fields = [field for field, value in pairs if not _is_text(field + value)]
            if fields:
                yield Finding(
                    "names",
                    "problem",
                    f"{name} has fields that are no UTF-8: {some(fields)}",
                    "rq's own tools fail at them; Heori shows them, and goes on",
                    command("HDEL", name, *fields[:MOST_NAMED]),
                )

    def unreadable(self) -> Iterator[Finding]:
        """What else could not be read, by any check or of the locks; it comes last."""
        locks = Locks(self._look.client, self._keys)
        locks.all()
        locks.count_forced()
        for key, why in (self._look.refused | locks.reader.unreadable).items():
            if key not in self._wrong:
                yield Finding(
                    "unreadable",
                    "problem",
                    f"{key} cannot be read: {why}",
                    NO_USE,
                    command("RENAME", key, key + ASIDE),
                )

    def _expected(self) -> dict[str, str]:
        """Of all keys whose names are known: the types that they should have."""
        look, keys = self._look, self._keys
        listed = map(named, look.one("SMEMBERS", keys.queues()) or ())
        look.queues = sorted(map(keys.queue_name, listed))
        look.workers = sorted(look.one("SMEMBERS", keys.workers()) or ())
        serving = look.many((("HGET", key, "queues") for key in look.workers), "consumers")
        locks = list(map(named, look.one("ZRANGE", keys.locks(), 0, -1) or ()))
        stem = keys.worker("")
        known: dict[tuple[str, ...], Iterable[tuple[str, ...]]] = {
            (): [()],
            ("queue",): [(q,) for q in {*look.queues, *map(whole_queue, look.queues)}],
            ("name",): [(named(key).removeprefix(stem),) for key in look.workers],
            ("service",): [(service_of(named(each).split(",")),) for each in serving if each],
            ("lock",): [(lock,) for lock in locks],
            ("kind", "name"): list(map(keys.lock_name, locks)),
        }
        return {
            getattr(keys, entry.name)(*values): entry.type
            for entry in catalogue()
            if entry.type != "channel"
            for values in known.get(entry.parameters, ())
        }


def _is_text(name: str) -> bool:
    return re.search("[\udc80-\udcff]", name) is None
