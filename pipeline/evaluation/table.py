"""Tables of figures for people to read."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...cache.wording import counted
from ..runs.points import points
from .class_table import class_table, comparison_lines
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

    It has a column for boxes, and one for masks where they are found. The classes have a table of their own
    where it is known what the scores are worth.
    """
    names = [*FIGURES, *(n for n in GROUPS if getattr(metrics, n) is not None)]
    boxes = {_label(name): getattr(metrics, name) for name in names}
    classes = metrics.per_class if metrics.scores is None else {}
    boxes |= {f"AP of {name!r}": v for name, v in classes.items()}
    columns = [boxes]
    if metrics.masks is not None:
        masks = {_label(name): metrics.masks[name] for name in names}
        of_classes = metrics.masks_per_class or {}
        columns.append(masks | {f"AP of {name!r}": v for name, v in of_classes.items()})
    width = max(map(len, boxes))
    heads = [f"{name:>6}" for name in ("boxes", "masks")[: len(columns)]]
    lines = [counted(metrics.images, "image").ljust(width) + "".join(heads)]
    for name in boxes:
        figures = (f"{points(column.get(name)):>6}" for column in columns)
        lines.append(name.ljust(width) + "".join(figures))
    if metrics.scores is not None:
        lines += ["", *class_table(metrics, metrics.scores), ""]
    if metrics.errors is not None:
        lines += _errors(metrics.errors)
    if metrics.compared is not None:
        lines += ["", *comparison_lines(metrics, metrics.compared)]
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
        lines.append(name.ljust(width) + "".join(f"   {points(value):>6}" for value in values))
    return "\n".join(lines)


def unfinished_line(run: Path, unfinished: Mapping[str, int]) -> str:
    """Return the line that says that a run has not come to its end."""
    return (
        f"note: {run} is not finished: {unfinished['epochs']} of {unfinished['of']} epochs are evaluated, "
        f"so its figures are not final; `fdet train-heads --resume {shlex.quote(str(run))}` goes on"
    )


def _label(name: str) -> str:
    """Return the label of a figure: "ap_small" -> "AP small (< 32² px)"."""
    figure, _, part = name.partition("_")
    return f"{figure.upper()} {part} ({_PARTS[part]})" if part else figure.upper()


def _errors(errors: ErrorBreakdown) -> list[str]:
    """Return the lines on the errors of boxes by TIDE."""
    return ["what AP50 would gain without errors of one kind, and how many there are"] + [
        f"{kind:<14} {points(errors.gains[kind]):>6} {errors.counts[kind]:>7}" for kind in KINDS
    ]
