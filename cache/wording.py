"""Numbers and nouns in messages."""

from __future__ import annotations


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Return a number with its noun: 1 image, 2 images. plural: where it is not the noun and an s."""
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"
