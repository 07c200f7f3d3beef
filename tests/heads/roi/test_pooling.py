"""Pooling against torchvision's own, bit for bit, and against what a linear ramp is at a cell's centre."""

import pytest
import torch
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.poolers import LevelMapper

from fdet.cache.pyramid import FeaturePyramid, LevelSpec, PyramidSpec
from fdet.heads.build import build_detector
from fdet.heads.necks.settings import FPNSettings
from fdet.heads.roi import ROI_HEADS
from fdet.heads.roi.pooling import RoIPool

from ..reference import SPEC, pyramid

CANVAS = (512, 768)
ROIS = [
    torch.tensor([[40.0, 30, 90, 81], [100.3, 50.2, 420.7, 300.9], [64, 64, 700, 500]]),
    torch.zeros(0, 4),
    torch.tensor([[200.0, 100, 201, 102], [30.5, 40.25, 190.5, 400.75]]),
]


def levels(count: int) -> PyramidSpec:
    return PyramidSpec(tuple(LevelSpec(f"p{k}", 2**k, 2) for k in range(3, 3 + count)))


@pytest.mark.parametrize("bfloat16", [False, True])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_unaligned_it_is_torchvisions_bit_for_bit(count, bfloat16):
    spec = levels(count)
    given = pyramid(3, CANVAS, spec=spec)
    if bfloat16:
        maps = tuple(x.bfloat16() if k else x for k, x in enumerate(given.maps))
        given = FeaturePyramid(spec, maps, CANVAS)
    pooled = max(1, count - 1)
    theirs = MultiScaleRoIAlign(list(spec.names[:pooled]), 7, 2)
    theirs.scales = [1 / s for s in spec.strides[:pooled]]
    theirs.map_levels = LevelMapper(3, 2 + pooled)
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        found = RoIPool(spec, 7, aligned=False)(given, ROIS)
        aligned = RoIPool(spec, 7, aligned=True)(given, ROIS)
        expected = theirs(dict(zip(spec.names, given.maps, strict=True)), ROIS, [])
    assert found.shape == (5, 2, 7, 7)
    assert torch.equal(found, expected)
    assert not torch.allclose(aligned, expected, atol=0.05)


def test_the_last_level_is_pooled_where_it_is_asked_for():
    spec = levels(3)
    large = [torch.tensor([[0.0, 0, 700, 500]])]
    given = pyramid(1, CANVAS, spec=spec)
    only = FeaturePyramid(PyramidSpec(spec.levels[2:]), given.maps[2:], CANVAS)
    found = RoIPool(spec, 7, aligned=True, last=True)(given, large)
    assert torch.equal(found, RoIPool(only.spec, 7, aligned=True)(only, large))
    assert not torch.equal(found, RoIPool(spec, 7, aligned=True)(given, large))


def ramps(spec: PyramidSpec) -> FeaturePyramid:
    """Of each place the px of its centre, x and y."""
    maps = []
    for level in spec.levels:
        rows, columns = level.shape(CANVAS)[1:]
        x, y = ((torch.arange(n) + 0.5) * level.stride for n in (columns, rows))
        maps.append(torch.stack([x.expand(rows, columns), y[:, None].expand(rows, columns)])[None])
    return FeaturePyramid(spec, tuple(maps), CANVAS)


@pytest.mark.parametrize("size", [7, 14])
def test_aligned_a_cell_of_a_ramp_has_the_value_of_its_centre(size):
    """On every level, and for a RoI smaller than a place; nothing is beyond the outermost centres."""
    spec = levels(5)
    rois = [torch.cat(ROIS)]
    assert set(RoIPool(spec, size, aligned=True).levels_of(rois).tolist()) == {0, 1, 2}
    found = RoIPool(spec, size, aligned=True)(ramps(spec), rois)
    for cells, (left, top, right, bottom) in zip(found, rois[0].tolist(), strict=True):
        shares = (torch.arange(size) + 0.5) / size
        across, down = left + (right - left) * shares, top + (bottom - top) * shares
        torch.testing.assert_close(cells[0], across.expand(size, size), rtol=0, atol=1e-2)
        torch.testing.assert_close(cells[1], down[:, None].expand(size, size), rtol=0, atol=1e-2)


@pytest.mark.parametrize("aligned", [True, False])
def test_boxes_and_masks_are_pooled_as_is_set(aligned):
    settings = ROI_HEADS["cascade-rcnn"].settings(masks=True, roi_aligned=aligned)
    head = build_detector(SPEC, 3, FPNSettings(channels=16), settings).head
    pools = [m for m in head.modules() if isinstance(m, RoIPool)]
    assert [(p.size, p.aligned) for p in pools] == [(7, aligned)] * 3 + [(14, aligned)]
    assert ROI_HEADS["faster-rcnn"].settings().roi_aligned
