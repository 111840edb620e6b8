"""Which dead letters are meant; and what makes two errors one and the same."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from heori_common.printable import printable
from heori_common.protocol.dead_letter import CALL_FIELDS, FAILED_AT_FIELDS, DeadLetter
from heori_common.protocol.meta import has_meta
from heori_common.protocol.payload import BadPayload, Call

LONGEST_ERROR = 200  # characters of what `alike` returns
UNREADABLE = ""  # as a task: that of letters whose call cannot be read
TEXT_FIELDS = ("description", "meta")  # what is searched for a text, besides the traceback

_UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_WORD = re.compile(rf"{_UUID}|\w+", re.IGNORECASE)
# A hexadecimal number, or what has digits on both sides of letters, as a8f9k2.
_ID = re.compile(r"[0-9a-fA-F]{8,}|0[xX].*|.*?\d[^\W\d]+\d.*")
_DIGITS = re.compile(r"\d+")
_PARTS = re.compile(r"#(?:[.,:]#)+")  # of 12.5, 1,000 or 12:30:59


def alike(reason: str) -> str:
    """An error in which # stands for each number and id, so that those of one kind are the same."""
    told = _WORD.sub(_without_numbers, printable(reason[:LONGEST_ERROR]))
    return _PARTS.sub("#", told)[:LONGEST_ERROR]


def _without_numbers(word: re.Match[str]) -> str:
    text = word[0]
    if not any(map(str.isdecimal, text)):
        return text
    return "#" if "-" in text or _ID.fullmatch(text) else _DIGITS.sub("#", text)


@dataclass(frozen=True, slots=True)
class Choice:
    """Which of the dead letters are meant; by default all.

    Attributes:
        task: only this one; UNREADABLE for those whose call cannot be read.
        error: only those whose error is this, but for numbers and ids, or is of this type.
        text: only those that have it, in upper or lower case: in their id, their description, their
            meta or their traceback.
        failed_before: in epoch seconds.
        meta: values as people write them.
    """

    task: str | None = None
    error: str | None = None
    text: str | None = None
    failed_before: float | None = None
    meta: Mapping[str, str] = field(default_factory=dict)

    @property
    def fields(self) -> tuple[str, ...]:
        """What to read of a job to see whether it is meant, and when it failed."""
        of_call = CALL_FIELDS if self.task is not None else ()
        of_text = TEXT_FIELDS if self.text is not None else ("meta",) if self.meta else ()
        return (*FAILED_AT_FIELDS, *of_call, *of_text)

    @property
    def needs_result(self) -> bool:
        """Whether that needs its latest result, too."""
        return self.error is not None or self.text is not None

    def fits(self, letter: DeadLetter, call: Callable[[DeadLetter], Call]) -> bool:
        """Whether a letter is meant; what cannot be read is not.

        Args:
            call: reads what a letter was to call, or raises BadPayload.
        """
        if self.failed_before is not None:
            failed = letter.failed_at
            if failed is None or failed.timestamp() > self.failed_before:
                return False
        if self.meta and not has_meta(letter.meta, self.meta):
            return False
        if self.error is not None and not _is_of(alike(letter.reason), alike(self.error)):
            return False
        if self.text is not None and not _has_text(letter, self.text.lower()):
            return False
        if self.task is None:
            return True
        try:
            return printable(call(letter).function) == printable(self.task)
        except BadPayload:
            return self.task == UNREADABLE


def _is_of(error: str, wanted: str) -> bool:
    return wanted in (error, error.partition(":")[0])


def _has_text(letter: DeadLetter, wanted: str) -> bool:
    places = (letter.id, *map(letter.text, TEXT_FIELDS), letter.traceback or letter.reason)
    return any(wanted in place.lower() for place in places)
