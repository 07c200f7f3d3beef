"""The table of `fdet zoo`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ....cache.disk.sizes import megabytes
from ...zoo.card import Card

_HEADINGS = ("name", "backbone", "head", "classes", "AP", "AP50", "size", "licence", "data")
_NUMBERS = frozenset({"classes", "AP", "AP50", "size"})


def listing(cards: Sequence[Card]) -> Iterator[str]:
    """Yield the lines of a table of entries, the best of each backbone first."""
    order = sorted(cards, key=lambda card: (card.backbone, -(card.ap or 0.0), card.name))
    rows = [_HEADINGS, *map(_row, order)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (
            f"{cell:>{width}}" if heading in _NUMBERS else f"{cell:<{width}}"
            for heading, cell, width in zip(_HEADINGS, row, widths, strict=True)
        )
        yield "  ".join(cells).rstrip()


def _row(card: Card) -> tuple[str, ...]:
    return (
        card.name,
        card.backbone,
        f"{card.head} on {card.neck}",
        str(len(card.classes)),
        *("-" if value is None else f"{100 * value:.1f}" for value in (card.ap, card.ap50)),
        megabytes(card.size),
        card.licence or "-",
        card.data or "-",
    )
