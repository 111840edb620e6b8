"""Pauses of queues, tenants and tasks."""

from typing import NamedTuple

from heori_common.protocol.commands.builder import Builders, Command, text
from heori_common.protocol.keys import tenant_queue

MOST_RESUMED = 500  # jobs of a task that go back to their queues in one call


class Pause(NamedTuple):
    """What is paused: a queue, one tenant of it, or a task, whatever the queue."""

    kind: str  # queue or task
    name: str  # a tenant's is that of the RQ queue that it has, such as orders@@acme
    since: float = 0.0  # epoch seconds, by the server's clock

    @classmethod
    def of_queue(cls, queue: str, tenant: str = "") -> "Pause":
        """Of a queue, or of one of its tenants."""
        return cls("queue", tenant_queue(queue, tenant))

    @property
    def field(self) -> str:
        """Its name in the hash."""
        return f"{self.kind}:{self.name}"


class Resumed(NamedTuple):
    """What a call to resume has done."""

    was_paused: bool
    jobs: int  # of a task, that went back to their queues
    are_left: bool  # call again


class PausingCommands(Builders):
    """Pauses, and their ends."""

    def pause(self, paused: Pause) -> Command[bool]:
        """Have nobody claim these jobs; reads whether they were not paused before."""
        return self._call("pause", [], bool, what=paused.field)

    def resume(self, paused: Pause) -> Command[Resumed]:
        """Have them claimed again; to be called until no jobs are left."""

        def parse(reply: list[int]) -> Resumed:
            was_paused, jobs, are_left = reply
            return Resumed(bool(was_paused), jobs, bool(are_left))

        return self._call("resume", [], parse, what=paused.field, most=MOST_RESUMED)

    def pauses(self) -> Command[list[Pause]]:
        """All that is paused, by kind and name."""

        def parse(reply: dict[bytes, bytes]) -> list[Pause]:
            return sorted(map(_read, reply.items()))

        return Command(("HGETALL", self.keys.paused()), parse)

    def count_paused(self, task: str) -> Command[int]:
        """How many jobs of a paused task were set aside."""
        return Command(("ZCARD", self.keys.paused_jobs(task)), int)


def _read(entry: tuple[bytes, bytes]) -> Pause:
    kind, _, name = text(entry[0]).partition(":")
    try:
        since = float(entry[1])
    except ValueError:  # anybody may have written it
        since = 0.0
    return Pause(kind, name, since)
