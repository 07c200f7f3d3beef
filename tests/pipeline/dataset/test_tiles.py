"""Annotations of tiles: objects in the frame of each tile, of which a placement shows a part."""

import json

import numpy as np
import pytest

from fdet.cache.layout import ImageEntry
from fdet.cache.windows import split_name
from fdet.pipeline.dataset.coco.reading import parse_annotations
from fdet.pipeline.dataset.images.views import ResizeRule, View, place
from fdet.pipeline.dataset.tiles import annotations_of_tiles, cuts, whole_annotations
from fdet.pipeline.dataset.tiling import Tiling, tiles_of
from fdet.pipeline.sources.batches import MASK_CELLS, targets_of

from ...generated import runs_of

HW = (100, 200)
BOXES = [[10, 10, 20, 20], [70, 30, 40, 40], [150, 60, 50, 40], [0, 0, 200, 100]]


def coco(**more):
    rows = [
        {"id": k + 1, "image_id": 3, "category_id": 1 + k % 2, "bbox": b, "area": b[2] * b[3]}
        for k, b in enumerate(BOXES)
    ]
    rows[3]["iscrowd"] = 1
    data = {
        "images": [{"id": 3, "file_name": "a.png", "height": HW[0], "width": HW[1]}],
        "annotations": rows,
        "categories": [{"id": 1, "name": "x"}, {"id": 2, "name": "y"}],
    }
    return {**data, **more}


def parsed(data, outlines=False):
    return parse_annotations(json.dumps(data).encode(), "a.json", outlines=outlines)


@pytest.fixture
def whole():
    return parsed(coco())


TILES = tiles_of([ImageEntry(3, "a.png", HW)], Tiling(100, 0.2))  # at 0, 50 and 100


def test_a_tile_has_the_objects_that_touch_it_in_its_own_frame(whole):
    tiles = annotations_of_tiles(whole, TILES)
    assert tiles.images == TILES
    first, second, third = (tiles.of_image(t.id) for t in TILES)
    assert first.boxes.tolist() == [[10, 10, 30, 30], [70, 30, 110, 70], [0, 0, 200, 100]]
    assert second.boxes.tolist() == [[20, 30, 60, 70], [-50, 0, 150, 100]]
    assert third.boxes.tolist() == [[-30, 30, 10, 70], [50, 60, 100, 100], [-100, 0, 100, 100]]
    assert first.labels.tolist() == [0, 1, 1]
    assert third.crowd.tolist() == [False, False, True]
    assert third.area.tolist() == [1600, 2000, 20000]


def test_objects_of_which_a_tile_shows_too_little_are_ignored(whole):
    tiles = annotations_of_tiles(whole, TILES)
    rule = ResizeRule(200, 200, True, 1)
    tile = TILES[2]
    placement = place(tile.hw, rule, View("plain"), seed=0, image_id=tile.id, view_index=0)
    targets = targets_of(tiles, tile.id, placement, min_visible=0.3)
    assert targets.boxes.tolist() == [[100, 120, 200, 200]]
    assert targets.ignored.tolist() == [[0, 60, 20, 140], [0, 0, 200, 200]]
    enough = targets_of(tiles, tile.id, placement, min_visible=0.25)
    assert enough.boxes.tolist() == [[0, 60, 20, 140], [100, 120, 200, 200]]


def test_a_whole_image_beside_its_tiles_has_all_objects(whole):
    images = tiles_of([ImageEntry(3, "a.png", HW)], Tiling(100, 0.2, whole=True))
    tiles = annotations_of_tiles(whole, images)
    assert np.array_equal(tiles.of_image(3_000_000).boxes, whole.packed.boxes)


def test_a_layout_without_tiles_has_the_annotations_as_they_are(whole):
    assert annotations_of_tiles(whole, whole.images) is whole
    assert whole_annotations(whole, whole.images)[0] is whole


def test_an_image_whose_file_is_named_like_a_window_is_no_tile():
    image = {"id": 3, "file_name": "a.png#xywh=0,0,5,5", "height": HW[0], "width": HW[1]}
    named = parsed(coco(images=[image]))
    assert not cuts(named, named.images)


def test_tiles_of_images_that_are_not_annotated_are_left_out(whole):
    others = tiles_of([ImageEntry(4, "b.png", HW)], Tiling(100, 0.2))
    tiles = annotations_of_tiles(whole, [*TILES, *others])
    assert tiles.images == TILES
    assert len(annotations_of_tiles(whole, others).packed) == 0


def test_a_tile_beyond_its_image_has_another_size_than_the_layout_says(whole):
    beyond = ImageEntry(3_000_001, "a.png#xywh=150,0,100,100", (100, 100))
    assert annotations_of_tiles(whole, [beyond]).images[0].hw == HW


def test_whole_annotations_know_into_how_many_tiles_an_image_is_cut(whole):
    known, ids = whole_annotations(whole, TILES)
    assert known.tiles == 3
    assert list(ids) == [3]
    assert known.images == whole.images


@pytest.mark.parametrize("runs", [False, True])
def test_masks_are_those_of_the_image(runs):
    """Polygons and run lengths of a triangle, cut by a tile and scaled."""
    x, y, w, h = BOXES[1]
    drawn = np.zeros(HW, dtype=np.uint8)
    for row in range(h):
        drawn[y + row, x : x + row + 1] = 1
    polygon = [x, y, x + w, y + h, x, y + h]
    data = coco()
    data["annotations"] = [data["annotations"][1]]
    size = {"size": list(HW), "counts": runs_of(drawn)}
    data["annotations"][0]["segmentation"] = size if runs else [polygon]
    whole = parsed(data, outlines=True)
    tiles = annotations_of_tiles(whole, TILES)
    for tile in TILES:
        placement = place(
            tile.hw, ResizeRule(100, 100, True, 1), View("plain"), seed=0, image_id=1, view_index=0
        )
        targets = targets_of(tiles, tile.id, placement, min_visible=0.1)
        window = split_name(tile.file_name)[1]
        shown = drawn[window.y : window.y + window.height, window.x : window.x + window.width]
        x1, y1, x2, y2 = (int(v) for v in targets.boxes[0])
        part = shown[y1:y2, x1:x2]
        rows = np.minimum((np.arange(MASK_CELLS) + 0.5) / MASK_CELLS * part.shape[0], y2 - y1 - 1)
        columns = (np.arange(MASK_CELLS) + 0.5) / MASK_CELLS * part.shape[1]
        expected = part[rows.astype(int)][:, np.minimum(columns, x2 - x1 - 1).astype(int)]
        assert (np.abs(targets.masks[0].numpy() - expected) > 0.5).mean() < 0.05


def test_what_an_image_shows_was_looked_for_in_all_of_its_tiles():
    data = coco()
    data["categories"] = [{"id": k, "name": f"c{k}"} for k in (1, 2, 3, 4)]
    data["images"][0] |= {"neg_category_ids": [3], "not_exhaustive_category_ids": [2]}
    whole = parsed(data)
    assert whole.coverage is not None
    tiles = annotations_of_tiles(whole, TILES)
    for tile in TILES:
        assert tiles.coverage[tile.id].negative == (0, 2)
        assert tiles.coverage[tile.id].partial == (1,)
