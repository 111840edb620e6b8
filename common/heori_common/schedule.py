"""Entries as modules declare them: `schedule = [Every(…), Cron(…)]`, and tasks with `every`."""

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from heori_common import tasks
from heori_common.calls import PartialCall, TaskCall
from heori_common.duration import Duration
from heori_common.errors import HeoriError, short
from heori_common.new_job import make_job
from heori_common.periodic.entry import CatchUp, Rules, ScheduleEntry, check_entry_name
from heori_common.periodic.timing import Crontab, Interval, Timing
from heori_common.public import public
from heori_common.tasks import InvalidArguments, Task

ATTRIBUTE = "schedule"  # of a module
_Call = tuple[tuple[Any, ...], dict[str, Any]]


@public
class BadSchedule(HeoriError, ValueError):
    """The entries of the modules make no sense together; the message says all there is to say."""


class Declared:
    """A call that consumers make again and again; `Every` or `Cron`."""

    def __init__(
        self,
        timing: Timing,
        call: Callable[..., Any] | TaskCall[Any],
        name: str | None,
        catch_up: CatchUp,
        *,
        overlap: bool,
    ) -> None:
        self.timing = timing
        self.rules = Rules.of(catch_up, overlap)
        self.task, self.call = _read(call)
        self.name = self.task.name if name is None else check_entry_name(name)
        try:
            self.task.to_send(*self.call)
        except InvalidArguments as error:
            raise InvalidArguments(f"entry {self.name}, {timing}: {error}") from None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}: {self.timing}>"


@public
class Every(Declared):
    """A call that consumers make every so often, in the `schedule` of a module of tasks.

    Args:
        every: how often: a second or more, such as ``"5min"``, counted from 1970.
        call: a task, or one with its arguments: ``send_mail.s("a@example.org")``.
        name: by which `heori schedule` knows it; by default the task's.
        catch_up: which of the times are made up for that have passed while no consumer was
            there: the latest (``"once"``), ``"all"`` up to a thousand, or ``"none"``.
        overlap: whether it is sent again while the job of the time before waits or runs.

    Raises:
        InvalidArguments: the arguments do not fit the task.
        ValueError, TypeError: something else makes no sense.
    """

    def __init__(
        self,
        every: Duration,
        call: Callable[..., Any] | TaskCall[Any],
        *,
        name: str | None = None,
        catch_up: CatchUp = "once",
        overlap: bool = True,
    ) -> None:
        super().__init__(Interval.of(every), call, name, catch_up, overlap=overlap)


@public
class Cron(Declared):
    """A call that consumers make when a crontab says so, in the `schedule` of a module of tasks.

    Args:
        cron: minute, hour, day, month and day of the week, such as ``"0 3 * * 1-5"``.
        call: as of `Every`, like the rest.
        timezone: whose clocks it goes by, such as ``"Asia/Seoul"``.

    Raises:
        InvalidArguments: the arguments do not fit the task.
        ValueError, TypeError: something else makes no sense.
    """

    def __init__(
        self,
        cron: str,
        call: Callable[..., Any] | TaskCall[Any],
        *,
        timezone: str = "UTC",
        name: str | None = None,
        catch_up: CatchUp = "once",
        overlap: bool = True,
    ) -> None:
        super().__init__(Crontab.of(cron, timezone), call, name, catch_up, overlap=overlap)


def entries_of(modules: Iterable[str], max_payload: int, *, strict: bool) -> list[ScheduleEntry]:
    """All entries that these modules declare, and the tasks that run by themselves.

    Args:
        modules: of tasks; they are imported.
        max_payload: bytes that the arguments of one may have.
        strict: of HEORI_STRICT.

    Raises:
        BadSchedule: two have one name, the schedule of a module holds something else, or the
            arguments of one cannot be sent.
    """
    found: dict[str, ScheduleEntry] = {}

    def add(name: str, task: Task[..., Any], timing: Timing, rules: Rules, call: _Call) -> None:
        if name in found:
            raise BadSchedule(
                f"two entries are called {name}, one {found[name].timing} and one {timing}; give "
                "one of them a name of its own: name=…"
            )
        try:
            sent = task.to_send(*call, strict=strict)
            fields = make_job(task, "", sent, max_payload).fields()
        except HeoriError as error:
            raise BadSchedule(f"entry {name}: {error}") from error
        found[name] = ScheduleEntry(name, timing, rules, task.name, task.queue, fields)

    for task in tasks.registered().values():
        if task.periodic is not None and not task.name.startswith("__main__."):
            add(task.name, task, *task.periodic, ((), {}))
    for each in dict.fromkeys(_declared(modules)):
        add(each.name, each.task, each.timing, each.rules, each.call)
    return list(found.values())


def _read(call: Any) -> tuple[Task[..., Any], _Call]:
    if isinstance(call, PartialCall):
        raise TypeError(f"{call.task.name}.s() lacks its first argument")
    if isinstance(call, TaskCall) and isinstance(call.task, Task):
        return tasks.find(call.task.function), (call.args, dict(call.kwargs))
    return tasks.find(call), ((), {})


def _declared(modules: Iterable[str]) -> Iterator[Declared]:
    for name in modules:
        schedule = getattr(sys.modules.get(name), ATTRIBUTE, None)
        if not isinstance(schedule, list | tuple):  # a function of that name, say
            continue
        for each in schedule:
            if not isinstance(each, Declared):
                raise BadSchedule(
                    f"{name}.{ATTRIBUTE} holds {short(each)}; Every(…) and Cron(…) belong into it"
                )
            yield each
