"""What there is to know of the thing in one row."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any

from heori import Party, formats
from heori.inspect import job as job_details
from heori.inspect.calls import as_text
from heori.inspect.consumers import ask_auto
from heori.inspect.locks import Locks
from heori.inspect.overview import ConsumerRow, LockRow, QueueRow, WorkerRow
from heori.inspect.queues import read_lives
from heori.inspect.reader import RedisReader
from heori.inspect.schedule import EntryView
from heori.top.jobs import ClaimedJob
from heori_common.protocol.commands import HEARTBEAT_TTL_S
from heori_common.settings import Settings

Details = dict[str, str]

MOST_MOVES = 5  # of a consumer of the model auto, the latest
MOST_PARTIES = 10  # of those who hold a lock, and of those who wait for it
# Figures that are no plain numbers, by the names of their fields.
_WRITTEN: dict[str, Callable[[Any], str]] = {
    "cores": formats.cores,
    "memory": formats.size,
    "gil_loss": formats.share,
    "speedup": formats.times,
    "oldest": formats.duration,
    "run": formats.duration,
    "cpu": formats.duration,
    "queued": formats.duration,
    "wait": formats.duration,
    "hold": formats.duration,
    "jobs_per_second": formats.count,
    "acquired_per_second": formats.count,
    "size": formats.pool,
}


def read_details(reader: RedisReader, settings: Settings, about: Any) -> Details:
    """All that is known of what a row is about, by name, for people.

    Args:
        settings: say which arguments of jobs may be decoded.

    Raises:
        RedisUnavailable, RedisRefused: as `RedisReader`.
    """
    match about:
        case ClaimedJob():
            return _job(reader, settings, about)
        case ConsumerRow():
            return _figures(about) | _auto(reader, about) | _record(reader, about.consumer)
        case WorkerRow():
            record = _record(reader, about.consumer)
            return (
                _figures(about)
                | _states(about.states)
                | {f"consumer: {k}": v for k, v in record.items()}
            )
        case QueueRow():
            return _queue(reader, about)
        case LockRow():
            return _figures(about) | _parties(reader, about)
        case EntryView():
            return {k: _said(v) for k, v in about.record().items() if v is not None}
    return _figures(about)  # of a task


def _job(reader: RedisReader, settings: Settings, job: ClaimedJob) -> Details:
    found = job_details.read(reader, settings, job.id)
    if found is None:
        problems = "\n".join(reader.problems())
        return {"id": job.id, "status": problems or "it is gone: no job of this id is there"}
    told = {
        name.replace("_", " "): _of_job(name, value)
        for name, value in found.record().items()
        if value not in (None, "")
    }
    if job.slot:
        worker, _, slot = job.slot.partition("/")
        told["slot"] = f"{slot} of worker {worker}"
        told |= _states(job.states)
    if job.gil_loss is not None:
        told["GIL loss"] = formats.share(job.gil_loss)
    return told


def _states(states: Mapping[str, float]) -> Details:
    """What the threads of a worker do that have a job."""
    return {f"threads: {state}": formats.share(part) for state, part in states.items()}


def _of_job(name: str, value: Any) -> str:
    if name in ("waited", "ran"):
        return formats.duration(value)
    if name == "progress":
        return formats.share(value)
    if name == "actions":
        return ", ".join(value)
    if name.endswith(("_at", "_since")):
        return formats.moment(datetime.fromisoformat(value))
    return value if isinstance(value, str) else as_text(value)


def _queue(reader: RedisReader, row: QueueRow) -> Details:
    following = reader.read(reader.commands.next_job(row.queue))
    told = _figures(row)
    if following is not None:
        told["next job"] = following
        job = reader.read(reader.commands.job(following))
        if job is not None:
            told["next call"] = job.description
    return told


def _record(reader: RedisReader, consumer: str) -> Details:
    record = reader.read(reader.commands.consumer(consumer))
    if not record:
        return {"record": "it is gone"}
    life = read_lives(reader, [consumer])[consumer]
    if life is not None and "heori_metrics" in record:
        record["heartbeat"] = formats.age(max(0, HEARTBEAT_TTL_S - life))
    return {name: value for name, value in record.items() if value}


def _auto(reader: RedisReader, row: ConsumerRow) -> Details:
    """Why a consumer of the model auto is as large as it is, as it says itself."""
    if not row.size:
        return {}
    record = reader.read(reader.commands.consumer(row.consumer))
    told = ask_auto(row.consumer, record) if record else None
    if told is None:
        return {}
    moves = {
        f"move {formats.age(move.ago)}": f"{move.reason}; {move.came_of}".rstrip("; ")
        for move in told.moves[:MOST_MOVES]
    }
    held_up = {"held up": f"{told.held_up}: more slots are no use"} if told.held_up else {}
    apart = {"kept apart": told.apart} if told.apart else {}
    return ({"jobs/s with": told.what_if} if told.estimates else {}) | held_up | apart | moves


def _parties(reader: RedisReader, lock: LockRow) -> Details:
    named = f"{lock.kind} {lock.lock}"
    for state in Locks(reader.client, reader.commands.keys).named(lock.lock, None):
        if str(state) == named:
            return _line("holder", state.holders, state.now) | _line(
                "waiter", state.waiters, state.now
            )
    return {}


def _line(role: str, parties: tuple[Party, ...], now: float) -> Details:
    told = {
        f"{role} {number}": f"{party} since {formats.duration(max(0.0, now - party.since))}"
        for number, party in enumerate(parties[:MOST_PARTIES], 1)
    }
    if len(parties) > MOST_PARTIES:
        told[f"{role}s"] = f"and {formats.count(len(parties) - MOST_PARTIES)} more"
    return told


def _figures(row: Any) -> Details:
    """The fields of a row."""
    told = {each.name: getattr(row, each.name) for each in fields(row)}
    return {
        name.replace("_per_second", "/s").replace("_", " ").replace("gil", "GIL"): _WRITTEN.get(
            name, _said
        )(value)
        for name, value in told.items()
        if value not in (None, "", ()) and not isinstance(value, Mapping)
    }


def _said(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return f"{value:,}"
    return str(value)
