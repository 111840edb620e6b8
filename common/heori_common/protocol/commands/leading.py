"""What the leader of a service sends, and whoever would be the next one."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from heori_common.protocol.commands.builder import (
    EXECUTION_MARK,
    Builders,
    Command,
    text,
    unpack,
)
from heori_common.protocol.commands.delivery import UNWATCHED_INTERVALS

CANCELED = b"canceled"  # the kind of what is told to a consumer: jobs of its were cancelled, by id


class Lead(NamedTuple):
    """Whether a consumer leads, and how many are registered in all.

    Attributes:
        taken_back: hand-overs and wake-ups that were not confirmed, and went to others.
        pause: seconds until the next one may have to, or this is to be asked again; None if all is
            confirmed.
        are_left: whether jobs have ended and others still wait for them.
        has_schedule: whether the service has periodic jobs.
    """

    leads: bool
    consumers: int
    taken_back: int = 0
    pause: float | None = None
    are_left: bool = False
    has_schedule: bool = False


class LeadingCommands(Builders):
    """One consumer leads a service, and looks for all of it what there is to do."""

    def lead(
        self,
        service: str,
        *,
        consumer: str,
        ttl: float,
        interval: float,
        max_deliveries: int,
        consumers: int = 0,
        takes_back: bool = True,
    ) -> Command[Lead]:
        """Lead a service if no other consumer does, and take back what nobody has confirmed.

        Args:
            ttl: seconds after which another may lead, unless this is called again; 0 lets one do so
                at once.
            interval: seconds between two looks of the leader for expired leases.
            consumers: how many are registered, as far as known; 0 to have them counted.
            takes_back: whether consumers could have confirmed what is overdue, so that it is taken
                back.
        """
        keys = [self.keys.leader(service), self.keys.watching(service), self.keys.workers()]

        def parse(reply: bytes) -> Lead:
            leads, known, taken_back, pause, *marks = unpack(reply)
            return Lead(leads, known, taken_back, None if pause is False else pause, *marks)

        return self._call(
            "lead",
            keys,
            parse,
            service=service,
            takes_back=takes_back,
            ttl_ms=round(ttl * 1000),
            watch_ms=round(interval * 1000) * UNWATCHED_INTERVALS,
            consumers=consumers,
            **self._giving_back(consumer, max_deliveries),
        )

    def take_back_overdue(
        self, service: str, *, consumer: str, max_deliveries: int
    ) -> Command[int]:
        """Take back what nobody has confirmed, whoever leads; reads how many that were."""
        return self._call(
            "take_back_overdue",
            [],
            int,
            service=service,
            **self._giving_back(consumer, max_deliveries),
        )

    def take_back_missed(
        self, service: str, tokens: Sequence[str], *, consumer: str, max_deliveries: int
    ) -> Command[int]:
        """Take back what came of a consumer's offers and it has missed; reads how many."""
        return self._call(
            "take_back_missed",
            [],
            int,
            service=service,
            tokens=[EXECUTION_MARK + token for token in tokens],
            **self._giving_back(consumer, max_deliveries),
        )

    def led_by(self, service: str) -> Command[tuple[int, str] | None]:
        """How many consumers are registered, and who leads a service; None when nobody does."""

        def parse(reply: bytes | None) -> tuple[int, str] | None:
            consumers, _, name = (reply or b"").partition(b" ")
            return (int(consumers), name.decode()) if consumers.isdigit() else None

        return Command(("GET", self.keys.leader(service)), parse)

    def leased(self, queues: Sequence[str]) -> Command[list[str]]:
        """Which of these queues have leases, as far as claims have told.

        It reads all that have any, mostly few: to ask about ten thousand would take 8 ms here.
        """

        def parse(reply: Iterable[bytes]) -> list[str]:
            names = set(map(text, reply))
            return [queue for queue in queues if queue in names]

        return Command(("SMEMBERS", self.keys.leased()), parse)

    def tell_canceled(self, queue: str, *, cursor: str = "0") -> Command[str]:
        """Tell consumers which of their claimed jobs were cancelled, for some of a queue's.

        Reads the cursor for the next call; "0" when all were looked at.
        """
        return self._call(
            "tell_canceled",
            [self.keys.wip(queue)],
            bytes.decode,
            cursor=cursor,
            mark=EXECUTION_MARK,
            kind=CANCELED,
            most_looked_at=500,
        )
