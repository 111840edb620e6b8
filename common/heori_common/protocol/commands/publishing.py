"""Which tasks there are: consumers publish theirs, for producers that do not have their code.

Consumers with the same tasks share one version: it is written once, and each of them keeps it.
"""

from collections.abc import Mapping
from typing import NamedTuple

from heori_common.protocol.commands.builder import Builders, Command, text, unpack

PUBLISHED_TTL_S = 24 * 3600  # of a version that no consumer has any more
MOST_VERSIONS = 32  # that are kept; those that were not seen for longest go first
MOST_NAMES = 10_000  # of tasks, of which a producer is told that has asked for another


class Found(NamedTuple):
    """What is known of a task that was asked for.

    Attributes:
        described: as its consumer wrote it; None when there is no such task.
        names: of others, when there is none.
    """

    described: bytes | None
    names: list[str]


class PublishingCommands(Builders):
    """The tasks that consumers have."""

    def keep_tasks(self, version: str, *, begins: bool) -> Command[bool]:
        """Keep a version for another while; reads whether it is there, and need not be published.

        Args:
            begins: whether a consumer with it has just started: its tasks come before all others.
        """
        return self._call(
            "keep_tasks",
            [self.keys.versions(), self.keys.published(version)],
            bool,
            version=version,
            begins=begins,
            ttl_s=PUBLISHED_TTL_S,
        )

    def publish_tasks(self, version: str, tasks: Mapping[str, bytes]) -> Command[int]:
        """Write all tasks of a version; reads how many versions went for it."""
        return self._call(
            "publish_tasks",
            [self.keys.versions(), self.keys.published(version)],
            int,
            version=version,
            tasks=list(tasks.items()),
            ttl_s=PUBLISHED_TTL_S,
            most_versions=MOST_VERSIONS,
        )

    def find_task(self, name: str) -> Command[Found]:
        """Look for a task, in the version of the consumer that started last."""

        def parse(reply: bytes) -> Found:
            described, names = unpack(reply)
            return Found(described or None, sorted(map(text, names)))

        return self._call(
            "find_task", [self.keys.versions()], parse, task=name, most_names=MOST_NAMES
        )
