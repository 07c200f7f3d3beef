"""Deltas against torchvision's coder."""

import torch
from torchvision.models.detection._utils import BoxCoder

from fdet.heads.refine.deltas import deltas_between, moved_boxes


def boxes_of(count: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 2, generator=generator) * 500
    return torch.cat(
        [corners, corners + torch.rand(count, 2, generator=generator) * 200 + 1], dim=1
    )


def test_they_are_torchvisions_and_move_boxes_as_it_does():
    boxes, wanted = boxes_of(50, 0), boxes_of(50, 1)
    coder = BoxCoder((1.0, 1.0, 1.0, 1.0))
    deltas = deltas_between(boxes, wanted)
    torch.testing.assert_close(deltas, coder.encode_single(wanted, boxes))
    torch.testing.assert_close(moved_boxes(boxes, deltas), wanted, rtol=0, atol=1e-3)
    large = torch.randn(50, 4, generator=torch.Generator().manual_seed(2)) * 4
    expected = coder.decode_single(large, boxes)
    torch.testing.assert_close(moved_boxes(boxes, large), expected, rtol=1e-5, atol=1e-2)


def test_zeros_change_no_bit():
    boxes = boxes_of(1000, 3)
    assert torch.equal(moved_boxes(boxes, torch.zeros_like(boxes)), boxes)


def test_a_box_without_area_has_finite_deltas_and_stays():
    point = torch.tensor([[5.0, 5, 5, 5]])
    assert deltas_between(point, boxes_of(1, 0)).isfinite().all()
    assert torch.equal(moved_boxes(point, torch.ones(1, 4)), point)
