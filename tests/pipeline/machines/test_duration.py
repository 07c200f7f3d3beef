"""Durations are read as people write them, and nothing else is."""

import pytest

from fdet.cache.errors import InputError
from fdet.pipeline.machines.duration import (
    hours_minutes,
    parse_duration,
    shown_time,
    written_duration,
)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 s"),
        (0.0123, "0.012 s"),
        (4.52, "4.5 s"),
        (89.4, "89 s"),
        (90, "2 min"),
        (720, "12 min"),
        (7200, "2.0 h"),
        (12600, "3.5 h"),
    ],
)
def test_times_have_two_digits_or_so(seconds, shown):
    assert shown_time(seconds) == shown


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30m", 1800),
        ("30 min", 1800),
        ("1h30m", 5400),
        ("1h 30m", 5400),
        (" 90S ", 90),
        ("1.5h", 5400),
        ("2d", 172800),
        ("1d2h3m4s", 93784),
    ],
)
def test_a_time_is_a_sum_of_numbers_with_units(text, seconds):
    assert parse_duration(text, "--time") == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "30",
        "0m",
        "0h0m",
        "-5m",
        "5 minutes",
        "m",
        "1m30m",
        "30m1h",
        "1e3s",
        "h30m",
        "1..5h",
        "5m!",
    ],
)
def test_anything_else_is_refused(text):
    with pytest.raises(InputError, match=r"--time .*: expected a time, e\.g\. 30m, 1h30m or 90s"):
        parse_duration(text, "--time")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "1m"),
        (60, "1m"),
        (61, "2m"),
        (3540, "59m"),
        (3541, "1h00m"),
        (3900, "1h05m"),
        (90000, "25h00m"),
    ],
)
def test_a_time_that_is_proposed_is_rounded_up_and_can_be_given(seconds, text):
    assert written_duration(seconds) == text
    assert seconds <= parse_duration(text, "--time") <= seconds + 60


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-1, "0:00"), (0, "0:00"), (1, "0:01"), (60, "0:01"), (61, "0:02"), (3599, "1:00")],
)
def test_hours_and_minutes_are_rounded_up(seconds, shown):
    assert hours_minutes(seconds) == shown
    assert hours_minutes(100 * 3600) == "100:00"
