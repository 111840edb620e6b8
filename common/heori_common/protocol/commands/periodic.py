"""Periodic jobs: consumers tell which entries they know, and the leader sends their ticks."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal, NamedTuple, cast

from heori_common.current_job import TICK
from heori_common.periodic.entry import ScheduleEntry, version_of
from heori_common.protocol.commands.builder import Builders, Command, text, unpack
from heori_common.protocol.meta import encode_meta

Forgotten = Literal["done", "lives", ""]  # what came of asking, see forget_entry.lua


def _meta_of_tick(tick_ms: int) -> bytes:
    return encode_meta({TICK: datetime.fromtimestamp(tick_ms / 1000, UTC).isoformat()})


class EntryState(NamedTuple):
    """The last tick of an entry that was dealt with, in ms, and whether it is paused."""

    last: int
    is_paused: bool


class ScheduleLook(NamedTuple):
    """What a leader is to send.

    Attributes:
        now: the server's time, in ms.
        versions: those that hold.
        entries: theirs, packed, the newest last; None when they are known.
        states: of the known entries, by name.
    """

    now: int
    versions: str
    entries: Sequence[bytes] | None
    states: Mapping[str, EntryState]


class Ticks(NamedTuple):
    """What is to be sent of one entry.

    Attributes:
        last: the last tick before, as it is known; None for a job that a person has asked for.
        jobs: id and time of each job.
        missed: ticks that are left out.
        up_to: the last tick that is dealt with thereby.
    """

    entry: ScheduleEntry
    last: int | None
    jobs: Sequence[tuple[str, int]]
    missed: int = 0
    up_to: int = 0


class TicksDone(NamedTuple):
    """How many ticks of an entry were sent, and how many not."""

    sent: int
    missed: int
    skipped: int


class PublishedVersion(NamedTuple):
    """The entries of an application.

    Attributes:
        since: when they appeared, in ms.
        lives: whether a living consumer has them, so that they are sent.
        entries: packed.
    """

    since: int
    lives: bool
    entries: Sequence[bytes]


class PublishedSchedule(NamedTuple):
    """The entries of a service.

    Attributes:
        now: the server's time, in ms.
    """

    now: int
    versions: Sequence[PublishedVersion]


class PeriodicCommands(Builders):
    """Periodic jobs."""

    def publish_schedule(
        self,
        service: str,
        modules: Sequence[str],
        entries: Sequence[tuple[str, bytes]],
        *,
        consumer: str,
        ttl: float,
    ) -> Command[int]:
        """Tell which entries the code of a consumer has.

        Args:
            modules: of its tasks, by which its application is known.
            entries: name of each, and itself, packed.
            ttl: seconds for which the consumer counts as living.
        """
        packed = [entry for _, entry in entries]
        return self._call(
            "publish_schedule",
            self._keys_of(service),
            int,
            service=service,
            version=version_of(modules, packed),
            consumer=consumer,
            entries=packed,
            names=[name for name, _ in entries],
            ttl_ms=round(ttl * 1000),
        )

    def retract_schedule(
        self,
        service: str,
        modules: Sequence[str],
        entries: Sequence[tuple[str, bytes]],
        *,
        consumer: str,
    ) -> Command[int]:
        """Tell that a consumer goes, whose entries these are; reads 1 if it was known."""
        version = version_of(modules, [entry for _, entry in entries])
        return Command(("ZREM", self.keys.schedule_versions(service), f"{version} {consumer}"), int)

    def look_at_schedule(
        self, service: str, known: str, timings: Mapping[str, str]
    ) -> Command[ScheduleLook]:
        """See what a leader is to send, and begin with what is new.

        Args:
            known: the versions whose entries it has.
            timings: of these, by name.
        """

        def parse(reply: bytes) -> ScheduleLook:
            now, versions, entries, states = unpack(reply)
            return ScheduleLook(
                now,
                text(versions),
                None if entries is False else list(entries),
                {text(name): EntryState(*state) for name, state in dict(states).items()},
            )

        return self._call(
            "look_at_schedule",
            self._keys_of(service),
            parse,
            service=service,
            known=known,
            timings=timings,
        )

    def send_ticks(self, ticks: Sequence[Ticks]) -> Command[list[TicksDone | None]]:
        """Send jobs of entries; reads what was done of each, None where it was refused."""
        entries = [
            [
                each.entry.name,
                False if each.last is None else each.last,
                each.entry.timing_text,
                each.entry.rules.overlap,
                each.entry.queue,
                each.entry.fields,
                [
                    (job_id, tick, None if each.last is None else _meta_of_tick(tick))
                    for job_id, tick in each.jobs
                ],
                each.missed,
                each.up_to,
            ]
            for each in ticks
        ]
        return self._call(
            "send_ticks",
            [self.keys.queues()],
            lambda reply: [TicksDone(*done) if done else None for done in unpack(reply)],
            entries=entries,
        )

    def pause_entry(self, name: str, *, paused: bool) -> Command[int]:
        """Pause an entry, or let it go on; reads 1 if that is new, else 0."""
        return self._call("pause_entry", [self.keys.entry(name)], int, paused=paused)

    def forget_entry(self, service: str, name: str) -> Command[Forgotten]:
        """Forget an entry that no living consumer of a service has."""

        def parse(reply: bytes) -> Forgotten:
            return cast("Forgotten", text(reply))

        keys = [*self._keys_of(service), self.keys.entry(name)]
        return self._call("forget_entry", keys, parse, service=service, entry=name)

    def schedules(self) -> Command[list[str]]:
        """The services that have periodic jobs."""
        return Command(("SMEMBERS", self.keys.schedules()), lambda reply: sorted(map(text, reply)))

    def read_schedule(self, service: str) -> Command[PublishedSchedule]:
        """The entries of a service."""

        def parse(reply: bytes) -> PublishedSchedule:
            now, versions = unpack(reply)
            return PublishedSchedule(now, [PublishedVersion(*each) for each in versions])

        keys = [self.keys.schedule(service), self.keys.schedule_versions(service)]
        return self._call("read_schedule", keys, parse)

    def entry_state(self, name: str) -> Command[dict[str, str]]:
        """What is known of an entry; empty when nothing is."""
        return Command(
            ("HGETALL", self.keys.entry(name)),
            lambda reply: {
                field.decode("utf-8", "replace"): value.decode("utf-8", "replace")
                for field, value in reply.items()
            },
        )

    def _keys_of(self, service: str) -> list[str]:
        return [
            self.keys.schedules(),
            self.keys.schedule(service),
            self.keys.schedule_versions(service),
        ]
