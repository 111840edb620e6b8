"""Who shares a queue, and in which proportions."""

from collections.abc import Mapping
from dataclasses import dataclass

from heori.inspect.queues import read_queues
from heori.inspect.reader import RedisReader
from heori_common.errors import cut
from heori_common.names import check_tenant
from heori_common.protocol.commands import LEAST_WEIGHT, MOST_WEIGHT, QueueCounts
from heori_common.protocol.keys import TENANT, tenant_queue


@dataclass(frozen=True, slots=True)
class TenantRow:
    """A tenant of a queue; without a name, the jobs of no tenant."""

    tenant: str
    waiting: int | None
    running: int | None
    failed: int | None
    weight: float
    share: float | None  # of what is claimed while all wait that do now; None for who does not


def read_tenants(reader: RedisReader, queue: str) -> list[TenantRow]:
    """All tenants of a queue, and first the jobs of none; nobody where it has none.

    Raises:
        RedisUnavailable, RedisRefused: as `RedisReader`.
    """
    counts = read_queues(reader)
    weights = reader.read(reader.commands.weights(queue)) or {}
    stem = f"{queue}{TENANT}"
    known = {name.removeprefix(stem) for name in counts if name.startswith(stem)}
    if not known | weights.keys():
        return []
    names = ["", *sorted(known | weights.keys())]
    of = {name: counts.get(tenant_queue(queue, name)) for name in names}
    total = sum(weights.get(name, 1.0) for name in names if _waits(of[name]))
    return [_row(name, of[name], weights.get(name, 1.0), total) for name in names]


def set_weights(reader: RedisReader, queue: str, weights: Mapping[str, float]) -> None:
    """Give tenants so many turns for one of another.

    Raises:
        ValueError: a name or a number is none; the message says what is needed.
        RedisUnavailable, RedisRefused: as `RedisReader`.
    """
    for tenant, weight in weights.items():
        check_tenant(tenant)
        if not LEAST_WEIGHT <= weight <= MOST_WEIGHT:
            raise ValueError(
                f"{cut(tenant)}: a number from {LEAST_WEIGHT:g} to {MOST_WEIGHT:g} is needed"
            )
    reader.client.execute_many(reader.commands.set_weights(queue, weights))


def _waits(counts: QueueCounts | None) -> bool:
    return counts is not None and bool(counts.waiting)


def _row(tenant: str, of: QueueCounts | None, weight: float, total: float) -> TenantRow:
    share = weight / total if _waits(of) else None
    if of is None:
        return TenantRow(tenant, 0, 0, 0, weight, share)
    return TenantRow(tenant, of.waiting, of.running, of.failed, weight, share)
