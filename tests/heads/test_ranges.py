"""A range stands at its field, and every dataclass of settings is checked by it."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import pytest

from fdet.cache.errors import ConfigError
from fdet.heads.ranges import at_least, between, check_fields, range_of


@dataclass(frozen=True)
class Settings:
    rate: Annotated[float | Literal["auto"], at_least(0), "a rate"] = 0.5
    shares: Annotated[tuple[float, ...], between(0, 1), "shares"] = (0.1, 0.9)
    free: int = -5


@dataclass(frozen=True)
class Narrower(Settings):
    rate: Annotated[float, between(0, 0.5), "a rate"] = 0.5


@pytest.mark.parametrize("rate", [0.0, 3.0, "auto"])
def test_what_lies_within_is_taken(rate):
    check_fields("s", Settings(rate=rate, shares=(0.0, 1.0)))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (Settings(rate=-1.0), "setting 's.rate': expected at least 0, got -1.0"),
        (Settings(rate=math.inf), "setting 's.rate': expected at least 0, got inf"),
        (Settings(rate=math.nan), "setting 's.rate': expected at least 0, got nan"),
        (Settings(shares=(0.5, 1.5)), r"setting 's.shares': expected 0 to 1, got \[0.5, 1.5\]"),
        (Narrower(rate=0.6), "setting 's.rate': expected 0 to 0.5, got 0.6"),
    ],
)
def test_what_lies_outside_is_named_with_what_was_expected(settings, said):
    with pytest.raises(ConfigError, match=said):
        check_fields("s", settings)


def test_a_type_without_a_range_has_none():
    assert range_of(int) is None and range_of(Annotated[int, "a help"]) is None
    assert range_of(Annotated[int, at_least(3), "a help"]) == at_least(3)
