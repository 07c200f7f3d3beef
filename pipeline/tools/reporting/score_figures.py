"""What an evaluation says of its scores, checked for the page: thresholds, curves, calibration, confusion.

`pipeline/evaluation/scores.py` writes it; the file may be anyone's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ....cache.format.json_values import list_of, mapping_of, number_of, whole_of

# The classes of a page: those with the most objects. More would make it large and the plots unreadable.
CLASSES = 30
_POINTS, _BINS = 101, 10


def score_figures_of(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an evaluation says of its scores; {} where it says nothing, as one by an older fdet.

    "all" and each of "classes" have objects, threshold, precision, recall, f1 and the curve of precision over
    recall. "bins" has the count, mean score and share of hits of each tenth of the scores. "confusion" has
    [true, found, count], in the order of "classes"; after these come the other classes, if there are any
    ("others"), and the background. Raises KeyError, TypeError, ValueError.
    """
    if content.get("scores") is None:
        return {}
    scores = mapping_of(content["scores"])
    classes = {name: _scored(one) for name, one in mapping_of(scores["classes"]).items()}
    names = list(classes)
    kept = sorted(sorted(range(len(names)), key=lambda k: -classes[names[k]]["objects"])[:CLASSES])
    calibration = mapping_of(scores["calibration"])
    return {
        "all": _scored(scores["all"]),
        "classes": [{"name": names[k], **classes[names[k]]} for k in kept],
        "others": len(classes) - len(kept),
        "bins": [_bin(row) for row in list_of(calibration["bins"])[:_BINS]],
        "confusion": _confusion(list_of(scores["confusion"]), kept, len(classes)),
    }


def _scored(value: Any) -> dict[str, Any]:
    one = mapping_of(value)
    curve = [_share(v) for v in list_of(one["precision_at_recall"])[:_POINTS]]
    return {
        "objects": whole_of(one["objects"], 0),
        **{name: _share(one[name]) for name in ("threshold", "precision", "recall", "f1")},
        "curve": curve if any(v is not None for v in curve) else [],
    }


def _share(value: Any) -> float | None:
    return None if value is None else number_of(value, 0.0, 1.0)


def _bin(row: Any) -> list[float | None]:
    count, score, share = list_of(row)
    return [whole_of(count, 0), _share(score), _share(share)]


def _confusion(entries: list[Any], kept: list[int], classes: int) -> list[list[int]]:
    """Return the entries among the classes that are kept; the others count together."""
    others = len(kept)
    background = others + (len(kept) < classes)
    place = {k: position for position, k in enumerate(kept)} | {classes: background}
    counts: dict[tuple[int, int], int] = {}
    for entry in entries:
        true, found, count = (whole_of(v, 0) for v in list_of(entry))
        if max(true, found) > classes:
            raise ValueError(f"expected a class up to {classes}, got {max(true, found)}")
        cell = place.get(true, others), place.get(found, others)
        counts[cell] = counts.get(cell, 0) + count
    return [[*cell, count] for cell, count in sorted(counts.items())]
