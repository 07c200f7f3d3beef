"""The limit of the longer side of an image where only the shorter side is given; it imports nothing."""

from __future__ import annotations


def usual_long(short: int) -> int:
    """Return the limit of the longer side, px, where only the shorter one is given: COCO's 1333 for 800."""
    return max(short, round(short * 1333 / 800))


def chosen_long(short: int | None, long: int | None) -> str:
    """Return a line on a limit of the longer side that was not given, "" where there is none."""
    if short is None or long is not None:
        return ""
    return f"--long {usual_long(short)}: 1333/800 of --short {short}, as it was not given"
