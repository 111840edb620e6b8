"""The periodic jobs of a Redis: what is published of them, and how they stand."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from heori.inspect.reader import RedisReader
from heori_common.errors import short
from heori_common.periodic.entry import ScheduleEntry
from heori_common.protocol.commands import Command, Ticks
from heori_common.protocol.job import MalformedJob, parse_time

MOST_NAMED = 10


class NoSuchEntry(LookupError):
    """There is no periodic entry of that name; the message names some that there are."""


class StillSent(Exception):
    """An entry cannot be deleted, as a living consumer has it; the message says what to do."""


State = Literal["active", "paused", "nobody"]


@dataclass(frozen=True, slots=True)
class EntryView:
    """One periodic entry, for people.

    Attributes:
        state: "nobody" when no consumer lives that would send it.
        now: the server's time.
        last: when its last job was sent; None if there was none.
        next: its next tick; None when none will be sent as things stand.
        job: the id of the last job.
        outcome: its status, or "deleted"; empty if there was none.
        lives: whether a living consumer has it.
        sent, missed, skipped: ticks, in all.
    """

    entry: ScheduleEntry
    state: State
    now: datetime
    last: datetime | None
    next: datetime | None
    job: str
    outcome: str
    lives: bool
    sent: int
    missed: int
    skipped: int

    @property
    def ago(self) -> float | None:
        """Seconds since its last job was sent."""
        return (self.now - self.last).total_seconds() if self.last else None

    @property
    def ahead(self) -> float | None:
        """Seconds until its next tick."""
        return (self.next - self.now).total_seconds() if self.next else None

    def record(self) -> dict[str, Any]:
        """For scripts."""
        return {
            "name": self.entry.name,
            "task": self.entry.task,
            "timing": self.entry.timing_text,
            "queue": self.entry.queue,
            "catch_up": self.entry.rules.catch_up,
            "overlap": self.entry.rules.overlap,
            "state": self.state,
            "last": self.last.isoformat() if self.last else None,
            "next": self.next.isoformat() if self.next else None,
            "job": self.job or None,
            "outcome": self.outcome or None,
            "sent": self.sent,
            "missed": self.missed,
            "skipped": self.skipped,
        }


def read_entries(reader: RedisReader) -> list[EntryView]:
    """All entries of all services, by name."""
    services = reader.read(reader.commands.schedules()) or []
    found: dict[str, tuple[bool, int, ScheduleEntry, int]] = {}
    schedules = reader.read_many([reader.commands.read_schedule(each) for each in services])
    for service, schedule in zip(services, schedules, strict=True):
        if schedule is None:
            continue
        for version in schedule.versions:
            for entry in _unpacked(reader, service, version.entries):
                known = found.get(entry.name)
                # The same modules may be in several services: what is sent is what counts.
                if known is None or (version.lives, version.since) > known[:2]:
                    found[entry.name] = version.lives, version.since, entry, schedule.now
    states = reader.read_many([reader.commands.entry_state(name) for name in found])
    known_states = [state or {} for state in states]
    statuses = _statuses(reader, [state.get("job", "") for state in known_states])
    views = [
        _view(entry, state, now, status, lives=lives)
        for (lives, _, entry, now), state, status in zip(
            found.values(), known_states, statuses, strict=True
        )
        if lives or "removed" not in state
    ]
    return sorted(views, key=lambda view: view.entry.name)


def find_entry(reader: RedisReader, name: str) -> EntryView:
    """One entry.

    Raises:
        NoSuchEntry: there is none of that name.
    """
    views = {view.entry.name: view for view in read_entries(reader)}
    if name not in views:
        known = ", ".join(list(views)[:MOST_NAMED])
        there = f"There are: {known}" if known else "There are none."
        raise NoSuchEntry(f"there is no periodic job {short(name)} at {reader.address}\n{there}")
    return views[name]


def set_paused(reader: RedisReader, name: str, *, paused: bool) -> bool:
    """Let the ticks of an entry pass by, or send it again; returns whether that is new.

    Raises:
        NoSuchEntry: as `find_entry`.
    """
    find_entry(reader, name)
    return bool(reader.client.execute(reader.commands.pause_entry(name, paused=paused)))


def run_now(reader: RedisReader, name: str) -> tuple[str, str] | None:
    """Send the job of an entry now; returns its id and queue.

    None when the entry may not overlap and its last job still waits or runs.

    Raises:
        NoSuchEntry: as `find_entry`.
    """
    entry = find_entry(reader, name).entry
    job_id = entry.id_by_hand(uuid.uuid4().hex[:12])
    command = reader.commands.send_ticks([Ticks(entry, None, [(job_id, 0)])])
    [done] = reader.client.execute(command)
    return (job_id, entry.queue) if done is not None and done.sent else None


def delete(reader: RedisReader, name: str) -> None:
    """Forget an entry that nobody sends any more; it begins anew should a consumer have it again.

    Raises:
        NoSuchEntry: as `find_entry`.
        StillSent: see there.
    """
    refusal = StillSent(
        f"a consumer that lives has {short(name)}; take it out of the code, or pause it"
    )
    if find_entry(reader, name).lives:
        raise refusal
    for service in reader.client.execute(reader.commands.schedules()):
        if reader.client.execute(reader.commands.forget_entry(service, name)) == "lives":
            raise refusal


def _unpacked(reader: RedisReader, service: str, packed: Sequence[bytes]) -> list[ScheduleEntry]:
    entries = []
    for each in packed:
        try:
            entries.append(ScheduleEntry.unpack(each))
        except ValueError as error:
            reader.note(reader.commands.keys.schedule(service), error)
    return entries


def _statuses(reader: RedisReader, jobs: Sequence[str]) -> list[str]:
    asked: list[Command[str | None]] = [reader.commands.status(job) for job in jobs if job]
    replies = iter(reader.read_many(asked))
    return [(next(replies) or "") if job else "" for job in jobs]


def _view(
    entry: ScheduleEntry, state: dict[str, str], now: int, status: str, *, lives: bool
) -> EntryView:
    is_paused = "paused" in state
    coming = None
    if lives and not is_paused:
        after = max(_count(state, "last"), now)
        coming = datetime.fromtimestamp(entry.next_after(after) / 1000, UTC)
    gone = "deleted" if state.get("job") else ""
    return EntryView(
        entry,
        "paused" if is_paused else "active" if lives else "nobody",
        datetime.fromtimestamp(now / 1000, UTC),
        _moment(state.get("sent_at", "")),
        coming,
        state.get("job", ""),
        status or state.get("outcome", gone),
        lives,
        *(_count(state, name) for name in ("sent", "missed", "skipped")),
    )


def _count(state: dict[str, str], name: str) -> int:
    text = state.get(name, "")
    return int(text) if text.isdecimal() else 0


def _moment(text: str) -> datetime | None:
    try:
        return parse_time("sent_at", text.encode())
    except MalformedJob:  # anybody may have written it
        return None
