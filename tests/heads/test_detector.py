"""A detector gives what its head found in the image's own frame."""

import pytest
import torch

from fdet.cache.placement import Placement
from fdet.heads.detector import Detector, Head, Neck
from fdet.heads.masks import paste_masks
from fdet.heads.types import Detections

from .reference import SPEC, pyramid


class Through(Neck):
    """The cached levels as they are."""

    parts = ()

    def forward(self, pyramid):
        return pyramid


class Finds(Head):
    """The same, whatever it is shown."""

    parts = classifiers = class_rows = ()

    def __init__(self, found: Detections) -> None:
        super().__init__()
        self.found = found

    def use_embeddings(self, vectors):
        raise AssertionError("nobody asked for it")

    def losses(self, pyramid, placements, targets, seeds):
        raise NotImplementedError

    def fit(self, boxes, canvas_hw):
        raise NotImplementedError

    def detections(self, pyramid, placements):
        return [self.found] * len(placements)


FLIPS = [(False, False), (True, False), (False, True), (True, True)]


@pytest.mark.parametrize("flip", FLIPS)
def test_boxes_and_masks_come_back_through_the_placement(flip):
    """Pasted into the image they are what they are on the canvas, mirrored where it was."""
    boxes = torch.tensor([[3.0, 5, 30, 25], [20, 0, 64, 40]])
    masks = torch.rand(2, 6, 6, generator=torch.Generator().manual_seed(0))
    on_canvas = Detections(boxes, torch.tensor([0.9, 0.8]), torch.tensor([1, 0]), masks)
    shift = (64.0 if flip[0] else 0.0, 40.0 if flip[1] else 0.0)
    placed = Placement((40, 64), (64, 64), (40, 64), (1.0, 1.0), shift, flip)
    detector = Detector(Through(SPEC), Finds(on_canvas))
    (found,) = detector.detections(pyramid(1, (64, 64)), [placed])
    mirrored = [axis for axis, flipped in ((2, flip[0]), (1, flip[1])) if flipped]
    expected = paste_masks(on_canvas, (40, 64)).flip(mirrored)
    assert expected.any() and not expected.all()
    assert torch.equal(paste_masks(found, (40, 64)), expected)
    assert torch.equal(found.scores, on_canvas.scores)
    assert (found.boxes[0] != boxes[0]).any() == any(flip)


def test_a_head_without_masks_gives_none():
    on_canvas = Detections(torch.ones(1, 4), torch.ones(1), torch.tensor([0]))
    placed = Placement((64, 64), (64, 64), (64, 64), (1.0, 1.0), (64.0, 0.0), (True, False))
    detector = Detector(Through(SPEC), Finds(on_canvas))
    (found,) = detector.detections(pyramid(1, (64, 64)), [placed])
    assert found.masks is None
