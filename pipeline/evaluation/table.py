"""Tables of figures for people to read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .coco import FIGURES, GROUPS, Metrics
from .errors import KINDS, ErrorBreakdown

# What COCO's ranges of areas and LVIS' groups of classes stand for.
_PARTS = {
    "small": "< 32² px",
    "medium": "32² to 96² px",
    "large": "> 96² px",
    "rare": "in at most 10 training images",
    "common": "in 11 to 100",
    "frequent": "in more",
}


def metrics_table(metrics: Metrics) -> str:
    """Return a table of the figures, in points of 0 to 100 as papers print them.

    It has a column for boxes, and one for masks where they are found.
    """
    names = [*FIGURES, *(n for n in GROUPS if getattr(metrics, n) is not None)]
    boxes = {_label(name): getattr(metrics, name) for name in names}
    boxes |= {f"AP of {name!r}": v for name, v in metrics.per_class.items()}
    columns = [boxes]
    if metrics.masks is not None:
        masks = {_label(name): metrics.masks[name] for name in names}
        of_classes = metrics.masks_per_class or {}
        columns.append(masks | {f"AP of {name!r}": v for name, v in of_classes.items()})
    width = max(map(len, boxes))
    heads = [f"{name:>6}" for name in ("boxes", "masks")[: len(columns)]]
    lines = [f"{metrics.images} images".ljust(width) + "".join(heads)]
    for name in boxes:
        figures = (_points(column.get(name)) for column in columns)
        lines.append(name.ljust(width) + "".join(figures))
    if metrics.errors is not None:
        lines += _errors(metrics.errors)
    return "\n".join(lines)


def change_table(columns: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a table of the AP of whole evaluations next to each other, and by group of classes.

    columns: the evaluations by name, as Metrics.to_json gives them. Figures that none of them has are left
    out, as are groups that do not count.
    """
    figures: dict[str, list[float | None]] = {}
    for name in ("ap", "ap50", *GROUPS):
        figures[_label(name)] = [of.get(name) for of in columns.values()]
    for name in ("ap", *GROUPS):
        values = [(of.get("masks") or {}).get(name) for of in columns.values()]
        figures[f"{_label(name)} of masks"] = values
    rows = {name: values for name, values in figures.items() if set(values) != {None}}
    width = max(map(len, rows), default=0)
    lines = [" " * width + "".join(f"  {name:>7}" for name in columns)]
    for name, values in rows.items():
        lines.append(name.ljust(width) + "".join(f"   {_points(value)}" for value in values))
    return "\n".join(lines)


def _label(name: str) -> str:
    """Return the label of a figure: "ap_small" -> "AP small (< 32² px)"."""
    figure, _, part = name.partition("_")
    return f"{figure.upper()} {part} ({_PARTS[part]})" if part else figure.upper()


def _errors(errors: ErrorBreakdown) -> list[str]:
    """Return the lines on the errors of boxes by TIDE."""
    return [
        "what the boxes' AP50 would gain without errors of one kind, and how many there are"
    ] + [f"{kind:<14} {_points(errors.gains[kind])} {errors.counts[kind]:>7}" for kind in KINDS]


def _points(value: float | None) -> str:
    return "     -" if value is None else f"{100 * value:6.1f}"
