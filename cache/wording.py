"""Numbers and nouns in messages, and lists of names."""

from __future__ import annotations

from collections.abc import Sequence

# The maximum number of names in a sentence.
NAMED = 3


def counted(count: int, one: str, several: str = "") -> str:
    """Return a number with what it counts: "1 image", "2 images", "0 images".

    one: what is said of one thing, which may go on with a verb. several: what is said of several; by default
    the same with an s.
    """
    return f"{count} {one if count == 1 else several or f'{one}s'}"


def none_has(count: int, one: str, what: str) -> str:
    """Return that of so many things none has something: "none of its 3 images has a label file"."""
    return (
        f"its only {one} lacks {what}" if count == 1 else f"none of its {count} {one}s has {what}"
    )


def none_could(count: int, one: str, be: str) -> str:
    """Return that of so many things none could be used: "none of 3 images could be read"."""
    return f"the only {one} could not {be}" if count == 1 else f"none of {count} {one}s could {be}"


def listed(names: Sequence[str], most: int = NAMED) -> str:
    """Return the first names of a list, and how many more there are: "a, b, c and 4 more"."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
