"""The errors that keep average precision down, in the sense of TIDE (Bolya et al., arXiv 2008.08115).

Each wrong detection has one reason, and each reason is worth what AP50 would gain without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .matching import FOREGROUND, Bools, Floats, Ints, Matches
from .ranking import precision_at_recalls, rankings_of

BACKGROUND = 0.1
KINDS = ("classification", "localisation", "both", "duplicate", "background", "missed")


@dataclass(frozen=True, slots=True)
class ErrorBreakdown:
    """The number of errors of each kind, and what AP50 would gain without them.

    ap50: AP at an overlap of 0.5; None where no object counts. counts: the number of errors of each of
    KINDS. gains: by how much ap50 would be higher if the errors of that kind alone were corrected.

    A detection that is not a hit overlaps an object of its own class by 0.1 to 0.5 ("localisation"), or
    one of another class by 0.5 or more ("classification"), or one of its own class that a better detection
    has taken ("duplicate"), or nothing by more than 0.1 ("background"); otherwise it is wrong in "both".
    "missed" are objects that no detection took, and that none would take with a better box or class.
    """

    ap50: float | None
    counts: Mapping[str, int]
    gains: Mapping[str, float]


@dataclass(frozen=True, slots=True, eq=False)
class _Counted:
    """The D detections of all images that are not ignored, best first, and the N objects of all images.

    scores, labels: (D,). hits: (D,), the object that each takes (-1: none). kinds: (D,), why it is wrong, as
    a position in KINDS (-1: it is not). meant: (D,), the object that it was meant for (-1: none). objects:
    (N,), their classes. missed: (N,) bool, whether no detection was meant for it.
    """

    scores: Floats
    labels: Ints
    hits: Ints
    kinds: Ints
    meant: Ints
    objects: Ints
    missed: Bools


def error_breakdown(matches: Sequence[Matches], classes: int) -> ErrorBreakdown:
    """Return the errors of matched detections, of so many classes."""
    counted = _counted(matches)
    before = _ap(counted, classes, "")
    numbers = np.bincount(counted.kinds[counted.kinds >= 0], minlength=len(KINDS)).tolist()
    counts = dict(zip(KINDS, numbers, strict=True)) | {"missed": int(counted.missed.sum())}
    if before is None:
        return ErrorBreakdown(None, counts, dict.fromkeys(KINDS, 0.0))
    gains = {kind: (_ap(counted, classes, kind) or 0.0) - before for kind in KINDS}
    return ErrorBreakdown(before, counts, gains)


def _counted(matches: Sequence[Matches]) -> _Counted:
    reasons = [_reasons(m) for m in matches]
    starts = np.cumsum([0, *(len(m.objects) for m in matches)])[:-1]
    kept = ~_joined(m.ignored for m in matches).astype(bool)
    scores = np.concatenate([np.zeros(0), *(m.scores for m in matches)])[kept]
    hits = _joined(map(_moved, (m.hits for m in matches), starts))[kept]
    meant = _joined(map(_moved, (meant for _, meant in reasons), starts))[kept]
    kinds = _joined(kinds for kinds, _ in reasons)[kept]
    objects = _joined(m.objects for m in matches)
    kinds[hits >= 0] = meant[hits >= 0] = -1
    missed = np.ones(len(objects), dtype=bool)
    missed[hits[hits >= 0]] = missed[meant[meant >= 0]] = False
    labels, best = _joined(m.labels for m in matches)[kept], np.argsort(-scores, kind="stable")
    return _Counted(
        scores[best], labels[best], hits[best], kinds[best], meant[best], objects, missed
    )


def _joined(parts: Iterable[Ints | Bools]) -> Ints:
    return np.concatenate([np.zeros(0, dtype=np.int64), *parts])


def _moved(positions: Ints, start: int) -> Ints:
    """Return positions among the objects of an image as those among all; -1 stays."""
    return np.where(positions < 0, -1, positions + start)


def _reasons(m: Matches) -> tuple[Ints, Ints]:
    """Return why each detection of an image would be wrong, and which object it was meant for (-1: none)."""
    if not len(m.objects):
        return np.full(len(m.labels), KINDS.index("background")), np.full(len(m.labels), -1)
    same = m.labels[:, None] == m.objects[None]
    own, other = np.where(same, m.iou, 0.0), np.where(same, 0.0, m.iou)
    own_most, other_most = own.max(axis=1), other.max(axis=1)
    conditions = {
        "background": np.maximum(own_most, other_most) <= BACKGROUND,
        "localisation": (own_most >= BACKGROUND) & (own_most < FOREGROUND),
        "classification": other_most >= FOREGROUND,
        "duplicate": own_most >= FOREGROUND,
    }
    numbers = [KINDS.index(kind) for kind in conditions]
    kinds = np.select([*conditions.values()], numbers, KINDS.index("both"))
    localised, classified = (kinds == KINDS.index(k) for k in ("localisation", "classification"))
    meant = np.select([localised, classified], [own.argmax(axis=1), other.argmax(axis=1)], -1)
    return kinds, meant


def _ap(counted: _Counted, classes: int, corrected: str) -> float | None:
    """Return the classes' mean AP at an overlap of 0.5, with the errors of one kind corrected."""
    labels, right, objects = counted.labels, counted.hits >= 0, counted.objects
    if corrected == "missed":
        objects = objects[~counted.missed]
    if corrected:
        wrong = counted.kinds == KINDS.index(corrected)
        mended = _mended(counted, np.flatnonzero(wrong))
        labels, right = labels.copy(), right.copy()
        labels[mended], right[mended] = counted.objects[counted.meant[mended]], True
        wrong[mended] = False
        kept = ~wrong  # The others are corrected by leaving them out.
        scores, labels, right = counted.scores[kept], labels[kept], right[kept]
    else:
        scores = counted.scores
    each = [
        float(precision_at_recalls(ranking).mean())
        for ranking in rankings_of(scores, labels, right, np.bincount(objects, minlength=classes))
        if ranking.objects
    ]
    return float(np.mean(each)) if each else None


def _mended(counted: _Counted, wrong: Ints) -> Ints:
    """Return which of some wrong detections take the object that they are meant for: the best for each.

    An object that a right detection has is not taken.
    """
    meant = counted.meant[wrong]
    free = (meant >= 0) & ~np.isin(meant, counted.hits)
    _, first = np.unique(meant[free], return_index=True)
    return wrong[free][first]
