"""What is chosen in fixed shapes is what the heads choose image by image."""

import pytest
import torch

from fdet.heads.candidates import found_in_images
from fdet.heads.family import NMSSettings
from fdet.pipeline.exported.description import Selection
from fdet.pipeline.exported.selection import select

from ...heads.reference import placement

COUNTS = (900, 200, 30)
CLASSES = 3
CANVAS = (100, 100)


def random_candidates(per_class: bool):
    generator = torch.Generator().manual_seed(0)
    number = CLASSES if per_class else 1
    scores = torch.rand(2, sum(COUNTS), CLASSES, generator=generator)
    corner = torch.rand(2, sum(COUNTS), number, 2, generator=generator) * 80
    sizes = torch.rand(2, sum(COUNTS), number, 2, generator=generator) * 20
    return torch.cat([corner, corner + sizes], dim=3), scores


@pytest.mark.parametrize("nms", ["class", "agnostic"])
@pytest.mark.parametrize(("threshold", "limit"), [(0.0, 20), (0.7, 100), (0.999, 100)])
def test_the_choice_is_that_of_the_heads(nms, threshold, limit):
    boxes, scores = random_candidates(per_class=False)
    settings = NMSSettings(score_threshold=threshold, max_detections=limit, nms=nms, nms_iou=0.3)
    expected = found_in_images(
        scores,
        COUNTS,
        lambda image, location: boxes[image, location, 0],
        [placement(CANVAS, CANVAS)] * 2,
        settings,
    )
    within = "class" if nms == "class" else "image"
    chosen = select(boxes, scores, Selection(COUNTS, 1000, threshold, 0.3, within, limit))
    assert chosen.boxes.shape == (2, limit, 4)
    for k, found in enumerate(expected):
        count = len(found)
        assert torch.equal(chosen.boxes[k, :count], found.boxes)
        assert torch.equal(chosen.scores[k, :count], found.scores)
        assert torch.equal(chosen.labels[k, :count], found.labels)
        assert not chosen.scores[k, count:].any()
        assert (chosen.labels[k, count:] == -1).all()


def test_each_class_has_its_own_box_where_there_is_one_a_class():
    boxes, scores = random_candidates(per_class=True)
    chosen = select(boxes, scores, Selection((sum(COUNTS),), 50, 0.5, 1.0, "none", 10))
    best, at = scores[0].flatten().max(dim=0)
    location, label = divmod(int(at), CLASSES)
    assert chosen.scores[0, 0] == best
    assert chosen.labels[0, 0] == label
    assert torch.equal(chosen.boxes[0, 0], boxes[0, location, label])


def test_boxes_with_a_side_that_is_too_short_are_left_out():
    boxes = torch.tensor([[[[0.0, 0.0, 0.5, 9.0]], [[0.0, 0.0, 9.0, 9.0]]]])
    scores = torch.tensor([[[0.9], [0.8]]])
    chosen = select(boxes, scores, Selection((2,), 10, 0.1, 0.5, "class", 5, min_side=1.0))
    assert chosen.scores[0].tolist() == pytest.approx([0.8, 0.0])
