"""A detector as one module finds what the head itself finds, for every neck and head."""

import pytest
import torch

from fdet.cache.errors import InputError
from fdet.heads.build import HEADS
from fdet.pipeline.tools.exporting.deployed import Deployed

from ....heads.reference import PAIRS
from .detectors import CANVASES, batch_of, detector_of, expected_of

SETTINGS = [{}, {"nms": "agnostic"}, {"max_detections": 7}, {"class_agnostic": True}]


@pytest.mark.parametrize("canvas_hw", CANVASES)
@pytest.mark.parametrize(("neck", "head"), PAIRS)
def test_every_neck_and_head(neck, head, canvas_hw):
    agree(neck, head, canvas_hw)


@pytest.mark.parametrize("head", HEADS)
def test_refined_boxes(head):
    """Masks are those of the refined boxes."""
    agree("fpn", head, CANVASES[1], refine=2)


@pytest.mark.parametrize("settings", SETTINGS[1:])
@pytest.mark.parametrize("head", HEADS)
def test_the_settings_of_the_choice(head, settings):
    agree("fpn", head, CANVASES[0], **settings)


def agree(neck, head, canvas_hw, **settings):
    features, detector = detector_of(neck, head, canvas_hw, **settings)
    x, sizes = batch_of(canvas_hw)
    with torch.no_grad():
        boxes, scores, labels, *masks = Deployed(features, detector)(x, sizes)
    for k, found in enumerate(expected_of(features, detector, canvas_hw, x, sizes)):
        count = len(found)
        assert count == int((scores[k] > 0).sum()) > 0
        torch.testing.assert_close(boxes[k, :count], found.boxes, rtol=0, atol=1e-3)
        torch.testing.assert_close(scores[k, :count], found.scores, rtol=0, atol=1e-5)
        assert torch.equal(labels[k, :count], found.labels)
        assert (found.masks is None) == (not masks)
        if masks:
            torch.testing.assert_close(masks[0][k, :count], found.masks, rtol=0, atol=1e-4)


def test_half_precision_is_near():
    features, detector = detector_of("fpn", "fcos", CANVASES[0])
    x, sizes = batch_of(CANVASES[0])
    with torch.no_grad():
        exact = Deployed(features, detector, nms=False)(x, sizes)
        half = Deployed(features, detector, nms=False, half=True)(x, sizes)
    assert detector.neck.fpn.inner_blocks[0][0].weight.dtype == torch.float16
    for mine, theirs in zip(half, exact, strict=True):
        assert mine.dtype == torch.float32
        assert 0 < (mine - theirs).abs().max() < 0.5


def test_a_head_of_another_kind_is_refused():
    features, detector = detector_of("fpn", "fcos", CANVASES[0])
    detector.head = torch.nn.Identity()
    with pytest.raises(InputError, match="Identity cannot be exported"):
        _ = Deployed(features, detector).head
