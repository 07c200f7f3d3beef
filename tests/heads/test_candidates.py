"""What is found, against torchvision's steps for one image and level at a time."""

import pytest
import torch
from torchvision.ops import batched_nms, box_iou, clip_boxes_to_image

from fdet.heads.build import HEADS, build_detector
from fdet.heads.candidates import BEST_OF_LEVEL, found_in_images, suppressed
from fdet.heads.dense import DENSE_HEADS
from fdet.heads.family import NMSSettings
from fdet.heads.necks.settings import FPNSettings
from fdet.heads.roi import ROI_HEADS
from fdet.heads.types import Detections

from .reference import FEW_SAMPLED, SPEC, batch, placement, pyramid

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
    settings = NMSSettings(score_threshold=threshold, max_detections=most)
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


def test_agnostic_nms_keeps_the_best_box_of_a_place_whatever_its_class():
    boxes = torch.tensor([[0, 0, 10, 10], [0, 0, 10, 9], [0, 1, 10, 10], [20, 0, 30, 10.0]])
    scores, labels = torch.tensor([0.6, 0.9, 0.7, 0.2]), torch.tensor([0, 1, 1, 0])
    found = Detections(boxes, scores, labels)
    by_class = suppressed(found, NMSSettings(nms="class"))
    assert (by_class.scores.tolist(), by_class.labels.tolist()) == (
        pytest.approx([0.9, 0.6, 0.2]),
        [1, 0, 0],
    )
    across = suppressed(found, NMSSettings(nms="agnostic"))
    assert (across.scores.tolist(), across.labels.tolist()) == (pytest.approx([0.9, 0.2]), [1, 0])
    assert len(suppressed(found, NMSSettings(nms="agnostic", max_detections=1))) == 1
    assert len(suppressed(found, NMSSettings(nms="agnostic", nms_iou=0.95))) == 4


@pytest.mark.parametrize("head", [*DENSE_HEADS, *ROI_HEADS])
def test_every_head_with_nms_finds_a_place_once_with_agnostic_nms(head):
    _, placements, _, _ = batch(2)
    overlaps = {}
    for nms in ("class", "agnostic"):
        torch.manual_seed(0)
        own = {**FEW_SAMPLED.get(head, {}), "masks": False} if head in FEW_SAMPLED else {}
        settings = HEADS[head].settings(score_threshold=0.0, nms=nms, nms_iou=0.5, **own)
        detector = build_detector(SPEC, 3, FPNSettings(channels=16), settings).eval()
        with torch.no_grad():
            found = detector.detections(pyramid(2, (128, 128)), placements)
        ious = [box_iou(d.boxes, d.boxes).fill_diagonal_(0) for d in found]
        overlaps[nms] = max(float(iou.max()) for iou in ious)
    assert overlaps["agnostic"] <= 0.5 + 1e-4 < overlaps["class"]
