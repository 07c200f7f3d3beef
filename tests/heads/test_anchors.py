"""Anchors: torchvision's cells, a grid that steps by the strides, and which objects have one."""

import pytest
import torch
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import box_iou

from fdet.cache.pyramid import FeaturePyramid, LevelSpec, PyramidSpec
from fdet.heads.anchors import Anchors, best_iou, canvas_anchors, image_anchors

from .reference import SPEC, pyramid

P3_TO_P7 = PyramidSpec(tuple(LevelSpec(f"p{k}", 2**k, 4) for k in range(3, 8)))
GRIDS = ("stride", "canvas")
SCALES, RATIOS = (4.0, 4.0 * 2 ** (1 / 3)), (0.5, 1.0, 2.0)


def torchvisions(spec, canvas_hw):
    sizes = tuple(tuple(scale * s for scale in SCALES) for s in spec.strides)
    maps = [torch.empty(1, *level.shape(canvas_hw)) for level in spec.levels]
    images = ImageList(torch.empty(1, 3, *canvas_hw), [canvas_hw])
    return AnchorGenerator(sizes, (RATIOS,) * len(sizes))(images, maps)[0]


def placed(canvas_hw, grid="stride", spec=P3_TO_P7):
    return Anchors(spec, SCALES, RATIOS, grid).of_canvas(canvas_hw, torch.device("cpu"))


def test_on_a_canvas_that_all_strides_divide_they_are_torchvisions():
    assert torch.equal(placed((256, 384)), torchvisions(P3_TO_P7, (256, 384)))


@pytest.mark.parametrize("canvas_hw", [(480, 640), (800, 1344)])
def test_the_older_grid_is_torchvisions_everywhere(canvas_hw):
    assert torch.equal(placed(canvas_hw, "canvas"), torchvisions(P3_TO_P7, canvas_hw))


@pytest.mark.parametrize("canvas_hw", [(480, 640), (800, 1344), (96, 160)])
def test_centres_of_a_level_lie_its_stride_apart(canvas_hw):
    anchors = placed(canvas_hw)
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2
    start = 0
    for level in P3_TO_P7.levels:
        _, rows, columns = level.shape(canvas_hw)
        count = rows * columns * len(SCALES) * len(RATIOS)
        of_level = centres[start : start + count].view(rows, columns, -1, 2)
        xs, ys = torch.arange(columns) * level.stride, torch.arange(rows) * level.stride
        expected = torch.stack(torch.meshgrid(xs, ys, indexing="xy"), dim=-1)[:, :, None]
        torch.testing.assert_close(of_level, expected.float().expand_as(of_level))
        start += count
    assert start == len(anchors)


def test_the_last_row_of_the_coarsest_level_is_where_the_map_shows_it():
    """torchvision's grid puts it at 684 px, where the map has what lies at 768."""
    coarsest = 7 * 11 * len(SCALES) * len(RATIOS)
    last = {g: placed((800, 1344), g)[-coarsest:, [1, 3]].mean(dim=1).max() for g in GRIDS}
    assert last == {"stride": 768, "canvas": 684}


def test_anchors_of_a_canvas_are_made_once():
    anchors, calls = Anchors(SPEC, (4.0,), (0.5, 1.0)), []
    plain = anchors.grid_anchors
    anchors.grid_anchors = lambda *given: calls.append(1) or plain(*given)
    given = pyramid(2, (64, 96))
    first = canvas_anchors(anchors, given)
    half = FeaturePyramid(SPEC, tuple(x.bfloat16() for x in given.maps), given.canvas_hw)
    with torch.inference_mode():
        assert all(x is first for x in image_anchors(anchors, half))
    assert len(calls) == 1
    assert first.shape == (2 * (8 * 12 + 4 * 6 + 2 * 3), 4)
    assert first.dtype == torch.float32
    assert canvas_anchors(anchors, pyramid(2, (96, 64))).shape == first.shape
    assert len(calls) == 2


@pytest.mark.parametrize("grid", GRIDS)
def test_the_best_anchor_of_a_box_is_found_without_the_grid(grid):
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(300, 2, generator=generator) * torch.tensor([300.0, 200.0])
    boxes = torch.cat([corner, corner + 2 + torch.rand(300, 2, generator=generator) * 150], dim=1)
    anchors = Anchors(P3_TO_P7, SCALES, RATIOS, grid)
    expected = box_iou(boxes, anchors.of_canvas((208, 304), torch.device("cpu"))).amax(dim=1)
    torch.testing.assert_close(best_iou(anchors, boxes, (208, 304)), expected)
