"""What is found, against torchvision's steps for one image and level at a time."""

import pytest
import torch
from torchvision.ops import batched_nms, clip_boxes_to_image

from fdet.heads.candidates import BEST_OF_LEVEL, found_in_images
from fdet.heads.family import HeadSettings

from .reference import placement

COUNTS = (900, 200, 30)
CLASSES = 3
CANVAS = (100, 100)
CONTENTS = [(100, 100), (50, 100), (100, 60)]


def literal(scores, boxes, content_hw, settings):
    chosen = [[], [], []]
    for of_level, own in zip(scores.split(COUNTS), boxes.split(COUNTS), strict=True):
        flat = of_level.flatten()
        above = torch.where(flat > settings.score_threshold)[0]
        best = above[flat[above].argsort(descending=True)[:BEST_OF_LEVEL]]
        locations, labels = best // CLASSES, best % CLASSES
        for kind, x in zip(chosen, (own[locations], flat[best], labels), strict=True):
            kind.append(x)
    boxes, scores, labels = map(torch.cat, chosen)
    boxes = clip_boxes_to_image(boxes, content_hw)
    kept = batched_nms(boxes, scores, labels, settings.nms_iou)[: settings.max_detections]
    return boxes[kept], scores[kept], labels[kept]


@pytest.mark.parametrize("threshold", [0.0, 0.6, 0.99, 1.0])
@pytest.mark.parametrize("most", [20, 10_000])
def test_a_batch_is_its_images_one_by_one(threshold, most):
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(3, sum(COUNTS), CLASSES, generator=generator)
    scores[1] *= 0.5
    corner = torch.rand(3, sum(COUNTS), 2, generator=generator) * 110 - 10
    sizes = torch.rand(3, sum(COUNTS), 2, generator=generator) * 40
    boxes = torch.cat([corner, corner + sizes], dim=2)
    settings = HeadSettings(score_threshold=threshold, max_detections=most)
    found = found_in_images(
        scores,
        COUNTS,
        lambda image, location: boxes[image, location],
        [placement(CANVAS, content) for content in CONTENTS],
        settings,
    )
    for k, ours in enumerate(found):
        expected = literal(scores[k], boxes[k], CONTENTS[k], settings)
        for x, y in zip((ours.boxes, ours.scores, ours.labels), expected, strict=True):
            assert torch.equal(x, y)
    assert len(found[1]) == 0 or threshold < 0.5
    assert len(found[0]) > 0 or threshold == 1.0
