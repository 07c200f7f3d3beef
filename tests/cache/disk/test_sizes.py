"""Sizes as people write them."""

import pytest

from fdet.cache.disk.sizes import format_bytes, megabytes, parse_bytes
from fdet.cache.errors import InputError


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("4GiB", 2**32),
        ("3500MB", 3_500_000_000),
        ("4e9", 4_000_000_000),
        (" 1.5 gib ", 3 * 2**29),
        ("200GB", 200 * 10**9),
        ("1.5TiB", 3 * 2**39),
        ("1024", 1024),
        ("7B", 7),
    ],
)
def test_bytes_are_read(text, count):
    assert parse_bytes(text, "--budget") == count


@pytest.mark.parametrize(
    "text", ["", "GiB", "4 apples", "-4GiB", "0", "0.5B", "1e999GB", "4G", "٤GiB"]
)
def test_what_is_no_number_of_bytes_is_refused(text):
    with pytest.raises(InputError, match=r"^--budget .*: expected bytes, e\.g\. 4GiB"):
        parse_bytes(text, "--budget")


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 KiB"),
        (1, "1 KiB"),
        (30_000, "30 KiB"),
        (2**20, "1 MiB"),
        (420 * 2**20, "420 MiB"),
        (3.1 * 2**30, "3.1 GiB"),
    ],
)
def test_no_size_is_shown_as_nothing(count, text):
    assert format_bytes(count) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 kB"),
        (1, "0.001 kB"),
        (41_234, "41.2 kB"),
        (99_999, "100 kB"),
        (100_000, "0.1 MB"),
        (12_345_678, "12.3 MB"),
    ],
)
def test_a_small_size_in_megabytes_is_not_zero(count, text):
    assert megabytes(count) == text
