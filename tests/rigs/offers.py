"""Consumers that wait for jobs, as the server sees them, and what they are told."""

from typing import Any

import msgpack

from heori_common.protocol.commands import LEASE_MARGIN_S, HandOver, Offer, read_hand_over
from heori_common.protocol.keys import service_of
from tests.rigs.script_bench import Bench


class Idle:
    """A consumer that waits, and what it is told."""

    def __init__(self, bench: Bench, name: str, *queues: str) -> None:
        self.bench = bench
        self.name = name
        self.queues = queues or ("default",)
        self.channel = bench.redis.pubsub()
        self.channel.subscribe(bench.commands.keys.told(name))
        assert self.channel.get_message(timeout=60)["type"] == "subscribe"
        self.offers: list[Offer] = []

    def offer(self, slots: int = 1, *, max_payload: int = 1_000_000, **more: Any) -> None:
        """Find nothing, and leave an offer."""
        token = f"{self.name}{len(self.offers):04x}"
        offer = Offer(self.name, token, slots, 30.0, LEASE_MARGIN_S, max_payload)
        claimed = self.bench.look(
            *self.queues, consumer=self.name, offer=offer, last_offers=self.offers[-1:], **more
        )
        assert claimed.claims == []
        self.offers.append(offer)

    def told(self) -> HandOver | None:
        """The next that it is told, if there is one."""
        message = self.channel.get_message(timeout=0.5)
        if message is None:
            return None
        kind, *rest = msgpack.unpackb(message["data"], raw=True)
        assert kind == b"handed"
        return read_hand_over(*rest)

    def hears(self) -> HandOver:
        """What it must be told."""
        told = self.told()
        assert told is not None
        return told


def handed(bench: Bench, queue: str = "default") -> int:
    count: int = bench.redis.zcard(bench.commands.keys.handed(service_of([queue])))
    return count


def overdue(bench: Bench, *queues: str) -> None:
    """As if nobody had confirmed what the service of these was told, for a long time."""
    key = bench.commands.keys.handed(service_of(queues or ["default"]))
    for told in bench.redis.zrange(key, 0, -1):
        bench.redis.zadd(key, {told: 0})
