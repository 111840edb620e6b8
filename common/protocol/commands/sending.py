"""What producers and whoever holds a handle send: new jobs, and questions about one."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from common.protocol.commands.builder import (
    Builders,
    Command,
    call,
)
from common.protocol.job import (
    Job,
    MalformedJob,
    NewJob,
)


@dataclass(frozen=True, slots=True)
class Result:
    """One entry of a job's result stream."""

    id: str  # of the entry, for `wait_for_result`
    type: int  # rq.results.Result.Type
    return_value: bytes | None
    exc_string: bytes | None


class Progress(NamedTuple):
    """How far a running job says that it is."""

    fraction: float  # from 0 to 1
    text: str


class Sending(Builders):
    """New jobs, and questions about one."""

    def enqueue(
        self, queue: str, jobs: Iterable[NewJob], *, delay: float = 0.0, at: float | None = None
    ) -> Command[int]:
        """Put jobs on one queue, now or when they are due; reads how many of them were new.

        Args:
            delay: seconds from now, by the server's clock.
            at: epoch seconds, in place of a delay.
        """
        return call(
            "enqueue",
            [self.keys.queues(), self.keys.queue(queue), self.keys.scheduled(queue)],
            int,
            jobs=[[job.id, job.fields()] for job in jobs],
            origin=queue,
            delay=delay,
            at=False if at is None else at,
            job_stem=self.keys.job(""),
        )

    def job(self, job_id: str) -> Command[Job | None]:
        """Read a job; None when there is none of that id."""

        def parse(reply: Mapping[bytes, bytes]) -> Job | None:
            return Job.from_hash(job_id, reply) if reply else None

        return Command(("HGETALL", self.keys.job(job_id)), parse)

    def due(self, queue: str, job_id: str) -> Command[datetime | None]:
        """When a scheduled job is to run; None when it is not scheduled.

        Its reading raises MalformedJob for what is no time.
        """

        def parse(score: float | None) -> datetime | None:
            try:
                return None if score is None else datetime.fromtimestamp(score, UTC)
            except (ValueError, OverflowError, OSError) as error:
                raise MalformedJob(f"it is due at {score}, which is no time") from error

        return Command(("ZSCORE", self.keys.scheduled(queue), job_id), parse)

    def status(self, job_id: str) -> Command[str | None]:
        """Read a job's status; None when there is no such job."""
        return Command(
            ("HGET", self.keys.job(job_id), "status"),
            lambda reply: None if reply is None else str(reply, "utf-8", "backslashreplace"),
        )

    def progress_of(self, job_id: str) -> Command[Progress | None]:
        """Read how far a job is; None when it has not said."""

        def parse(reply: Sequence[bytes | None]) -> Progress | None:
            fraction, text = reply
            try:
                done = float(fraction or "")
            except ValueError:  # nobody but Heori writes it, but anybody could
                return None
            return Progress(done, (text or b"").decode("utf-8", "backslashreplace"))

        key = self.keys.job(job_id)
        return Command(("HMGET", key, "heori_progress", "heori_progress_text"), parse)

    def result(self, job_id: str) -> Command[Result | None]:
        """Read a job's latest result, if there is one."""

        def parse(reply: Sequence[Any]) -> Result | None:
            return _result(*reply[0]) if reply else None

        return Command(("XREVRANGE", self.keys.results(job_id), "+", "-", "COUNT", 1), parse)

    def wait_for_result(self, job_id: str, seconds: float, after: str = "0") -> Command[bool]:
        """Wait until a job has a result later than the one of that id; reads whether it has."""
        milliseconds = max(1, round(seconds * 1000))
        words = (
            "XREAD",
            "COUNT",
            1,
            "BLOCK",
            milliseconds,
            "STREAMS",
            self.keys.results(job_id),
            after,
        )
        return Command(words, bool)


def _result(entry_id: bytes, entry: Mapping[bytes, bytes] | Sequence[bytes]) -> Result:
    fields = (
        entry if isinstance(entry, Mapping) else dict(zip(entry[::2], entry[1::2], strict=True))
    )
    return Result(
        entry_id.decode(),
        int(fields[b"type"]),
        fields.get(b"return_value"),
        fields.get(b"exc_string"),
    )
