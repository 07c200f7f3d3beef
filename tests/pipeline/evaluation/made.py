"""Matches of images that are made by hand, or drawn at random."""

import numpy as np

from fdet.pipeline.dataset.annotations import ImageBoxes
from fdet.pipeline.evaluation.matching import Matches, matched

HERE, THERE = [0.0, 0.0, 10.0, 10.0], [50.0, 50.0, 60.0, 60.0]
FAR = [200.0, 200.0, 230.0, 230.0]


def image(objects=(), found=(), partial=()) -> Matches:
    """objects: (box, class) or (box, class, crowd). found: (box, class, score)."""
    rows = [(*row, False)[:3] for row in objects]
    boxes = np.array([row[0] for row in rows], dtype=np.float64).reshape(-1, 4)
    truth = ImageBoxes(
        boxes,
        np.array([row[1] for row in rows], dtype=np.int64),
        np.array([row[2] for row in rows], dtype=bool),
        np.ones(len(rows)),
    )
    return matched(
        np.array([row[0] for row in found], dtype=np.float64).reshape(-1, 4),
        np.array([row[2] for row in found], dtype=np.float64),
        np.array([row[1] for row in found], dtype=np.int64),
        truth,
        partial=partial,
    )


def drawn(classes: int, images: int, seed: int = 0, each: int = 6) -> list[Matches]:
    """Images whose objects are found with noise: some missed, some as a neighbouring class, some invented."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(images):
        corner = rng.uniform(0, 400, (each, 2))
        boxes = np.concatenate([corner, corner + rng.uniform(20, 60, (each, 2))], axis=1)
        labels = rng.integers(0, classes, each)
        rows = []
        for box, label in zip(boxes, labels, strict=True):
            wrong = rng.random() < 0.2
            name = min(classes - 1, int(label) ^ 1) if wrong else int(label)
            score = round(float(rng.beta(5, 2) - 0.2 * wrong), 2)
            if rng.random() < 0.9:
                rows.append((box + rng.normal(0, 2, 4), name, max(0.01, score)))
            x, y = rng.uniform(0, 200, 2)
            rows.append(([x, y, x + 20, y + 20], name, rng.random() / 2))
        found.append(image(list(zip(boxes, labels.tolist(), strict=True)), rows))
    return found
