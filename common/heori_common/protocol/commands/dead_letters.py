"""What reads, replays and purges dead letters."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from heori_common.protocol.commands.builder import (
    CALL_BYTES,
    Builders,
    Command,
    fates,
    text,
    unpack,
)


class Record(NamedTuple):
    """A job as it stands in Redis, unchecked; a value that is too long is its length instead."""

    kind: str  # the type of its key, as Redis calls it; none when there is no job
    fields: dict[str, bytes | int]
    result: dict[str, bytes | int]  # the latest entry of its result stream


class DeadLetterCommands(Builders):
    """Dead letters are read, replayed and purged."""

    def time(self) -> Command[float]:
        """The server's time, in epoch seconds."""
        return Command(("TIME",), lambda reply: float(reply[0]) + float(reply[1]) / 1e6)

    def expire_dead(self, queue: str, now: float) -> Command[int]:
        """Drop the ids of dead letters that have expired; RQ does so before it looks, too."""
        return Command(("ZREMRANGEBYSCORE", self.keys.failed(queue), 0, now), int)

    def count_dead(self, queue: str) -> Command[int]:
        """How many dead letters one queue has."""
        return Command(("ZCARD", self.keys.failed(queue)), int)

    def read_dead(
        self, queue: str, score: str, job_id: str, count: int, *, newest_first: bool
    ) -> Command[list[tuple[str, str]]]:
        """Ids from a position on, with the epoch seconds at which they expire, as texts.

        Args:
            score: of the entry that was read last; empty to begin.
            job_id: of that entry, which may have left the registry.
        """

        def parse(reply: bytes) -> list[tuple[str, str]]:
            flat = [text(each) for each in unpack(reply)]
            page = list(zip(flat[::2], flat[1::2], strict=True))
            return page[::-1] if newest_first else page

        return self._call(
            "read_dead",
            [self.keys.failed(queue)],
            parse,
            score=score,
            id=job_id,
            count=count,
            newest_first=newest_first,
        )

    def find_dead(self, queue: str, ids: Sequence[str]) -> Command[list[float | None]]:
        """When the dead letters of these ids expire; None for what is none of this queue's."""
        raw = [job_id.encode("utf-8", "surrogateescape") for job_id in ids]
        return Command(("ZMSCORE", self.keys.failed(queue), *raw), list)

    def read_jobs(
        self,
        ids: Sequence[str],
        fields: Sequence[str] = (),
        *,
        result: bool = True,
        most_value: int,
    ) -> Command[list[Record]]:
        """Read jobs, whatever their keys hold; fewer than asked for when they are large.

        Args:
            fields: what to read; nothing means all fields.
            result: whether to read the latest result, too.
            most_value: bytes of one value.
        """

        def parse(reply: bytes) -> list[Record]:
            return [
                Record(
                    kind.decode(),
                    {
                        name: value
                        for name, value in zip(fields, values, strict=False)
                        if value is not False
                    }
                    if fields
                    else _pairs(values),
                    _pairs(result),
                )
                for kind, values, result in unpack(reply)
            ]

        return self._call(
            "read_jobs",
            [],
            parse,
            ids=ids,
            fields=fields,
            result=result,
            most_value=most_value,
            most_bytes=CALL_BYTES,
        )

    def replay(
        self, queue: str, ids: Sequence[str], *, forget: Sequence[str], dry_run: bool
    ) -> Command[list[str]]:
        """Put dead letters back at the end of their queue; reads the fate of each.

        Args:
            forget: the fields that tell of former deliveries.
        """
        return self._call(
            "replay",
            [self.keys.queues(), self.keys.queue(queue), self.keys.failed(queue)],
            fates,
            ids=ids,
            queue=queue,
            forget=forget,
            dry_run=dry_run,
        )

    def purge(self, queue: str, ids: Sequence[str], *, dry_run: bool) -> Command[list[str]]:
        """Delete dead letters and all that belongs to them; reads the fate of each."""
        return self._call(
            "purge",
            [self.keys.failed(queue), self.keys.wip(queue)],
            fates,
            jobs=[
                [
                    job_id,
                    [
                        self.keys.results(job_id),
                        self.keys.dependents(job_id),
                        self.keys.dependencies(job_id),
                        self.keys.inputs(job_id),
                    ],
                ]
                for job_id in ids
            ],
            dry_run=dry_run,
        )


def _pairs(flat: Sequence[Any]) -> dict[str, bytes | int]:
    """Field and value in turns; even a field's name may be anything."""
    names = (
        name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else str(name)
        for name in flat[::2]
    )
    return dict(zip(names, flat[1::2], strict=True))
