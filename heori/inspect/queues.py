"""Queues and the consumers of them, as they are registered in Redis."""

from collections.abc import Iterable, Mapping, Sequence

from heori.inspect.reader import RedisReader
from heori_common.errors import cut
from heori_common.protocol.commands import QueueCounts
from heori_common.protocol.keys import TENANT, whole_queue

# A consumer's record, or a stock worker's, by RQ's names of the fields.
ConsumerRecord = dict[str, str]

MOST_STANDSTILLS = 5  # consumers that are named
MOST_REFUSALS = 5


def read_queues(reader: RedisReader) -> dict[str, QueueCounts]:
    """How many jobs are where, of all queues that are listed, by name; tenants' have their own.

    Raises:
        RedisUnavailable, RedisRefused: as `RedisReader`.
    """
    queues = reader.read(reader.commands.queues())
    return _read(reader, queues or [])


def read_one(reader: RedisReader, queue: str) -> QueueCounts:
    """The same of one queue with its tenants, or of one of these, such as orders@@acme.

    Raises:
        RedisUnavailable, RedisRefused: as `RedisReader`.
    """
    known = reader.read(reader.commands.queues()) or []
    counts = _read(reader, [queue, *(name for name in known if name.startswith(queue + TENANT))])
    return add_up(list(counts.values()))


def _read(reader: RedisReader, queues: Sequence[str]) -> dict[str, QueueCounts]:
    commands = reader.commands
    counts = reader.read_many([command for queue in queues for command in commands.counts(queue)])
    size = len(counts) // max(1, len(queues))
    return {
        queue: QueueCounts(*counts[size * number : size * (number + 1)])
        for number, queue in enumerate(queues)
    }


def with_tenants(queues: Iterable[str]) -> dict[str, list[str]]:
    """The names of queues, each with its own and those of its tenants' among these."""
    found: dict[str, list[str]] = {}
    for name in queues:
        found.setdefault(whole_queue(name) or name, []).append(name)
    return found


def add_up(counts: Sequence[QueueCounts]) -> QueueCounts:
    """The jobs of a queue and of its tenants; its limit holds for each of these alone."""

    def all_of(field: str) -> int | None:
        return total(getattr(each, field) for each in counts)

    return QueueCounts(
        all_of("waiting"),
        all_of("scheduled"),
        all_of("running"),
        all_of("finished"),
        all_of("failed"),
        counts[0].limit,
        all_of("blocked"),
    )


def total(numbers: Iterable[int | None]) -> int | None:
    """Their sum; None when one of them is not known."""
    found = list(numbers)
    known = [number for number in found if number is not None]
    return sum(known) if len(known) == len(found) else None


def read_oldest(reader: RedisReader, queues: Iterable[str], now: float) -> dict[str, float]:
    """Seconds for which the next job of each of these queues has waited, where that is known.

    Args:
        now: the server's time, in epoch seconds.

    Raises:
        RedisUnavailable, RedisRefused: as `RedisReader`.
    """
    names, commands = list(queues), reader.commands
    first = reader.read_many([commands.next_job(name) for name in names])
    jobs = {name: job for name, job in zip(names, first, strict=True) if job is not None}
    since = reader.read_many([commands.enqueued_at(job) for job in jobs.values()])
    return {
        name: max(0.0, now - moment.timestamp())
        for name, moment in zip(jobs, since, strict=True)
        if moment is not None
    }


def read_consumers(reader: RedisReader) -> dict[str, ConsumerRecord]:
    """The records of all consumers and stock workers that are registered, by name.

    Raises:
        RedisUnavailable, RedisRefused: as `RedisReader`.
    """
    names = reader.read(reader.commands.consumers()) or []
    records = reader.read_many([reader.commands.consumer(name) for name in names])
    return {name: record for name, record in zip(names, records, strict=True) if record}


def read_lives(reader: RedisReader, names: Iterable[str]) -> dict[str, int | None]:
    """In how many seconds the record of each of these ends, unless it shows again that it lives.

    None where it never does. The server counts them, whatever the clock of a consumer says.

    Raises:
        RedisUnavailable, RedisRefused: as `RedisReader`.
    """
    asked = list(names)
    lives = reader.read_many([reader.commands.life(name) for name in asked])
    return {
        name: None if life is None or life < 0 else life
        for name, life in zip(asked, lives, strict=True)
    }


def at_standstill(records: dict[str, ConsumerRecord]) -> dict[str, str]:
    """The consumers whose slots all wait for jobs of their own queues; and which queues."""
    return {
        name: queues
        for name, record in records.items()
        if (queues := record.get("heori_waits_for", ""))
    }


def describe_refusals(records: Mapping[str, ConsumerRecord]) -> list[str]:
    """A line for each queue of which a consumer takes no jobs; of many, the first few."""
    refused = [
        f"{name} takes no jobs of {each}"
        for name, record in records.items()
        for each in record.get("heori_refuses", "").splitlines()
    ]
    lines = [f"{cut(each, 500)}." for each in refused[:MOST_REFUSALS]]
    if (others := len(refused) - len(lines)) > 0:
        lines.append(f"{others:,} more queues are refused by their consumers.")
    return lines


def describe_standstills(waits_for: Mapping[str, str]) -> list[str]:
    """A line for each consumer whose slots all wait, given the queues; of many, the first few."""
    lines = [
        f"All slots of {name} wait for jobs of {queues}: start another consumer, or let this one "
        "lend more slots (HEORI_LEND_SLOTS)."
        for name, queues in list(waits_for.items())[:MOST_STANDSTILLS]
    ]
    if (others := len(waits_for) - len(lines)) > 0:
        lines.append(f"So do those of {others:,} more.")
    return lines
