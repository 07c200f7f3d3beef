"""Figures for people."""

from __future__ import annotations

from .coco import Metrics
from .errors import KINDS, ErrorBreakdown


def metrics_table(metrics: Metrics) -> str:
    """The figures for people, in points of 0 to 100 as papers print them."""
    named = metrics.to_json()
    per_class = named.pop("per_class")
    images = named.pop("images")
    named.pop("errors", None)
    masks = named.pop("masks", None) or {}
    lines = [f"{images} images"]
    lines += [f"{name.upper().replace('_', ' '):<12} {_points(v)}" for name, v in named.items()]
    lines += [
        f"mask {name.upper().replace('_', ' '):<12} {_points(v)}" for name, v in masks.items()
    ]
    lines += [f"AP of {name!r}: {_points(v)}" for name, v in per_class.items()]
    if metrics.errors is not None:
        lines += _errors(metrics.errors)
    return "\n".join(lines)


def _errors(errors: ErrorBreakdown) -> list[str]:
    """TIDE's."""
    return ["what AP50 would gain without an error of one kind, and how many there are"] + [
        f"{kind:<14} {_points(errors.gains[kind])} {errors.counts[kind]:>7}" for kind in KINDS
    ]


def _points(value: float | None) -> str:
    return "   -" if value is None else f"{100 * value:5.1f}"
