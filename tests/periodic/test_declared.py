"""How entries are declared, and what is refused where it stands."""

import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from heori import Cron, Every, InvalidArguments, UnknownTask, task
from heori_common import tasks
from heori_common.periodic.entry import Rules, ScheduleEntry, version_of
from heori_common.periodic.timing import Crontab, Interval
from heori_common.schedule import BadSchedule, entries_of
from tests.tasks import periodic_tasks

NAME = "tests.tasks.periodic_tasks"
MOST = 10**6


@pytest.fixture
def module() -> Iterator[ModuleType]:
    """Where a schedule stands; its tasks are forgotten."""
    known = dict(tasks.registered())
    made = sys.modules["schedules"] = ModuleType("schedules")
    yield made
    del sys.modules["schedules"]
    for name in tasks.registered().keys() - known.keys():
        del tasks._registry[name]


def mine(entries: list[ScheduleEntry]) -> dict[str, ScheduleEntry]:
    return {entry.name: entry for entry in entries if entry.task.startswith(NAME)}


def test_a_module_declares_entries_by_its_tasks_and_its_schedule() -> None:
    entries = mine(entries_of([NAME], MOST, strict=False))
    assert {name: (entry.timing, entry.rules, entry.queue) for name, entry in entries.items()} == {
        f"{NAME}.tick": (Interval(1000), Rules("all"), "default"),
        f"{NAME}.report": (
            Crontab("0 3 1 1 *", "Asia/Seoul"), Rules(overlap=False), "default",
        ),
        "greetings": (Interval(365 * 86_400_000), Rules(), "else"),
        f"{NAME}.greet": (Crontab("@yearly", "Europe/Berlin"), Rules(), "else"),
    }  # fmt: skip
    again = mine(entries_of([NAME], MOST, strict=False))
    for name, entry in entries.items():
        assert ScheduleEntry.unpack(entry.pack()) == again[name], "each process writes the same"
    packed = [entry.pack() for entry in entries.values()]
    assert version_of(["a", "b"], packed) == version_of(["b", "a"], packed[::-1])
    assert version_of(["a"], packed) != version_of(["a"], packed[1:])
    assert version_of(["a"], packed).split(".")[0] != version_of(["b"], packed).split(".")[0]


def test_ids_follow_from_name_and_time_and_rq_takes_them(redis: Any) -> None:
    from rq.job import Job

    entries = mine(entries_of([NAME], MOST, strict=False))
    entry = entries["greetings"]
    assert entry.job_id(1_795_855_298_000) == "greetings-b337b5ca-20261128T084138Z"
    ids = {each.job_id(ms) for each in entries.values() for ms in (0, 1000, 1500)}
    assert len(ids) == 3 * len(entries)
    odd = entry._replace(name="where: näme/" + "x" * 200), entry._replace(name="where: nämes")
    ids = {each.job_id(0) for each in odd}
    assert len(ids) == 2
    for job_id in ids:
        assert Job(id=job_id, connection=redis).id == job_id


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0.5}, "a second or more"),
        ({"every": "1h", "cron": "@daily"}, "either every or cron"),
        ({"cron": "x y z"}, "five fields"),
        ({"cron": "@daily", "timezone": "Mars/Phobos"}, "no time zone of that name"),
        ({"timezone": "Asia/Seoul"}, "timezone is that of cron"),
        ({"every": 5, "timezone": "Asia/Seoul"}, "timezone is that of cron"),
        ({"overlap": False}, "catch_up and overlap are of every or cron"),
        ({"every": 5, "catch_up": "some"}, "once, all or none"),
        ({"every": 5, "overlap": "no"}, "True or False"),
    ],
)
def test_a_task_is_refused_where_it_is_decorated(options: dict[str, Any], message: str) -> None:
    before = dict(tasks.registered())
    decorate: Callable[..., Any] = task
    with pytest.raises((ValueError, TypeError), match=message):
        decorate(**options)(periodic_tasks.tick)
    assert tasks.registered() == before


def test_a_task_that_needs_arguments_cannot_run_by_itself(module: ModuleType) -> None:
    def mail(to: str) -> None:
        """With an argument."""

    mail.__module__, mail.__qualname__ = "schedules", "mail"
    with pytest.raises(InvalidArguments, match=r"schedules\.mail: to: "):
        task(every="1h")(mail)
    task(mail)
    with pytest.raises(InvalidArguments, match=r"entry mails, every 1h: schedules\.mail: to: "):
        Every("1h", mail, name="mails")
    sent = task(mail)
    with pytest.raises(TypeError, match="got an unexpected keyword argument 'too'"):
        sent.s("a@example.org", too=1)  # type: ignore[call-overload]
    with pytest.raises(InvalidArguments, match=r"entry schedules\.mail, every 1h: .*to: "):
        Every("1h", sent.s(5))  # type: ignore[call-overload]
    with pytest.raises(TypeError, match=r"schedules\.mail\.s\(\) lacks its first argument"):
        Every("1h", sent.s())  # type: ignore[arg-type]
    assert Every("1h", sent.s(to="a")).call == ((), {"to": "a"})


def test_a_schedule_is_refused_where_it_stands(module: ModuleType) -> None:
    with pytest.raises(UnknownTask):
        Every("1h", sorted)
    with pytest.raises(ValueError, match="the name must be"):
        Every("1h", periodic_tasks.greet, name="")
    with pytest.raises(ValueError, match="five fields"):
        Cron("1h", periodic_tasks.greet)
    hourly = Every("1h", periodic_tasks.greet, name="one")
    module.schedule = [hourly, hourly]  # type: ignore[attr-defined]
    assert "one" in mine(entries_of(["schedules", NAME], MOST, strict=False))
    module.schedule.append(Cron("@daily", periodic_tasks.greet, name="one"))
    with pytest.raises(
        BadSchedule, match=r"two entries are called one, one every 1h and one @daily UTC; .*name="
    ):
        entries_of(["schedules"], MOST, strict=False)
    module.schedule[:] = [periodic_tasks.greet]
    with pytest.raises(BadSchedule, match=r"schedules\.schedule holds .*Every\(…\) and Cron\(…\)"):
        entries_of(["schedules"], MOST, strict=False)
    module.schedule = entries_of  # type: ignore[attr-defined]
    assert "one" not in mine(entries_of(["schedules"], MOST, strict=False)), "it is something else"
    with pytest.raises(BadSchedule, match=r"entry .*: .*over the limit|too large|bytes"):
        entries_of([NAME], 1, strict=False)


@pytest.mark.parametrize(
    ("rules", "ago_s", "sent", "missed"),
    [
        (Rules("once"), 5.5, 1, 4),
        (Rules("all"), 5.5, 5, 0),
        (Rules("none"), 5.5, 1, 4),
        (Rules("once"), 0.5, 0, 0),
        (Rules("all"), 86_400 * 365, 1000, 1),
        (Rules("once"), 86_400 * 365, 1, 1000),
    ],
)
def test_what_was_missed_is_sent_once_all_or_not(
    rules: Rules, ago_s: float, sent: int, missed: int
) -> None:
    entry = ScheduleEntry("e", Interval(1000), rules, "t", "q", [])
    now = 1_795_855_298_500
    due = entry.due(now - round(ago_s * 1000), now)
    assert (len(due.ticks), due.missed) == (sent, missed)
    last = 1_795_855_298_000
    assert due.up_to == (last if sent else now - round(ago_s * 1000))
    assert due.ticks == [last - 1000 * n for n in range(sent)][::-1]


def test_a_tick_that_is_late_by_more_than_a_failover_was_missed() -> None:
    entry = ScheduleEntry("e", Crontab("0 3 * * *", "UTC"), Rules("none"), "t", "q", [])
    tick = 1_795_834_800_000
    assert entry.due(tick - 1, tick + 59_000).ticks == [tick]
    late = entry.due(tick - 1, tick + 61_000)
    assert (late.ticks, late.missed, late.up_to) == ([], 1, tick)
