"""Outlines of COCO files: packed, unpacked, and as grids over boxes."""

import json

import numpy as np
import pytest

from fdet.pipeline.dataset.data_set import load_annotations
from fdet.pipeline.dataset.outlines import joined_outlines, packed_outlines

from ...generated import outlined, runs_of

HW = (40, 60)

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


@pytest.mark.parametrize("seed", range(5))
def test_every_pixel_of_run_lengths_is_found(seed):
    """The last image begins and ends with the object."""
    bitmap = np.random.default_rng(seed).integers(0, 2, (16, 16)).astype(np.uint8)
    bitmap[0, 0] = bitmap[-1, -1] = seed == 4
    outlines = packed_outlines([(True, [runs_of(bitmap)])])
    assert np.array_equal(outlines.grid(0, np.array([0, 0, 16, 16]), (16, 16), 16), bitmap)
    beyond = outlines.grid(0, np.array([-16, -16, 32, 32]), (16, 16), 48)
    assert np.array_equal(beyond, np.pad(bitmap, 16))


def test_an_image_of_any_size_takes_no_memory():
    rows, columns = 2**26, 2**25
    outlines = packed_outlines([(True, [[0, rows, rows * (columns - 1)]])])
    grid = outlines.grid(0, np.array([0, 0, 2, rows]), (rows, columns), 4)
    assert grid.tolist() == [[1, 1, 0, 0]] * 4


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
