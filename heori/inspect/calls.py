"""What jobs are to call, as far as the settings let it be decoded, and in one line."""

import json
import re

from heori_common.errors import cut
from heori_common.protocol.dead_letter import DeadLetter
from heori_common.protocol.payload import BadPayload, Call
from heori_common.protocol.unpickling import Pickles
from heori_common.settings import Settings

LONGEST_LINE = 300  # characters
# As a description begins that Heori or rq has made: with the task, which pauses know by it, too.
_TASK = re.compile(r"([^\s(]+)\(")


class CallReader:
    """Decodes the calls of jobs. To read a pickle restricted runs nothing.

    Args:
        most: bytes of a payload, where that is less than the settings allow.
    """

    def __init__(self, settings: Settings, most: int | None = None) -> None:
        restricted = settings.pickle == "restricted"
        self._pickles = Pickles(settings.allow, restricted=restricted)
        self._accept = ("json", "pickle") if restricted else tuple(settings.accept)
        self._limit = min(settings.max_payload, most or settings.max_payload)

    def call(self, job: DeadLetter) -> Call:
        """What a job is to call.

        Raises:
            BadPayload: it cannot be decoded, or must not be; the message says why.
        """
        return job.call(self._accept, self._limit, self._pickles)

    def task(self, job: DeadLetter) -> str:
        """The name of its task; empty when nobody can tell."""
        if found := _TASK.match(job.text("description")):
            return found[1]
        try:
            return self.call(job).function
        except BadPayload:
            return ""

    def arguments(self, job: DeadLetter) -> str:
        """Its arguments as one text to search; empty when they cannot be decoded."""
        try:
            call = self.call(job)
            return as_text([call.args, call.kwargs])
        except (BadPayload, ValueError, RecursionError):
            return ""


def as_text(value: object) -> str:
    """A value for people: as JSON, and as Python writes it what JSON has not.

    Raises:
        ValueError, RecursionError: it has no form.
    """
    return json.dumps(value, default=repr, ensure_ascii=False)


def last_line(traceback: str) -> str:
    """What a traceback says at its end: the error."""
    return cut(traceback.strip().rpartition("\n")[2], LONGEST_LINE)
