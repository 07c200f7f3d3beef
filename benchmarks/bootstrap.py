"""Average precision of resampled images: how certain a difference between two sets of detections is.

A resample only weights the images, so nothing is matched or sorted again. With weights of one, the result
is COCO's AP.
"""

from collections.abc import Sequence

import numpy as np

from fdet.pipeline.dataset.annotations import Annotations
from fdet.pipeline.evaluation.coco import _ground_truth, sizes_of, to_coco_results
from fdet.pipeline.evaluation.engines import evaluated

_RECALLS = np.linspace(0, 1, 101)


class Matched:
    """The detections of a set of images, matched to their objects, of all areas and 100 an image."""

    def __init__(self, annotations: Annotations, found) -> None:
        ids = sorted(found)
        results = to_coco_results(found, annotations.class_ids, sizes_of(annotations, found))
        counted = evaluated("pycocotools", _ground_truth(annotations, ids), results, ids)
        areas, classes = len(counted.params.areaRng), len(counted.params.catIds)
        every = [counted.evalImgs[k * areas * len(ids) : k * areas * len(ids) + len(ids)]
                 for k in range(classes)]  # fmt: skip
        precision = counted.eval["precision"][:, :, :, 0, -1]
        self.ap = float(precision[precision > -1].mean())
        self.classes = [_Class(images) for images in every]

    def resampled(self, weights: np.ndarray) -> float:
        """Return the AP where image k counts weights[k] times."""
        found = [c.ap(weights) for c in self.classes]
        return float(np.mean([ap for ap in found if ap is not None]))


class _Class:
    def __init__(self, images: Sequence[dict | None]) -> None:
        self.objects = np.array(
            [0 if x is None else int((~_bool(x["gtIgnore"])).sum()) for x in images]
        )
        kept = [(k, x) for k, x in enumerate(images) if x is not None]
        scores = [np.array(x["dtScores"][:100]) for _, x in kept]
        order = np.argsort(-np.concatenate([*scores, []]), kind="mergesort")
        where = [np.full(len(s), k) for (k, _), s in zip(kept, scores, strict=True)]
        self.image = np.concatenate([*where, []])[order].astype(int)
        empty = np.zeros((10, 0))
        matched = np.concatenate([*(x["dtMatches"][:, :100] for _, x in kept), empty], axis=1)
        ignored = np.concatenate([*(x["dtIgnore"][:, :100] for _, x in kept), empty], axis=1)
        self.right = ((matched > 0) & (ignored == 0))[:, order]
        self.wrong = ((matched == 0) & (ignored == 0))[:, order]

    def ap(self, weights: np.ndarray) -> float | None:
        objects = int((self.objects * weights).sum())
        if not objects:
            return None
        own = weights[self.image]
        right, wrong = np.cumsum(self.right * own, axis=1), np.cumsum(self.wrong * own, axis=1)
        recall = right / objects
        precision = right / np.maximum(right + wrong, np.spacing(1))
        precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        total = 0.0
        for r, p in zip(recall, precision, strict=True):
            at = np.searchsorted(r, _RECALLS, side="left")
            total += p[at[at < len(p)]].sum()
        return total / (len(recall) * len(_RECALLS))


def _bool(x) -> np.ndarray:
    return np.array(x, dtype=bool)


def paired(one: Sequence[Matched], other: Sequence[Matched], rounds: int = 1000):
    """Return the mean difference other - one over the pairs, in points, and its 95 % interval over images."""
    images = len(one[0].classes[0].objects)
    rng = np.random.default_rng(0)
    plain = np.ones(images, int)
    pairs = list(zip(one, other, strict=True))
    observed = np.mean([b.resampled(plain) - a.resampled(plain) for a, b in pairs])
    drawn = []
    for _ in range(rounds):
        weights = np.bincount(rng.integers(0, images, images), minlength=images)
        drawn.append(np.mean([b.resampled(weights) - a.resampled(weights) for a, b in pairs]))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return 100 * float(observed), 100 * float(low), 100 * float(high)
