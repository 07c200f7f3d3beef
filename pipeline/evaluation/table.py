"""Figures for people."""

from __future__ import annotations

from .coco import FIGURES, Metrics
from .errors import KINDS, ErrorBreakdown

# What COCO's areas are, in px of the image.
_AREAS = {"small": "< 32²", "medium": "32² to 96²", "large": "> 96²"}


def metrics_table(metrics: Metrics) -> str:
    """The figures for people, in points of 0 to 100 as papers print them; boxes, and masks where they
    are found.
    """
    boxes = {_shown(name): getattr(metrics, name) for name in FIGURES}
    boxes |= {f"AP of {name!r}": v for name, v in metrics.per_class.items()}
    columns = [boxes]
    if metrics.masks is not None:
        masks = {_shown(name): metrics.masks[name] for name in FIGURES}
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


def _shown(name: str) -> str:
    """ "ap_small" -> "AP small (< 32² px)"."""
    figure, _, area = name.partition("_")
    return f"{figure.upper()} {area} ({_AREAS[area]} px)" if area else figure.upper()


def _errors(errors: ErrorBreakdown) -> list[str]:
    """TIDE's, of boxes."""
    return [
        "what the boxes' AP50 would gain without errors of one kind, and how many there are"
    ] + [f"{kind:<14} {_points(errors.gains[kind])} {errors.counts[kind]:>7}" for kind in KINDS]


def _points(value: float | None) -> str:
    return "     -" if value is None else f"{100 * value:6.1f}"
