"""Targets and detections check their own shapes, and do without masks."""

import pytest
import torch

from fdet.heads.types import Detections, Targets


def test_targets_of_other_shapes_and_types_are_refused():
    with pytest.raises(ValueError, match=r"boxes: expected \(2, 4\), got \(1, 4\)"):
        Targets(torch.zeros(1, 4), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ValueError, match="expected int64"):
        Targets(torch.zeros(1, 4), torch.zeros(1))
    for ignored in (torch.zeros(4), torch.zeros(2, 5)):
        with pytest.raises(ValueError, match=r"ignored: expected \(M, 4\), got"):
            Targets(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), ignored=ignored)


@pytest.mark.parametrize("shape", [(1, 5, 5), (2, 5, 6), (2, 5), (5,), (2, 1, 5, 5)])
def test_masks_of_other_shapes_are_refused(shape):
    boxes, labels = torch.zeros(2, 4), torch.zeros(2, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"masks: expected \(2, S, S\), got"):
        Targets(boxes, labels, torch.zeros(shape))
    with pytest.raises(ValueError, match=r"masks: expected \(2, S, S\), got"):
        Detections(boxes, torch.zeros(2), labels, torch.zeros(shape))


@pytest.mark.parametrize("masks", [None, torch.arange(12.0).view(3, 2, 2)], ids=["without", "with"])
def test_detections_are_chosen_and_moved_with_their_masks(masks):
    found = Detections(torch.arange(12.0).view(3, 4), torch.rand(3), torch.arange(3), masks)
    for chosen in (slice(1, 3), torch.tensor([2, 0]), torch.tensor([True, False, True])):
        some = found[chosen].to("cpu")
        assert len(some) == 2
        assert torch.equal(some.boxes, found.boxes[chosen])
        assert torch.equal(some.labels, found.labels[chosen])
        if masks is None:
            assert some.masks is None
        else:
            assert torch.equal(some.masks, masks[chosen])
