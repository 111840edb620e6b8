"""When ticks are: the days on which a clock is put forward or back, by name."""

from datetime import datetime
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heori_common.duration import Duration
from heori_common.periodic.timing import Crontab, Interval, read_timing, write_timing


def ms(text: str, timezone: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(timezone)).timestamp() * 1000)


def ticks(cron: str, timezone: str, after: str, number: int) -> list[str]:
    """The next ones, as the clocks there show them and their distance to UTC."""
    found = islice(Crontab.of(cron, timezone).after(ms(after, timezone)), number)
    zone = ZoneInfo(timezone)
    return [datetime.fromtimestamp(each / 1000, zone).strftime("%m-%dT%H:%M%z") for each in found]


@pytest.mark.parametrize(
    ("cron", "timezone", "after", "expected"),
    [
        # Berlin 2026: 02:00 becomes 03:00 on 29 March, 03:00 becomes 02:00 on 25 October.
        ("30 2 * * *", "Europe/Berlin", "2026-03-28T03:00",
         ["03-29T03:00+0200", "03-30T02:30+0200"]),
        ("*/20 2 * * *", "Europe/Berlin", "2026-03-29T00:00",
         ["03-29T03:00+0200", "03-30T02:00+0200", "03-30T02:20+0200"]),
        ("0 1-4 * * *", "Europe/Berlin", "2026-03-29T00:30",
         ["03-29T01:00+0100", "03-29T03:00+0200", "03-29T04:00+0200"]),
        ("*/30 * * * *", "Europe/Berlin", "2026-03-29T01:10",
         ["03-29T01:30+0100", "03-29T03:00+0200", "03-29T03:30+0200"]),
        ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00",
         ["10-25T02:30+0200", "10-26T02:30+0100"]),
        ("*/30 * * * *", "Europe/Berlin", "2026-10-25T01:40",
         ["10-25T02:00+0200", "10-25T02:30+0200", "10-25T02:00+0100", "10-25T02:30+0100",
          "10-25T03:00+0100"]),
        # New York 2026: 02:00 becomes 03:00 on 8 March, 02:00 becomes 01:00 on 1 November.
        ("15 2 * * *", "America/New_York", "2026-03-07T12:00",
         ["03-08T03:00-0400", "03-09T02:15-0400"]),
        ("0 1 * * *", "America/New_York", "2026-10-31T12:00",
         ["11-01T01:00-0400", "11-02T01:00-0500"]),
        ("@hourly", "America/New_York", "2026-11-01T00:30",
         ["11-01T01:00-0400", "11-01T01:00-0500", "11-01T02:00-0500"]),
        # Lord Howe 2026: 02:00 becomes 02:30 on 4 October, 02:00 becomes 01:30 on 5 April.
        ("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00",
         ["10-04T02:30+1100", "10-05T02:15+1100"]),
        ("*/15 * * * *", "Australia/Lord_Howe", "2026-10-04T01:40",
         ["10-04T01:45+1030", "10-04T02:30+1100"]),
        ("45 1 * * *", "Australia/Lord_Howe", "2026-04-04T12:00",
         ["04-05T01:45+1100", "04-06T01:45+1030"]),
        ("*/15 * * * *", "Australia/Lord_Howe", "2026-04-05T01:40",
         ["04-05T01:45+1100", "04-05T01:30+1030", "04-05T01:45+1030", "04-05T02:00+1030"]),
        # Seoul has no such days, and these are its working ones.
        ("0 3 * * 1-5", "Asia/Seoul", "2026-03-27T12:00",
         ["03-30T03:00+0900", "03-31T03:00+0900"]),
        ("0 0 29 2 *", "UTC", "2026-03-01T00:00", ["02-29T00:00+0000", "02-29T00:00+0000"]),
    ],
)  # fmt: skip
def test_each_time_that_is_named_comes_once_and_every_hour_goes_by_what_passes(
    cron: str, timezone: str, after: str, expected: list[str]
) -> None:
    assert ticks(cron, timezone, after, len(expected)) == expected


ZONES = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Seoul"]


@given(
    st.sampled_from(ZONES),
    st.sampled_from(["*/7 * * * *", "30 2 * * *", "*/20 1,2 * * *", "0 0-5 * * *"]),
    st.integers(ms("2026-01-01", "UTC"), ms("2027-01-01", "UTC")),
)
@settings(max_examples=60, deadline=None)
def test_whoever_begins_between_two_ticks_finds_the_same_ones(
    timezone: str, cron: str, start: int
) -> None:
    timing = Crontab.of(cron, timezone)
    found = list(islice(timing.after(start), 12))
    assert all(earlier < later for earlier, later in pairwise([start, *found]))
    for earlier, later in pairwise(found):
        assert next(timing.after(earlier)) == next(timing.after(later - 1)) == later
    assert next(timing.after(found[0] - 1)) == found[0]


@given(st.integers(1000, 10**9), st.integers(0, 10**13))
def test_an_interval_has_the_same_ticks_whenever_it_begins(length: int, start: int) -> None:
    timing = Interval(length)
    first, second = islice(timing.after(start), 2)
    assert start < first <= start + length
    assert first % length == 0
    assert second == first + length == next(timing.after(first))


@pytest.mark.parametrize(
    ("every", "shown"), [("5min", "every 5min"), (1.5, "every 1.5s"), ("36h", "every 36h")]
)
def test_a_timing_travels_and_is_shown(every: Duration, shown: str) -> None:
    timing = Interval.of(every)
    assert str(timing) == shown
    assert read_timing(*write_timing(timing)) == timing
    cron = Crontab.of(" 0  3 * * mon-fri", "Asia/Seoul")
    assert str(cron) == "0 3 * * mon-fri Asia/Seoul"
    assert read_timing(*write_timing(cron)) == cron


@pytest.mark.parametrize(
    ("cron", "timezone", "message"),
    [
        ("61 * * * *", "UTC", r"cron='61 \* \* \* \*': .*out of range"),
        ("* * * *", "UTC", "five fields are needed"),
        ("* * * * * *", "UTC", "five fields are needed"),
        ("", "UTC", "five fields are needed"),
        ("@reboot", "UTC", "cron='@reboot': "),
        ("R * * * *", "UTC", "drawn by lot"),
        ("h 3 * * *", "UTC", "drawn by lot"),
        ("0 0 30 2 *", "UTC", "failed to find next date"),
        ("* * * * *", "Europe/Berln", "timezone='Europe/Berln': no time zone of that name"),
        ("* * * * *", "Europe", "no time zone of that name"),
        ("* * * * *", "../../etc/passwd", "no time zone of that name"),
    ],
)
def test_what_makes_no_sense_is_refused(cron: str, timezone: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Crontab.of(cron, timezone)


@pytest.mark.parametrize("every", [0.999, 0, -1, "10ms", "soon", float("nan"), True])
def test_an_interval_of_less_than_a_second_is_refused(every: Duration) -> None:
    with pytest.raises(ValueError, match=r"a second or more is needed|is no length of time"):
        Interval.of(every)
