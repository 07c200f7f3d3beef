"""Finds of another class on an object that is found already are counted, and nothing else is."""

import json

import numpy as np
import pytest
import torch

from fdet.heads.candidates import suppressed
from fdet.heads.family import NMSSettings
from fdet.heads.types import Detections
from fdet.pipeline.dataset.data_set import load_annotations
from fdet.pipeline.evaluation.coco import unique_names
from fdet.pipeline.evaluation.duplicates import Duplicates, find_duplicates
from fdet.pipeline.evaluation.matching import all_matches
from fdet.pipeline.evaluation.scores import score_figures
from fdet.pipeline.runs.advice.evaluation_rules import across_classes
from fdet.pipeline.runs.advice.facts import Facts
from fdet.pipeline.runs.inspection import scores_of


def counted(annotations, found, nms_iou=0.5):
    matches = all_matches(annotations, found)
    scored = score_figures(matches, unique_names(annotations))
    return find_duplicates(matches, found, scored, nms_iou)


def annotated(folder, objects, images=1):
    """A data set of three classes with the same objects, (box xywh, class), in each image."""
    rows = [
        {"id": 100 * i + k, "image_id": i, "category_id": c, "bbox": box, "area": 1, "iscrowd": 0}
        for i in range(1, images + 1)
        for k, (box, c) in enumerate(objects)
    ]
    data = {
        "images": [
            {"id": i, "file_name": f"{i}.png", "height": 100, "width": 100}
            for i in range(1, images + 1)
        ],
        "categories": [{"id": k, "name": f"class {k}"} for k in (1, 2, 3)],
        "annotations": rows,
    }
    path = folder / "made.json"
    path.write_text(json.dumps(data))
    return load_annotations(path)[0]


def finds(*rows):
    """Detections of (box xyxy, score, label), in any order."""
    boxes, scores, labels = zip(*rows, strict=True)
    return Detections(torch.tensor(boxes).float(), torch.tensor(scores), torch.tensor(labels))


HIT, NEAR, APART = (10, 10, 50, 50), (11, 10, 51, 50), (20, 20, 60, 60)


@pytest.mark.parametrize(
    ("other", "wrong"),
    [
        ((NEAR, 0.8, 1), 1),
        ((NEAR, 0.8, 0), 0),  # of the same class, which NMS leaves for its own reasons
        ((NEAR, 0.95, 1), 0),  # the better one stays, and the hit goes
        ((APART, 0.8, 1), 0),
        ((NEAR, 0.01, 1), 0),  # below the threshold
    ],
)
def test_a_find_on_a_better_hit_of_another_class_is_a_duplicate(other, wrong, tmp_path):
    annotations = annotated(tmp_path, [([10, 10, 40, 40], 1), ([70, 70, 20, 20], 2)])
    found = {1: finds((HIT, 0.9, 0), other, ((70, 70, 90, 90), 0.5, 1))}
    assert counted(annotations, found).wrong == wrong


def test_a_hit_below_a_better_find_of_another_class_is_what_agnostic_nms_would_cost(tmp_path):
    annotations = annotated(tmp_path, [([10, 10, 40, 40], 1), ([11, 10, 40, 40], 2)])
    both = {1: finds((HIT, 0.9, 0), (NEAR, 0.8, 1))}
    assert counted(annotations, both) == Duplicates(2, 0, 1)
    assert counted(annotations, both, nms_iou=0.99) == Duplicates(2, 0, 0)


def test_nothing_found_has_no_duplicates(tmp_path):
    annotations = annotated(tmp_path, [([10, 10, 40, 40], 1)])
    nothing = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
    assert counted(annotations, {1: nothing}) == Duplicates(0, 0, 0)


def lookalikes(rng, share):
    """Finds of one object in an image, and with a chance of `share` of a second class on it."""
    score = rng.uniform(0.6, 0.9)
    rows = [(HIT, score, 0), ((60, 60, 95, 95), rng.uniform(0.05, 0.2), 1)]
    if rng.random() < share:
        rows.append((NEAR, score - 0.05, 2))
    return finds(*rows)


def spoken(counts):
    metrics = {
        "ap": 0.5,
        "duplicates": {n: getattr(counts, n) for n in ("finds", "wrong", "right")},
    }
    return across_classes(Facts(scores=scores_of(metrics)))


def test_the_line_counts_what_agnostic_nms_drops(tmp_path):
    rng = np.random.default_rng(0)
    annotations = annotated(tmp_path, [([10, 10, 40, 40], 1)], images=60)
    found = {i: lookalikes(rng, 0.7) for i in range(1, 61)}
    counts = counted(annotations, found)
    scored = score_figures(all_matches(annotations, found), unique_names(annotations))
    reached = [int((d.scores >= scored.together.threshold).sum()) for d in found.values()]
    assert (counts.finds, counts.wrong) == (sum(reached), reached.count(2))
    assert counts.wrong > 20
    assert f"{counts.wrong} of {counts.finds} finds" in spoken(counts)
    across = {i: suppressed(d, NMSSettings(nms="agnostic")) for i, d in found.items()}
    assert counted(annotations, across).wrong == 0
    assert spoken(counted(annotations, across)) is None


@pytest.mark.parametrize("seed", range(20))
def test_the_line_says_nothing_of_noise(seed, tmp_path):
    rng = np.random.default_rng(seed)
    annotations = annotated(tmp_path, [([10, 10, 40, 40], 1), ([50, 40, 30, 30], 2)], images=40)
    found = {}
    for i in range(1, 41):
        corners = rng.uniform(0, 60, (60, 2))
        boxes = np.concatenate([corners, corners + rng.uniform(15, 45, (60, 2))], axis=1)
        rows = zip(
            boxes.tolist(), rng.random(60).tolist(), rng.integers(0, 3, 60).tolist(), strict=True
        )
        found[i] = suppressed(finds(*rows), NMSSettings())
    assert spoken(counted(annotations, found)) is None
