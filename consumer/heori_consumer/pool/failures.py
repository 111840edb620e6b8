"""Logs what fails: a failure that is new at once, those that are like it by their number."""

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass

from heori_common import logs
from heori_common.protocol.job import Claim
from heori_consumer.between.failures import Failure

log = logs.get_logger(__name__)

# Between two lines about one kind of failure. One that does not come again in this time is new the
# next time.
TELL_EVERY_S = 10.0
# Kinds that are remembered; with more, all are told and forgotten.
MOST_KINDS = 1000


@dataclass(slots=True)
class _Again:
    """What has come again since it was told.

    Attributes:
        told: time.monotonic() of the latest line.
    """

    latest: Failure
    told: float
    times: int


class FailureLog:
    """The failures of one consumer."""

    def __init__(self) -> None:
        self._kinds: dict[tuple[str, str, str], _Again] = {}
        self._look = 0.0  # time.monotonic() of the next look for what is to be told

    def add(self, failures: Iterable[Failure]) -> None:
        """Tell what is new, and count what is not."""
        for failure in failures:
            kind = failure.event, failure.name, failure.place
            known = self._kinds.get(kind)
            if known is not None:
                known.latest = failure
                known.times += failure.times
                continue
            if len(self._kinds) >= MOST_KINDS:
                self.tell_all()
                self._kinds.clear()
            self._kinds[kind] = _Again(failure, time.monotonic(), failure.times - 1)
            log.log(failure.level, failure.event, **_fields(failure))

    def of_job(self, event: str, claim: Claim, error: str = "") -> None:
        """Tell, or count, what has gone wrong with a job here and not in a worker."""
        failure = Failure(event, "queue", claim.queue, "", error, claim.job_id, 1, logging.ERROR)
        self.add([failure])

    def tell(self, now: float) -> None:
        """Tell what has come again for long enough.

        Args:
            now: time.monotonic().
        """
        if now < self._look:
            return
        self._look = now + TELL_EVERY_S / 10
        for kind, again in list(self._kinds.items()):
            if now - again.told >= TELL_EVERY_S:
                if not again.times:
                    del self._kinds[kind]
                self._tell(again, now)

    def tell_all(self) -> None:
        """Tell all that has come again."""
        for again in self._kinds.values():
            self._tell(again, time.monotonic())

    def _tell(self, again: _Again, now: float) -> None:
        if again.times:
            event = again.latest.event + " again"
            log.log(
                again.latest.level,
                event,
                **_fields(again.latest),
                times=again.times,
                seconds=round(now - again.told, 1),
            )
        again.times, again.told = 0, now


def _fields(failure: Failure) -> dict[str, str]:
    error = {"error": failure.error} if failure.error else {}
    return {"job": failure.job, failure.what: failure.name, **error}
