"""Outlines of COCO files: packed, unpacked, decoded, and as grids over boxes."""

import json

import numpy as np
import pytest
from pycocotools import mask

from fdet.cache.errors import InputError
from fdet.pipeline.dataset.annotations import load_annotations, parse_annotations
from fdet.pipeline.dataset.outlines import joined_outlines, packed_outlines, run_lengths

from ...generated import outlined

HW = (40, 60)


def runs_of(bitmap):
    flat = bitmap.T.ravel()
    edges = np.flatnonzero(np.diff(flat, prepend=0))
    return np.diff([0, *edges, len(flat)]).tolist()


def blob(seed, hw=HW):
    rng = np.random.default_rng(seed)
    bitmap = np.zeros(hw, np.uint8)
    for _ in range(int(rng.integers(0, 6))):
        (a, b), (c, d) = np.sort(rng.integers(0, hw[0], 2)), np.sort(rng.integers(0, hw[1], 2))
        bitmap[a:b, c:d] ^= 1
    return bitmap


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("hw", [HW, (1, 1), (700, 900)])
def test_compressed_run_lengths_are_those_of_the_bitmap(seed, hw):
    bitmap = blob(seed, hw)
    text = mask.encode(np.asfortranarray(bitmap))["counts"].decode()
    assert list(run_lengths(text)) == runs_of(bitmap)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Q", "it ends within a number"),
        ("`" * 30 + "0", "it ends within a number"),
        (" ", "character ' '"),
        ("1é", "character 'é'"),
    ],
)
def test_what_are_no_run_lengths_is_refused(text, said):
    with pytest.raises(ValueError, match=said):
        list(run_lengths(text))


SQUARE = [10.0, 5.0, 30.0, 5.0, 30.0, 25.0, 10.0, 25.0]
EVERY = np.array([10.0, 5.0, 30.0, 25.0])


def square_as_runs():
    bitmap = np.zeros(HW, np.uint8)
    bitmap[5:25, 10:30] = 1
    return runs_of(bitmap)


@pytest.mark.parametrize("kind", ["polygon", "run lengths"])
@pytest.mark.parametrize(
    ("box", "expected"),
    [
        (EVERY, np.ones((8, 8))),
        ([20.0, 5.0, 40.0, 25.0], np.tile([1, 1, 1, 1, 0, 0, 0, 0], (8, 1))),
        ([10.0, 15.0, 30.0, 35.0], np.tile([1, 1, 1, 1, 0, 0, 0, 0], (8, 1)).T),
        ([40.0, 30.0, 50.0, 40.0], np.zeros((8, 8))),
        ([-10.0, -5.0, 30.0, 25.0], np.outer(np.arange(8) >= 8 / 3, np.arange(8) >= 4)),
    ],
)
def test_a_grid_says_what_lies_in_its_cells(kind, box, expected):
    given = (False, [SQUARE]) if kind == "polygon" else (True, [square_as_runs()])
    grid = packed_outlines([given]).grid(0, np.array(box), HW, 8)
    assert grid.shape == (8, 8) and grid.dtype == np.float32
    # A corner within a cell covers a part of it.
    assert np.abs(grid - expected).max() <= (0.7 if box[0] < 0 else 0.07)
    assert abs(float(grid.mean()) - float(np.mean(expected))) < 0.1


def test_rings_of_an_object_are_one_mask():
    far = [50.0, 30.0, 60.0, 30.0, 60.0, 40.0, 50.0, 40.0]
    outlines = packed_outlines([(False, [SQUARE]), (False, [SQUARE, far])])
    whole = np.array([0.0, 0.0, 60.0, 40.0])
    one, both = (outlines.grid(k, whole, HW, 48).mean() * 60 * 40 for k in range(2))
    assert one == pytest.approx(400, rel=0.05)
    assert both == pytest.approx(500, rel=0.05)


def test_corners_far_outside_do_no_harm():
    wide = [-1e9, 5.0, 1e9, 5.0, 1e9, 25.0, -1e9, 25.0]
    assert packed_outlines([(False, [wide])]).grid(0, EVERY, HW, 8).min() > 0.9


def test_parts_and_joins_keep_every_outline():
    given = [(False, [SQUARE]), (True, [square_as_runs()]), (False, [SQUARE[:6], SQUARE])]
    outlines = packed_outlines(given)
    again = joined_outlines([outlines.part(0, 1), outlines.part(1, 1), outlines.part(1, 3)])
    for one in (outlines, again):
        assert [one.coco(k, HW) for k in range(3)] == [
            [SQUARE],
            {"size": list(HW), "counts": square_as_runs()},
            [SQUARE[:6], SQUARE],
        ]
    assert len(outlines.part(2, 3)) == 1


def test_annotations_keep_them_only_where_asked(dataset):
    path = outlined(dataset)
    data = json.loads(path.read_text())
    assert load_annotations(path)[0].packed.outlines is None
    annotations, _ = load_annotations(path, outlines=True)
    for image in annotations.images:
        objects = annotations.of_image(image.id)
        given = [a["segmentation"] for a in data["annotations"] if a["image_id"] == image.id]
        found = [objects.outlines.coco(k, image.hw) for k in range(len(objects))]
        assert found == [
            g if isinstance(g, dict) else [list(map(float, ring)) for ring in g] for g in given
        ]


SOUND = {
    "images": [{"id": 1, "file_name": "a.png", "height": 4, "width": 6}],
    "categories": [{"id": 1, "name": "thing"}],
}


@pytest.mark.parametrize(
    ("segmentation", "said"),
    [
        (None, "expected polygons or run lengths, which masks need, got nothing"),
        ([], "expected polygons or run lengths, which masks need, got \\[\\]"),
        ([[1, 2, 3, 4]], "expected polygons"),
        ([[1, 2, 3, 4, 5]], "expected polygons"),
        ([[1, 2, 3, 4, 5, "6"]], "expected polygons"),
        ([[1, 2, 3, 4, 5, 1e300]], "within 12 px"),
        ({"size": [6, 4], "counts": [24]}, "size: expected the image's \\[4, 6\\], got \\[6, 4\\]"),
        ({"size": [4, 6], "counts": [23]}, "expected run lengths of 24 pixels, got '23 pixels'"),
        ({"size": [4, 6], "counts": [25, -1]}, "got 'no numbers'"),
        ({"size": [4, 6], "counts": [2**62, 2**62]}, "expected run lengths of 24 pixels"),
        ({"size": [4, 6], "counts": "Q"}, "got 'it ends within a number'"),
        ({"size": [4, 6]}, "got 'no numbers'"),
    ],
)
def test_what_is_no_outline_is_refused_by_name(segmentation, said):
    entry = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 3, 3]}
    data = {**SOUND, "annotations": [{**entry, "segmentation": segmentation}]}
    raw = json.dumps(data).encode()
    parse_annotations(raw, "file.json")
    with pytest.raises(InputError, match=rf"file.json: annotations\[0\].segmentation.*{said}"):
        parse_annotations(raw, "file.json", outlines=True)
