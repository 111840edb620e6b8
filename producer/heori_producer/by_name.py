"""Tasks that a producer knows by their names, from what consumers have published of them."""

from typing import NamedTuple

from heori_common import clock
from heori_common.errors import short
from heori_common.protocol.commands import Commands, Found
from heori_common.published import NamedTask, not_published
from heori_producer.steps import Steps

# For which a task is not read again: consumers with other code may have come. What is sent by an
# older schema is validated by its consumer all the same.
FRESH_S = 30.0


class _Known(NamedTuple):
    task: NamedTask
    described: bytes
    until: float  # clock.now()


class NamedTasks:
    """Those of one producer. Safe to share between threads."""

    def __init__(self, commands: Commands) -> None:
        self._commands = commands
        self._known: dict[str, _Known] = {}

    def find(self, name: str) -> Steps[NamedTask]:
        """The task of that name.

        Raises:
            TypeError: it is no name.
            UnknownTask: no consumer has it, or it cannot be sent by its name.
        """
        if not isinstance(name, str):
            raise TypeError(f"send({short(name)}): the name of a task; submit takes the function")
        known = self._known.get(name)
        if known is not None and clock.now() < known.until:
            return known.task
        return (yield from self.read(name))

    def read(self, name: str) -> Steps[NamedTask]:
        """As `find`; it is the same object for as long as the task is the same."""
        known, now = self._known.pop(name, None), clock.now()
        found: Found = yield self._commands.find_task(name)
        if found.described is None:
            raise not_published(name, found.names)
        is_same = known is not None and known.described == found.described
        task = known.task if known and is_same else NamedTask(name, found.described)
        self._known[name] = _Known(task, found.described, now + FRESH_S)
        return task
