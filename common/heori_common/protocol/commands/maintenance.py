"""What stock workers of RQ do for all from time to time, for where none may be left to do it."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from heori_common.protocol.commands.builder import (
    EXECUTION_MARK,
    FAILURE_TTL_S,
    LEASE_MARGIN_S,
    Builders,
    Command,
    text,
    unpack,
)
from heori_common.protocol.commands.claiming import read_claim
from heori_common.protocol.job import ABANDONED, Claim, abandoned_words
from heori_common.protocol.payload import encode_failure

MOST_LEFT_BEHIND = 100  # jobs of each kind in one queue; one takes Redis about 30 µs
MOST_IN_GROUPS = 100  # groups, limits, and members of one of these, in one call
MOST_TOLD = 16  # abandoned jobs whose callbacks a consumer runs after one look
# Seconds for which a stock worker may have popped a job and not have begun it, as rq has it.
STRANDED_S = 60.0
# Seconds for which a job that need not wait may be on no list, as it is about to be put there.
READY_S = 5.0


class LeftBehind(NamedTuple):
    """The jobs of dead stock workers, by what became of them: their ids."""

    retried: list[str]
    failed: list[str]
    returned: list[str]  # to their queue, as they had not begun
    claims: Sequence[Claim] = ()  # whose callbacks are to be run

    def __bool__(self) -> bool:
        return any(self)


class Round(NamedTuple):
    """What came of a look at some groups, limits or jobs."""

    cursor: str  # for the next call; "0" when all were looked at
    number: int  # struck, freed or started


class MaintenanceCommands(Builders):
    """RQ's maintenance."""

    def reclaim_stock(
        self,
        queues: Sequence[str],
        *,
        stranded: float = STRANDED_S,
        taker: str = "",
        token: str = "",
        lease: float = 0.0,
        most_taken: int = 0,
    ) -> Command[LeftBehind]:
        """Look after what stock workers have left behind in these queues.

        Args:
            stranded: seconds for which a job may have been popped and not have begun.
            taker: the consumer that is to run callbacks of abandoned jobs; without one, none run.
            token: new and unique for each call; names the executions.
            lease: of what it gets, in seconds.
            most_taken: how many of these, at most; the others stay for another call.
        """

        def parse(reply: bytes) -> LeftBehind:
            at, *ids, claims = unpack(reply)
            retried, failed, returned = ([text(job_id) for job_id in some] for some in ids)
            read = (read_claim(claimed, queues, at) for claimed in claims)
            told = tuple(claim._replace(phase=ABANDONED) for claim in read)
            return LeftBehind(retried, failed, returned, told)

        return self._call(
            "reclaim_stock",
            [],
            parse,
            queues=list(queues),
            most=MOST_LEFT_BEHIND,
            mark=EXECUTION_MARK,
            stranded_s=stranded,
            failure=encode_failure(abandoned_words()),
            failure_ttl_s=FAILURE_TTL_S,
            consumer="",  # of nobody that is left
            taker=taker,
            token=EXECUTION_MARK + token,
            lease_s=lease,
            margin_s=LEASE_MARGIN_S,
            most_taken=most_taken,
        )

    def tidy_groups(self, cursor: str = "0") -> Command[Round]:
        """Strike from some groups what is gone of them."""
        return self._round("tidy_groups", self.keys.groups(), cursor)

    def tidy_same_calls(self, cursor: str = "0") -> Command[Round]:
        """Strike the calls whose jobs are over from those that are not to be sent again."""
        return self._round("tidy_same_calls", self.keys.same_calls(), cursor)

    def tidy_limits(self, cursor: str = "0", *, stranded: float = STRANDED_S) -> Command[Round]:
        """Free the slots of some rate limits that nobody holds.

        Args:
            stranded: seconds for which a job that has one may stand nowhere.
        """
        return self._round("tidy_limits", self.keys.limits(), cursor, stranded_s=stranded)

    def start_waiting(
        self, queue: str, cursor: str = "0", *, only_ours: bool = False
    ) -> Command[Round]:
        """Queue some of the jobs that wait for others and need not; reads how many, too.

        Args:
            only_ours: leave those as they are that wait by RQ's rules: rq leaves them deferred.
        """

        def parse(reply: bytes) -> Round:
            next_cursor, started = unpack(reply)
            return Round(next_cursor.decode(), started)

        return self._call(
            "start_waiting",
            [],
            parse,
            queue=queue,
            cursor=cursor,
            most=MOST_LEFT_BEHIND,
            ready_s=READY_S,
            only_ours=only_ours,
            consumer="",
        )

    def _round(self, name: str, key: str, cursor: str, **more: Any) -> Command[Round]:
        def parse(reply: bytes) -> Round:
            next_cursor, struck = unpack(reply)
            return Round(next_cursor.decode(), struck)

        return self._call(name, [key], parse, cursor=cursor, most=MOST_IN_GROUPS, **more)
