"""Masks against slow literal resampling: cut out, through placements, pasted."""

import random

import pytest
import torch

from fdet.cache.placement import Placement
from fdet.heads.masks import on_canvas, paste_masks, resampled
from fdet.heads.types import Detections

from ..cache.test_placement import random_box, random_placement


def literal_cell(mask, box, cell) -> float:
    """The mean of a mask (h, w) over box within a cell, both (x1, y1, x2, y2): by areas of overlap."""
    rows, columns = len(mask), len(mask[0])
    covered = 0.0
    for j in range(rows):
        for i in range(columns):
            x1, x2 = (box[0] + (box[2] - box[0]) * (i + k) / columns for k in (0, 1))
            y1, y2 = (box[1] + (box[3] - box[1]) * (j + k) / rows for k in (0, 1))
            width = min(x2, cell[2]) - max(x1, cell[0])
            height = min(y2, cell[3]) - max(y1, cell[1])
            covered += max(0.0, width) * max(0.0, height) * mask[j][i]
    return covered / ((cell[2] - cell[0]) * (cell[3] - cell[1]))


@pytest.mark.parametrize("seed", range(5))
def test_a_resampled_cell_is_the_mean_of_what_it_lies_over(seed):
    rng = random.Random(seed)
    generator = torch.Generator().manual_seed(seed)
    masks = torch.rand(3, 4, 6, generator=generator)
    boxes = [random_box(rng, (60, 80)) for _ in range(3)]
    regions = [random_box(rng, (60, 80)) for _ in range(6)] + [boxes[1]]
    of = [rng.randrange(3) for _ in range(6)] + [1]
    found = resampled(masks, torch.tensor(boxes), torch.tensor(regions), torch.tensor(of), 5)
    assert found.shape == (7, 5, 5)
    for region, k, cells in zip(regions, of, found.tolist(), strict=True):
        for j in range(5):
            for i in range(5):
                xs = [region[0] + (region[2] - region[0]) * (i + d) / 5 for d in (0, 1)]
                ys = [region[1] + (region[3] - region[1]) * (j + d) / 5 for d in (0, 1)]
                expected = literal_cell(masks[k].tolist(), boxes[k], (xs[0], ys[0], xs[1], ys[1]))
                assert cells[j][i] == pytest.approx(expected, abs=1e-4)


def test_the_same_region_gives_the_same_mask_in_every_type_and_under_autocast():
    masks = torch.rand(2, 7, 7) > 0.5
    boxes = torch.tensor([[10.0, 20, 40, 30], [300, 100, 307, 107]])
    with torch.autocast("cpu", torch.bfloat16):
        for given in (masks, masks.float(), masks.half(), masks.to(torch.uint8)):
            found = resampled(given, boxes, boxes, torch.arange(2), 7)
            torch.testing.assert_close(found, masks.float(), atol=1e-3, rtol=0)


@pytest.mark.parametrize("seed", range(20))
def test_masks_go_through_placements_as_their_points_do(seed):
    """x_image = ±(x_canvas - shift) / scale, for many points of each cell of the canvas's grid."""
    rng = random.Random(seed)
    placed = random_placement(rng, whole=seed % 4 == 0)
    boxes = torch.tensor([random_box(rng, placed.image_hw) for _ in range(8)]).double()
    boxes = boxes.minimum(torch.tensor(placed.image_hw[::-1] * 2))
    canvas = placed.to_canvas(boxes)
    kept = ((canvas[:, 2:] - canvas[:, :2]) > 2).all(dim=1)
    boxes, canvas = boxes[kept], canvas[kept]
    masks = torch.rand(len(boxes), 3, 5, generator=torch.Generator().manual_seed(seed))
    found = on_canvas(masks, boxes, canvas, placed, 6)
    assert found.shape == (len(boxes), 6, 6)
    points = (torch.arange(6 * 40).double() + 0.5) / (6 * 40)
    for mask, box, region, cells in zip(masks, boxes, canvas, found, strict=True):
        indices = []
        for axis in (0, 1):
            at = region[axis] + points * (region[axis + 2] - region[axis])
            sign = -1 if placed.flip[axis] else 1
            in_image = sign * (at - placed.shift[axis]) / placed.scale[axis]
            share = (in_image - box[axis]) / (box[axis + 2] - box[axis])
            count = mask.shape[1 - axis]
            indices.append((share * count).long().clamp(0, count - 1))
        sampled = mask[indices[1][:, None], indices[0]]
        expected = sampled.reshape(6, 40, 6, 40).mean(dim=(1, 3))
        torch.testing.assert_close(cells, expected, atol=0.03, rtol=0)


def test_some_placements_of_the_test_above_flip_scale_and_crop():
    placements = [random_placement(random.Random(seed), whole=seed % 4 == 0) for seed in range(20)]
    assert {p.flip for p in placements} == {(a, b) for a in (False, True) for b in (False, True)}
    assert min(p.scale[0] for p in placements) < 0.8 < 1.5 < max(p.scale[0] for p in placements)


def test_a_bitmap_of_the_image_is_a_mask_over_all_of_it():
    bitmap = torch.zeros(1, 20, 30, dtype=torch.bool)
    bitmap[0, 4:8, 10:16] = True
    placed = Placement((20, 30), (40, 64), (40, 60), (2.0, 2.0), (60.0, 0.0), (True, False))
    whole = torch.tensor([[0.0, 0, 30, 20]])
    box = placed.to_canvas(torch.tensor([[10.0, 4, 19, 8]]))  # a third of it lies beside the object
    (found,) = on_canvas(bitmap, whole, box, placed, 6)
    assert found.tolist() == [pytest.approx([0, 0, 1, 1, 1, 1], abs=1e-5)] * 6


def literal_paste(mask, box, hw) -> list[list[float]]:
    """Bilinear between the centres of the cells; outside there are cells of nothing."""
    cells = len(mask)

    def cell(j: int, i: int) -> float:
        return mask[j][i] if 0 <= j < cells and 0 <= i < cells else 0.0

    pasted = [[0.0] * hw[1] for _ in range(hw[0])]
    for y in range(hw[0]):
        for x in range(hw[1]):
            v = (y + 0.5 - box[1]) / (box[3] - box[1]) * cells - 0.5
            u = (x + 0.5 - box[0]) / (box[2] - box[0]) * cells - 0.5
            j, i = int(v // 1), int(u // 1)
            fy, fx = v - j, u - i
            top = (1 - fx) * cell(j, i) + fx * cell(j, i + 1)
            bottom = (1 - fx) * cell(j + 1, i) + fx * cell(j + 1, i + 1)
            pasted[y][x] = (1 - fy) * top + fy * bottom
    return pasted


def detections(boxes, masks) -> Detections:
    count = len(boxes)
    return Detections(
        torch.tensor(boxes).view(-1, 4),
        torch.ones(count),
        torch.zeros(count, dtype=torch.int64),
        masks,
    )


def test_pasted_masks_are_interpolated_where_their_boxes_are():
    boxes = [[3.2, 4.7, 17.9, 11.1], [0.0, 0.0, 24.0, 20.0], [-6.0, 12.0, 9.5, 31.0], [5, 5, 7, 6]]
    masks = torch.rand(4, 5, 5, generator=torch.Generator().manual_seed(0))
    found = detections(boxes, masks)
    expected = torch.tensor(
        [literal_paste(m.tolist(), b, (20, 24)) for m, b in zip(masks, boxes, strict=True)]
    )
    for threshold in (0.3, 0.5):
        pasted = paste_masks(found, (20, 24), threshold)
        assert pasted.dtype == torch.bool
        sure = (expected - threshold).abs() > 1e-4
        assert torch.equal(pasted[sure], (expected >= threshold)[sure])
        assert pasted.any(dim=(1, 2)).tolist() == (expected >= threshold).any(dim=(1, 2)).tolist()
    for chunk_bytes in (1, 10_000):
        assert torch.equal(paste_masks(found, (20, 24), chunk_bytes=chunk_bytes), pasted)
    assert torch.equal(paste_masks(found[1:3], (20, 24)), pasted[1:3])


def test_a_disc_cut_into_cells_and_pasted_is_the_disc():
    y, x = torch.meshgrid(torch.arange(80) + 0.5, torch.arange(100) + 0.5, indexing="ij")
    disc = ((x - 45) / 30) ** 2 + ((y - 38) / 21) ** 2 <= 1
    box = torch.tensor([[15.0, 17, 75, 59]])
    whole = torch.tensor([[0.0, 0, 100, 80]])
    cut = resampled(disc[None], whole, box, torch.tensor([0]), 28)
    (pasted,) = paste_masks(detections(box.tolist(), cut), (80, 100))
    iou = (pasted & disc).sum() / (pasted | disc).sum()
    assert iou > 0.97


def test_no_detections_give_no_masks_and_detections_without_masks_are_refused():
    assert paste_masks(detections([], torch.zeros(0, 28, 28)), (5, 7)).shape == (0, 5, 7)
    with pytest.raises(ValueError, match=r"head\.masks=true"):
        paste_masks(detections([[0.0, 0, 1, 1]], None), (5, 7))
