"""Assignment against slow, literal ones, and where it has edges."""

import math

import pytest
import torch
from torchvision.models.detection._utils import Matcher
from torchvision.ops import box_iou

from fdet.heads.assign import (
    BACKGROUND,
    IGNORED,
    Alignment,
    assigned,
    centre_match,
    iou_match,
)
from fdet.heads.points import LocationsOf, per_location
from fdet.heads.types import Targets

from .reference import SPEC, pyramid

CANVAS = (64, 96)
CLASSES = 3
NOTHING = Targets(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))


@pytest.fixture(scope="module")
def locations():
    return LocationsOf(SPEC)(pyramid(1, CANVAS))


def random_boxes(count, seed, side=40.0):
    generator = torch.Generator().manual_seed(seed)
    limits = torch.tensor([CANVAS[1], CANVAS[0]], dtype=torch.float32)
    corner = torch.rand(count, 2, generator=generator) * (limits - 4)
    far = corner + torch.rand(count, 2, generator=generator) * side + 1
    return torch.cat([corner, far.minimum(limits)], dim=1)


def targets(boxes):
    generator = torch.Generator().manual_seed(len(boxes))
    return Targets(boxes, torch.randint(0, CLASSES, (len(boxes),), generator=generator))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [1, 4, 30])
def test_iou_match_equals_torchvisions_matcher(count, seed):
    boxes, anchors = random_boxes(count, seed), random_boxes(200, 100 + seed)
    # Ties: an object's best anchor stands there twice.
    anchors = torch.cat([anchors, anchors[:20], boxes[:1], boxes[:1]])
    for limits in ((0.5, 0.4), (0.7, 0.3), (0.3, 0.3)):
        expected = Matcher(*limits, allow_low_quality_matches=True)(box_iou(boxes, anchors))
        found = iou_match(boxes, anchors, *limits)
        assert torch.equal(found, expected)
        assert set(found.tolist()) > {BACKGROUND}
    assert IGNORED in iou_match(boxes, anchors, 0.9, 0.01)


def test_an_object_that_no_anchor_touches_takes_none():
    anchors = torch.tensor([[0.0, 0.0, 8.0, 8.0], [8.0, 0.0, 16.0, 8.0]])
    far = torch.tensor([[50.0, 50.0, 60.0, 60.0]])
    assert iou_match(far, anchors, 0.5, 0.4).tolist() == [BACKGROUND, BACKGROUND]


def literal_centre_match(boxes, points, strides, reaches, radius):
    matches = []
    for (x, y), (stride,), (low, high) in zip(
        points.tolist(), strides.tolist(), reaches.tolist(), strict=True
    ):
        best, match = math.inf, BACKGROUND
        for k, (x0, y0, x1, y1) in enumerate(boxes.tolist()):
            distances = (x - x0, y - y0, x1 - x, y1 - y)
            near = max(abs(x - (x0 + x1) / 2), abs(y - (y0 + y1) / 2)) < radius * stride
            area = (x1 - x0) * (y1 - y0)
            fits = near and min(distances) > 0 and low <= max(distances) <= high
            if fits and area < best:
                best, match = area, k
        matches.append(match)
    return matches


@pytest.mark.parametrize("radius", [0.5, 1.5, 100.0])
@pytest.mark.parametrize("count", [0, 1, 6, 150])
def test_centre_match_equals_a_literal_one(count, radius, locations):
    # Whole numbers meet every limit exactly.
    boxes = random_boxes(count, 3, side=90.0).round()
    boxes = boxes[(boxes[:, 2:] > boxes[:, :2]).all(dim=1)]
    low, high = [per_location(x, locations.counts) for x in ([0, 16, 32], [16, 32, math.inf])]
    common = locations.points, locations.strides, torch.stack([low, high], dim=1), radius
    found = centre_match(boxes, *common)
    assert found.dtype == torch.int64
    assert found.tolist() == literal_centre_match(boxes, *common)
    assert count == 0 or found.max() >= 0


def literal_alignment(setting, wanted, logits, boxes, points, least):
    """TOOD word for word: each object asks, then each place decides, then each object is scaled."""
    count, iou = len(wanted.boxes), box_iou(wanted.boxes, boxes)
    metric = [
        [
            float(logits[k, label].sigmoid().double()) ** setting.alpha
            * float(iou[j, k].double()) ** setting.beta
            for k in range(len(points))
        ]
        for j, label in enumerate(wanted.labels.tolist())
    ]
    asked = [[] for _ in points]
    for j in range(count):
        x0, y0, x1, y1 = wanted.boxes[j].tolist()
        half_w, half_h = max(x1 - x0, least) / 2, max(y1 - y0, least) / 2
        x, y = (x0 + x1) / 2, (y0 + y1) / 2
        inside = [
            k
            for k, (px, py) in enumerate(points.tolist())
            if abs(px - x) <= half_w and abs(py - y) <= half_h
        ]
        for k in sorted(inside, key=lambda k: -metric[j][k])[: setting.top_k]:
            asked[k].append(j)
    match = [
        max(of_place, key=lambda j: iou[j, k], default=BACKGROUND)
        for k, of_place in enumerate(asked)
    ]
    quality = [0.0] * len(points)
    for j in range(count):
        mine = [k for k, owner in enumerate(match) if owner == j]
        for k in mine:
            most = max(metric[j][i] for i in mine)
            quality[k] = metric[j][k] / most * max(float(iou[j, i]) for i in mine)
    return match, quality


def guesses(locations, seed=0):
    """Logits, and boxes that contain their points, as a head's do."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(len(locations.points), CLASSES, generator=generator)
    distances = torch.rand(len(locations.points), 4, generator=generator) * 3 + 0.1
    return logits, locations.boxes(distances)


TINY = torch.tensor([[17.0, 17.0, 18.5, 18.0]])  # between the points of every level
CASES = {
    "none": NOTHING.boxes,
    "one": random_boxes(1, 1),
    "some": random_boxes(5, 2),
    "nested": torch.tensor(
        [[8.0, 8, 56, 56], [12, 12, 52, 52], [20, 20, 40, 40], [8, 8, 56, 56.5]]
    ),
    "smaller than a stride": torch.cat([TINY, random_boxes(2, 5)]),
    "more objects than places": random_boxes(200, 4),
    "the whole canvas": torch.tensor([[0.0, 0.0, 96.0, 64.0]]),
}


@pytest.mark.parametrize("setting", [(1.0, 6.0, 13), (1.0, 6.0, 1), (0.5, 2.0, 10_000)], ids=str)
@pytest.mark.parametrize("case", CASES)
def test_task_alignment_equals_a_literal_one(case, setting, locations):
    wanted, setting = targets(CASES[case]), Alignment(*setting)
    logits, boxes = guesses(locations)
    found, quality = setting.match(wanted, logits, boxes, locations.points, 8.0)
    match, expected = literal_alignment(setting, wanted, logits, boxes, locations.points, 8.0)
    assert found.tolist() == match
    torch.testing.assert_close(quality, torch.tensor(expected), rtol=1e-4, atol=1e-6)


def test_an_object_between_the_points_is_learnt_on_the_finest_level(locations):
    _, boxes = guesses(locations)
    logits = torch.zeros(len(boxes), CLASSES)
    found, _ = Alignment(1.0, 6.0, 1).match(targets(TINY), logits, boxes, locations.points, 8.0)
    (location,) = torch.where(found == 0)[0].tolist()
    assert location < locations.counts[0]
    assert (locations.points[location] - torch.tensor([17.75, 17.5])).abs().max() <= 4


def test_every_object_keeps_its_top_quality_where_none_disputes_it(locations):
    wanted = targets(torch.tensor([[0.0, 0, 30, 30], [40, 0, 70, 30], [0, 34, 30, 64]]))
    logits, boxes = guesses(locations)
    found, quality = Alignment(1.0, 6.0, 5).match(wanted, logits, boxes, locations.points, 8.0)
    iou = box_iou(wanted.boxes, boxes)
    for k in range(3):
        assert (found == k).sum() == 5
        torch.testing.assert_close(quality[found == k].max(), iou[k, found == k].max())
    assert (quality[found < 0] == 0).all()


def test_a_fresh_heads_hopeless_boxes_still_rank(locations):
    """u^6 of an IoU of 1e-8 is below what float32 holds."""
    wanted = targets(torch.tensor([[0.0, 0, 64, 64]]))
    boxes = locations.boxes(torch.full((len(locations.points), 4), 1e-3))
    logits = torch.full((len(boxes), CLASSES), -40.0)
    found, quality = Alignment(1.0, 6.0, 13).match(wanted, logits, boxes, locations.points, 8.0)
    assert (found == 0).sum() == 13
    # The coarsest boxes are the largest, and so the best.
    best = torch.where(quality == quality.max())[0]
    assert best.min() >= sum(locations.counts[:2])
    assert (quality[found == 0] > 0).any()
    assert quality.isfinite().all()


def test_rows_of_a_batch_are_those_of_one_table():
    images = [targets(random_boxes(2, 1)), NOTHING, targets(random_boxes(3, 2))]
    matches = [
        torch.tensor([1, BACKGROUND, IGNORED]),
        torch.full((3,), BACKGROUND),
        torch.tensor([0, 2, BACKGROUND]),
    ]
    learnt = assigned(images, matches, torch.zeros(3, 2))
    assert learnt.rows.tolist() == [[1, -1, -2], [-1, -1, -1], [2, 4, -1]]
    assert torch.equal(learnt.foreground, learnt.rows >= 0)
    boxes = learnt.spread(learnt.boxes)
    assert torch.equal(boxes[0, 0], images[0].boxes[1])
    assert torch.equal(boxes[2, 1], images[2].boxes[2])
    assert not boxes[1].any()
    assert not boxes[0, 1:].any()
    labels = learnt.location_labels
    assert labels[0].tolist() == [images[0].labels[1], BACKGROUND, BACKGROUND]
    assert labels[2, 1] == images[2].labels[2]


def test_a_batch_without_a_single_object_is_background():
    learnt = assigned([NOTHING, NOTHING], [torch.full((4,), BACKGROUND)] * 2, torch.zeros(4, 2))
    assert learnt.spread(learnt.boxes).shape == (2, 4, 4)
    assert (learnt.location_labels == BACKGROUND).all()
