"""How figures are written, at the borders between units."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from heori import formats


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 µs"),
        (0.00025, "250 µs"),
        (0.0009994, "999 µs"),
        (0.0009996, "1.0 ms"),
        (0.0031, "3.1 ms"),
        (0.99994, "999.9 ms"),
        (0.99996, "1.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 0 s"),
        (200, "3 min 20 s"),
        (3599.6, "1 h 0 min"),
        (7500, "2 h 5 min"),
        (48 * 3600, "2 d 0 h"),
    ],
)
def test_a_duration_is_in_its_largest_units_and_never_a_whole_of_the_next(
    seconds: float, text: str
) -> None:
    assert formats.duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s ago"),
        (-0.3, "0 s ago"),
        (3.2, "3 s ago"),
        (59.4, "59 s ago"),
        (59.6, "1 min 0 s ago"),
        (59.96, "1 min 0 s ago"),
        (7500, "2 h 5 min ago"),
        (-600, "in 10 min 0 s"),
        (-2, "in 2 s"),
    ],
)
def test_an_age_is_in_whole_seconds_and_says_what_is_still_to_come(
    seconds: float, text: str
) -> None:
    assert formats.age(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1_500, "1.5 kB"),
        (999_940, "999.9 kB"),
        (999_960, "1.0 MB"),
        (40_100_000, "40.1 MB"),
        (2_500_000_000, "2.5 GB"),
        (3e12, "3,000.0 GB"),
    ],
)
def test_a_size_is_in_decimal_units(number: float, text: str) -> None:
    assert formats.size(number) == text


def test_a_number_is_said_with_what_it_counts() -> None:
    assert formats.counted(1, "job") == "1 job"
    assert formats.counted(12345, "job") == "12,345 jobs"
    assert formats.counted(2, "delivery", "deliveries") == "2 deliveries"


def test_a_moment_is_told_by_utc_wherever_it_comes_from() -> None:
    seoul = datetime(2030, 1, 31, 19, tzinfo=timezone(timedelta(hours=9)))
    assert formats.moment(seoul) == "2030-01-31 10:00:00Z"
    assert formats.moment(seoul.astimezone(UTC).timestamp()) == "2030-01-31 10:00:00Z"
