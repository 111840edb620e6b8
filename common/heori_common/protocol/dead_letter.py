"""Dead letters: what a failed registry and a job's record tell of a failure, damaged or not."""

import math
import re
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from heori_common.protocol.commands import FAILURE_TTL_S, Record
from heori_common.protocol.job import MalformedJob, parse_time
from heori_common.protocol.payload import BadPayload, Call, decode_call, decode_failure
from heori_common.protocol.unpickling import Pickles

# What the record of a job tells of its deliveries; one that is replayed begins without.
EVIDENCE_FIELDS = (
    "heori_death_signal",
    "heori_exit_code",
    "heori_peak_memory",
    "heori_oom_kill",
    "heori_last_log",
    "heori_died_at",
)
UNKNOWN_FIELDS = ("heori_unknown", "heori_unknown_since", "heori_unknown_to")  # put_off.lua's
# How it was delivered, whatever came of it.
_HISTORY_FIELDS = (
    "heori_deliveries",
    "heori_earlier",
    "heori_execution",
    "heori_settled",
    "heori_vanished",
    "heori_restarts",
    "heori_suspicion",
    "heori_recalled",
    "heori_begun",
)
DELIVERY_FIELDS = (*_HISTORY_FIELDS, *EVIDENCE_FIELDS, *UNKNOWN_FIELDS)

FAILED_AT_FIELDS = ("ended_at", "failure_ttl")  # what `DeadLetter.failed_at` reads
CALL_FIELDS = ("data",)  # what `DeadLetter.call` reads

_TRACEBACK = "Traceback (most recent call last):"
# Behind the frames of a traceback, which are indented: the exception, with the first line of what
# it says. That of a group of exceptions stands behind a bar.
_EXCEPTION = re.compile(r"^(?=\S).+$", re.MULTILINE)
_GROUP = re.compile(r"^  \| (?=\S)(.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An entry of a queue's failed registry, with what is left of its job.

    Nothing here raises because a record is damaged, except `call`.
    """

    id: str
    queue: str
    expires: float  # epoch seconds, as in the registry; infinite or -1 for never
    record: Record

    @property
    def damage(self) -> str | None:
        """What keeps its job from being read at all."""
        match self.record.kind:
            case "hash":
                return None
            case "none":
                return "its job is gone; only the id is left"
            case kind:
                return f"the key of its job holds a {kind}, not a hash"

    @property
    def ending(self) -> str:
        """How it came here, in a word: failed, stopped, died with its worker, or unreadable."""
        if self.damage:
            return "unreadable"
        if any(name in self.record.fields for name in EVIDENCE_FIELDS):
            return "died"
        return "stopped" if self.text("status") == "stopped" else "failed"

    @property
    def deliveries(self) -> int | None:
        """How often it was delivered, in all of its tries; None when nothing tells."""
        last, earlier = self.integer("heori_deliveries"), self.integer("heori_earlier")
        return None if last is None else last + (earlier or 0)

    @property
    def ended_at(self) -> datetime | None:
        """When it failed, as its job says; None when that does not."""
        with suppress(MalformedJob):
            return parse_time("ended_at", self._bytes("ended_at"))
        return None

    @property
    def failed_at(self) -> datetime | None:
        """When it failed; None when nothing tells."""
        if self.damage:
            return None
        if ended := self.ended_at:
            return ended
        ttl = self.integer("failure_ttl")
        with suppress(OverflowError):
            if (expires := self.expires_at) and ttl != -1:
                return expires - timedelta(seconds=FAILURE_TTL_S if ttl is None else ttl)
        return None

    @property
    def expires_at(self) -> datetime | None:
        """When Redis forgets it; None for never."""
        if not 0 < self.expires < math.inf:
            return None
        with suppress(ValueError, OverflowError, OSError):  # beyond all calendars
            return datetime.fromtimestamp(self.expires, UTC)
        return None

    @property
    def traceback(self) -> str | None:
        """The text of its latest failure."""
        text = self.record.result.get("exc_string")
        if isinstance(text, int):
            return f"(a traceback of {text:,} bytes)"
        return decode_failure(text) if text else None

    @property
    def reason(self) -> str:
        """Why it failed, in one line: the exception, where there is a traceback."""
        return self.damage or _raised(self.traceback or "")[:300] or "it left no traceback"

    @property
    def evidence(self) -> dict[str, str | int]:
        """Everything else that Heori noted about it, by name, less the prefix."""
        numbers = ("heori_exit_code", "heori_peak_memory")
        told: dict[str, str | int] = {}
        for name in self.record.fields:
            if name.startswith("heori_") and name not in (*_HISTORY_FIELDS, "heori_types"):
                number = self.integer(name) if name in numbers else None
                told[name.removeprefix("heori_")] = self.text(name) if number is None else number
        return told

    def call(self, accept: Collection[str], limit: int, pickles: Pickles) -> Call:
        """What it was to call.

        Args:
            accept: serializers that may be read, as for `decode_call`.
            limit: bytes of a payload.
            pickles: how pickles are read.

        Raises:
            BadPayload: nobody can tell; the message says why.
        """
        if self.damage:
            raise BadPayload(self.damage)
        data = self.record.fields.get("data")
        if data is None:
            raise BadPayload("its record has no data field")
        if isinstance(data, int):
            raise BadPayload(f"its payload of {data:,} bytes is over the limit of {limit:,}")
        return decode_call(data, accept, limit, pickles)

    @property
    def meta(self) -> bytes | None:
        """What travelled with it, as it stands."""
        return self._bytes("meta")

    def text(self, name: str) -> str:
        """A field as text; empty when there is none."""
        value = self.record.fields.get(name, b"")
        if isinstance(value, int):
            return f"({value:,} bytes)"
        return value.decode("utf-8", "backslashreplace")

    def integer(self, name: str) -> int | None:
        """A field as a whole number; None when it is none."""
        with suppress(ValueError):
            return int(self.text(name))
        return None

    def _bytes(self, name: str) -> bytes | None:
        value = self.record.fields.get(name)
        return value if isinstance(value, bytes) else None


def _raised(text: str) -> str:
    """The line of a traceback that names its exception; else the last line of the text."""
    if f"\n  + Exception Group {_TRACEBACK}" in f"\n{text}" and (group := _GROUP.search(text)):
        return group[1].strip()
    _, header, frames = text.rpartition(_TRACEBACK)
    if header and (exception := _EXCEPTION.search(frames, frames.find("\n") + 1)):
        return exception[0].strip()
    return text.strip().rpartition("\n")[2]
