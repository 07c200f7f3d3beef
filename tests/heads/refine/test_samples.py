"""The boxes that an image's refiner learns from."""

import pytest
import torch
from torchvision.ops import box_iou

from fdet.heads.assign import BACKGROUND
from fdet.heads.refine.samples import JITTER, SAMPLED, objects_of, samples_of
from fdet.heads.types import Detections, Targets

HW = (100, 200)
OBJECTS = torch.tensor([[10.0, 10, 50, 60], [60, 20, 120, 80], [150, 0, 200, 100]])


def found(boxes, labels) -> Detections:
    return Detections(torch.tensor(boxes), torch.ones(len(boxes)), torch.tensor(labels))


def test_a_detection_learns_the_object_of_its_class_that_it_overlaps_most():
    targets = Targets(OBJECTS, torch.tensor([0, 1, 0]))
    near, far = [12.0, 10, 50, 60], [10.0, 10, 24, 60]
    detections = found([near, near, far, [62.0, 20, 120, 80]], [0, 1, 0, 1])
    assert objects_of(detections, targets).tolist() == [0, BACKGROUND, BACKGROUND, 1]


def test_those_that_match_come_with_copies_of_the_objects():
    targets = Targets(OBJECTS, torch.tensor([0, 1, 0]))
    detections = found([[12.0, 10, 50, 60], [0.0, 0, 5, 5]], [0, 0])
    samples = samples_of(detections, targets, HW, seed=2**50)
    assert samples.boxes.shape == samples.wanted.shape == (SAMPLED, 4)
    assert torch.equal(samples.boxes[0], detections.boxes[0])
    assert torch.equal(samples.wanted[0], OBJECTS[0])
    rows = (samples.wanted[:, None] == OBJECTS).all(dim=2)
    assert rows.any(dim=1).all() and rows.any(dim=0).all()
    limits = torch.tensor([HW[1], HW[0]] * 2)
    assert (samples.boxes >= 0).all() and (samples.boxes <= limits).all()
    size = (samples.wanted[:, 2:] - samples.wanted[:, :2]).repeat(1, 2)
    assert ((samples.boxes - samples.wanted).abs() <= JITTER * size + 1e-3).all()
    iou = box_iou(samples.boxes, samples.wanted).diagonal()
    assert 0.35 < iou.min() < iou.mean() < 0.85


def test_at_most_half_are_detections():
    many = OBJECTS[:1] + torch.rand(100, 4, generator=torch.Generator().manual_seed(0))
    detections = Detections(many, torch.ones(100), torch.zeros(100, dtype=torch.int64))
    samples = samples_of(detections, Targets(OBJECTS, torch.tensor([0, 1, 0])), HW, seed=0)
    among = (samples.boxes[:, None] == many).all(dim=2).any(dim=1)
    assert among.sum() == SAMPLED // 2 and among[: SAMPLED // 2].all()


@pytest.mark.parametrize("ignored", [None, OBJECTS[:1]])
def test_without_objects_there_is_none_and_ignored_regions_are_no_objects(ignored):
    targets = Targets(OBJECTS[:0], torch.zeros(0, dtype=torch.int64), ignored=ignored)
    samples = samples_of(found([[12.0, 10, 50, 60]], [0]), targets, HW, seed=0)
    assert samples.boxes.shape == samples.wanted.shape == (0, 4)


def test_they_hang_on_the_seed():
    targets = Targets(OBJECTS, torch.tensor([0, 1, 0]))
    first, again, other = (
        samples_of(found([[0.0, 0, 1, 1]], [0]), targets, HW, seed).boxes for seed in (1, 1, 2)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)
