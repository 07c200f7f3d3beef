"""Detections of tiles become those of the image: one for each object, wherever the seams are."""

from itertools import product

import numpy as np
import pytest
import torch

from fdet.cache.windows import Window
from fdet.heads.masks import paste_masks
from fdet.heads.types import Detections
from fdet.pipeline.dataset.tiling import Tiling
from fdet.pipeline.evaluation.merging import merged

HW = (500, 700)
TILING = Tiling(200, 0.2)
WINDOWS = TILING.windows(HW)


def seen(objects, window, labels=None, scores=None, masks=False, share=0.2):
    """What a perfect detector finds in a window: the part of each object, of which it shows enough."""
    boxes = np.asarray(objects, dtype=float)
    corner = np.array([window.x, window.y] * 2)
    limit = np.array([window.width, window.height] * 2)
    cut = np.clip(boxes - corner, 0, limit)
    area = np.prod(cut[:, 2:] - cut[:, :2], axis=1)
    kept = area >= share * np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    labels = np.zeros(len(boxes), int) if labels is None else np.asarray(labels)
    # The larger the part, the lower the score: completeness must not depend on scores.
    scores = 0.9 - 0.0001 * area / area.max(initial=1) if scores is None else np.asarray(scores)
    return Detections(
        torch.tensor(cut[kept], dtype=torch.float32),
        torch.tensor(np.asarray(scores)[kept], dtype=torch.float32),
        torch.tensor(labels[kept], dtype=torch.int64),
        torch.ones(int(kept.sum()), 28, 28) if masks else None,
    )


def found_of(objects, windows=WINDOWS, agnostic=False, **more):
    return merged([(w, seen(objects, w, **more)) for w in windows], HW, agnostic=agnostic)


def sorted_boxes(boxes):
    return sorted(tuple(round(float(v), 2) for v in box) for box in boxes)


def seams():
    """The middles of all bands that two tiles share, along x and along y, and the borders of the tiles."""
    along = []
    for axis in ("x", "y"):
        starts = sorted({getattr(w, axis) for w in WINDOWS})
        along.append([v for s in starts for v in (s, s + 200) if 0 < v < HW[axis == "x"]])
    return along


@pytest.mark.parametrize("side", [12, 30, 38])
def test_an_object_on_every_seam_is_found_once_and_whole(side):
    xs, ys = seams()
    half = side / 2
    for x, y in [*product(xs, ys), *((x, 250) for x in xs), *((350, y) for y in ys)]:
        box = (x - half, y - half, x + half, y + half)
        found = found_of([box])
        assert sorted_boxes(found.boxes) == [box], (x, y)


@pytest.mark.parametrize("sides", [(120, 60), (60, 120), (260, 40), (40, 300), (150, 150)])
def test_an_object_larger_than_the_overlap_is_put_together(sides):
    xs, ys = seams()
    width, height = sides
    for x, y in product(xs, ys):
        box = (
            max(0, x - width / 2),
            max(0, y - height / 2),
            min(HW[1], x + width / 2),
            min(HW[0], y + height / 2),
        )
        assert sorted_boxes(found_of([box], share=0.05).boxes) == [box], (x, y)


def test_neighbours_that_overlap_both_survive_on_every_seam():
    xs, ys = seams()
    for x, y in product(xs, ys):
        one = (x - 20.0, y - 15.0, x + 10.0, y + 15.0)
        other = (x - 8.0, y - 15.0, x + 22.0, y + 15.0)  # IoU 0.43
        assert sorted_boxes(found_of([one, other]).boxes) == sorted_boxes([one, other]), (x, y)


def test_many_objects_at_random_are_each_found_once():
    rng = np.random.default_rng(0)
    corners = [(x + 3, y + 3) for x in range(0, 680, 34) for y in range(0, 450, 34)]
    boxes = [(x, y, x + rng.uniform(8, 28), y + rng.uniform(8, 28)) for x, y in corners]
    found = found_of(boxes)
    assert sorted_boxes(found.boxes) == sorted_boxes(boxes)
    assert (found.scores.diff() <= 0).all()


def test_classes_are_told_apart_unless_boxes_are_compared_across_them():
    box = (150.0, 150.0, 180.0, 180.0)
    parts = [(w, seen([box], w, labels=[k % 2])) for k, w in enumerate(WINDOWS)]
    assert sorted(merged(parts, HW, agnostic=False).labels.tolist()) == [0, 1]
    assert len(merged(parts, HW, agnostic=True)) == 1


def test_the_best_score_stays():
    box = (150.0, 150.0, 180.0, 180.0)
    parts = [(w, seen([box], w, scores=[0.1 + 0.05 * k])) for k, w in enumerate(WINDOWS)]
    best = max(float(d.scores[0]) for _, d in parts if len(d))
    assert merged(parts, HW, agnostic=False).scores.tolist() == [pytest.approx(best)]


def test_a_whole_view_and_tiles_are_one_image():
    objects = [(20.0, 20.0, 60.0, 70.0), (100.0, 50.0, 600.0, 450.0), (390.0, 190.0, 420.0, 220.0)]
    whole = (None, seen(objects, Window(0, 0, 700, 500)))
    parts = [whole, *((w, seen(objects, w)) for w in WINDOWS)]
    assert sorted_boxes(merged(parts, HW, agnostic=False).boxes) == sorted_boxes(objects)


def test_a_part_within_a_box_of_another_tile_goes_though_they_disagree_where_both_look():
    left, right = Window(0, 0, 200, 200), Window(160, 0, 200, 200)
    whole = seen([(100.0, 20.0, 190.0, 60.0)], left)
    part = Detections(torch.tensor([[0.0, 22.0, 12.0, 58.0]]), *(whole.scores, whole.labels))
    found = merged([(left, whole), (right, part)], (200, 360), agnostic=False)
    assert sorted_boxes(found.boxes) == [(100.0, 20.0, 190.0, 60.0)]


def test_a_single_whole_image_is_left_as_it_is():
    found = seen([(1.0, 2.0, 30.0, 40.0)], Window(0, 0, 700, 500))
    assert merged([(None, found)], HW, agnostic=False) is found


def test_nothing_found_is_nothing():
    found = merged([(w, seen(np.zeros((0, 4)), w)) for w in WINDOWS], HW, agnostic=False)
    assert len(found) == 0


def test_masks_go_with_their_boxes_and_grow_with_them():
    box = (100.0, 40.0, 380.0, 80.0)
    found = found_of([box], masks=True, share=0.05)
    assert found.masks is not None
    assert found.masks.shape == (1, 28, 28)
    pasted = paste_masks(found, HW)[0]
    # 2 px are left to the edges, where a grid of 28 cells is coarse.
    assert pasted[42:78, 110:370].all()
    assert not pasted[:38].any()
    assert not pasted[:, 392:].any()
