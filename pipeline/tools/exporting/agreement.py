"""How nearly the detections of an exported file are those of the run, one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torchvision.ops import box_iou

from ....heads.types import Detections

# Within these a detection is the same: px of the image, and the score.
BOX, SCORE = 0.01, 1e-4
# The largest share of detections, though always one, that may be the other one of two boxes of one score.
TIES = 0.01
_LABELS_DIFFER = 1e9


@dataclass(frozen=True, slots=True)
class Agreement:
    """The agreement over some images.

    same: how many detections are in both, within the tolerances. tied: how many are two boxes of one score,
    of which NMS kept one in the run and the other in the file. different: how many are in one alone, or
    differ by more. box, score: the largest difference of those that belong together, ties not counted.
    """

    same: int
    tied: int
    different: int
    box: float
    score: float

    @property
    def share(self) -> float:
        """The share of all detections that are the same, or tied if those are few; 1 where there are none.

        A file that moves every box a little would give nothing but ties.
        """
        allowed = min(self.tied, max(1.0, TIES * self.total))
        return (self.same + allowed) / self.total if self.total else 1.0

    @property
    def total(self) -> int:
        """The number of detections that were compared."""
        return self.same + self.tied + self.different


def agreement(
    pairs: Sequence[tuple[Detections, Detections]], threshold: float, limit: int, iou: float
) -> Agreement:
    """Compare what the run finds in each image with what the file finds.

    threshold, limit: the lowest score that is reported, and the maximum number of detections. A detection at
    either end may be in one alone, as a last bit decides there. iou: the overlap from which on NMS keeps one
    of two boxes.
    """
    parts = [_of_image(*pair, threshold, limit, iou) for pair in pairs]
    return Agreement(
        sum(part.same for part in parts),
        sum(part.tied for part in parts),
        sum(part.different for part in parts),
        max((part.box for part in parts), default=0.0),
        max((part.score for part in parts), default=0.0),
    )


def _of_image(
    mine: Detections, theirs: Detections, threshold: float, limit: int, iou: float
) -> Agreement:
    """Give each detection of the run, best first, the nearest one of the file that is not taken yet."""
    boxes = np.abs(mine.boxes.numpy()[:, None] - theirs.boxes.numpy()[None]).max(axis=2)
    scores = np.abs(mine.scores.numpy()[:, None] - theirs.scores.numpy()[None])
    overlaps = box_iou(mine.boxes, theirs.boxes).numpy() >= iou
    other = mine.labels.numpy()[:, None] != theirs.labels.numpy()[None]
    # A score that is off by its tolerance counts as much as a box that is off by its own.
    far = np.maximum(boxes / BOX, scores / SCORE) + other * _LABELS_DIFFER
    same, tied, different, box, score = 0, 0, 0, 0.0, 0.0
    left = np.ones(len(theirs), dtype=bool)
    for k in range(len(mine)):
        at = int(np.where(left, far[k], np.inf).argmin()) if left.any() else -1
        if at < 0 or boxes[k, at] > _apart(mine, k) or other[k, at]:
            different += not _at_an_end(mine, k, threshold, limit)
            continue
        left[at] = False
        if boxes[k, at] > BOX and scores[k, at] <= SCORE and overlaps[k, at]:
            tied += 1
            continue
        within = bool(boxes[k, at] <= BOX and scores[k, at] <= SCORE)
        same, different = same + within, different + (not within)
        box, score = max(box, float(boxes[k, at])), max(score, float(scores[k, at]))
    different += sum(not _at_an_end(theirs, int(k), threshold, limit) for k in np.flatnonzero(left))
    return Agreement(same, tied, different, box, score)


def _apart(found: Detections, k: int) -> float:
    """Return the distance, px, from which on two boxes are not of the same object: half a side."""
    left, top, right, bottom = found.boxes[k].tolist()
    return float(max(BOX, min(right - left, bottom - top) / 2))


def _at_an_end(found: Detections, k: int, threshold: float, limit: int) -> bool:
    """Return whether a score is at the threshold, or that of the last detection of a full image."""
    score = float(found.scores[k])
    full = len(found) >= limit and score <= float(found.scores.min()) + SCORE
    return full or score <= threshold + SCORE
