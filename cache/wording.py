"""Numbers and nouns in messages."""

from __future__ import annotations


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
