"""Lists the jobs of one state, some at a time."""

from collections.abc import Mapping
from typing import NamedTuple

from heori_common.protocol.commands.builder import Builders, Command, text, unpack

KEPT_RESULTS = 10  # of a job, about, as end_job.lua keeps them


class Register(NamedTuple):
    """A key that lists jobs, in the order in which people want to see them."""

    key: str
    is_list: bool = False  # of a list the first element comes first, else the lowest score
    newest_first: bool = False  # the highest score comes first


class Listed(NamedTuple):
    """An entry of a register."""

    member: str  # the id of a job; of those that run, `id:execution`
    score: float  # 0 in a list


class ListingCommands(Builders):
    """Registers are read by pages."""

    def count_listed(self, register: Register) -> Command[int]:
        """How many jobs it lists."""
        return Command(("LLEN" if register.is_list else "ZCARD", register.key), int)

    def listed(self, register: Register, first: int, count: int) -> Command[list[Listed]]:
        """So many entries from a place on, which counts from 0."""
        last = first + count - 1
        if register.is_list:
            return Command(
                ("LRANGE", register.key, first, last),
                lambda reply: [Listed(text(member), 0.0) for member in reply],
            )
        order = ("REV",) if register.newest_first else ()
        return Command(
            ("ZRANGE", register.key, first, last, *order, "WITHSCORES"),
            lambda reply: [Listed(text(member), float(score)) for member, score in reply],
        )

    def place_listed(self, register: Register, member: str, most: int) -> Command[int | None]:
        """The place of an entry; None when it is there no more.

        Args:
            most: entries of a list to look at: Redis compares each of them.
        """
        raw = _raw(member)
        if register.is_list:
            return Command(("LPOS", register.key, raw, "MAXLEN", most), lambda reply: reply)
        name = "ZREVRANK" if register.newest_first else "ZRANK"
        return Command((name, register.key, raw), lambda reply: reply)

    def count_before(self, register: Register, score: float) -> Command[int]:
        """How many entries of a sorted set come before all of that score."""
        edges = (f"({score!r}", "+inf") if register.newest_first else ("-inf", f"({score!r}")
        return Command(("ZCOUNT", register.key, *edges), int)

    def limit_names(self) -> Command[list[str]]:
        """The names of all of RQ's rate limits, for which jobs may wait."""
        return Command(
            ("SMEMBERS", self.keys.limits()), lambda reply: sorted(text(name) for name in reply)
        )

    def is_parked(self, queue: str, job_id: str) -> Command[bool]:
        """Whether a deferred job waits for a lock, a rate or its task, and not for other jobs."""
        return Command(
            ("ZSCORE", self.keys.parked(queue), _raw(job_id)), lambda reply: reply is not None
        )

    def some_of(self, key: str, most: int) -> Command[list[str]]:
        """Some jobs of a set of them, such as those that wait for another."""
        return Command(
            ("SRANDMEMBER", key, most), lambda reply: sorted(text(each) for each in reply)
        )

    def count_of(self, key: str) -> Command[int]:
        """How many jobs a set has."""
        return Command(("SCARD", key), int)

    def some_inputs(self, job_id: str, most: int) -> Command[list[str]]:
        """Some names of what is kept of those for which a job of a flow waited, see flows.lua."""
        return Command(
            ("HRANDFIELD", self.keys.inputs(job_id), most),
            lambda reply: sorted(text(each) for each in reply),
        )

    def holds_lock(self, lock: str, job_id: str) -> Command[bool]:
        """Whether a job has the lock of that key."""
        return Command(
            ("ZSCORE", self.keys.holders(lock), f"job:{job_id}"), lambda reply: reply is not None
        )

    def place_in_line(self, lock: str, job_id: str) -> Command[int | None]:
        """How many wait for the lock of that key before a job; None if it does not wait for it."""
        return Command(("ZRANK", self.keys.waiters(lock), f"job:{job_id}"), lambda reply: reply)

    def results(self, job_id: str, most_value: int) -> Command[list[Mapping[str, bytes | int]]]:
        """The results that are kept of a job, the latest first, each with its `id`.

        Args:
            most_value: bytes; a longer value is its length instead.
        """

        def parse(reply: bytes) -> list[Mapping[str, bytes | int]]:
            return [
                {"id": entry_id}
                | {
                    field.decode("utf-8", "backslashreplace"): value
                    for field, value in zip(fields[::2], fields[1::2], strict=True)
                }
                for entry_id, fields in unpack(reply)
            ]

        return self._call(
            "read_results",
            [],
            parse,
            id=job_id,
            most=KEPT_RESULTS,
            most_value=most_value,
        )


def _raw(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")
