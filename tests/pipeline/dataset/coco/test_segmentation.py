"""COCO's "segmentation": what is accepted, decoded as pycocotools encodes it, and what is refused."""

import json

import numpy as np
import pytest
from pycocotools import mask

from fdet.cache.errors import InputError
from fdet.pipeline.dataset.coco.reading import parse_annotations
from fdet.pipeline.dataset.coco.segmentation import read_segmentation, run_lengths
from fdet.pipeline.dataset.images.decoding import MAX_PIXELS

from ....generated import runs_of

HW = (40, 60)


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
        ({"size": [4, 6], "counts": [23]}, "run lengths of 24 pixels, got 1 run of 23 pixels"),
        ({"size": [4, 6], "counts": [24, -1]}, "run lengths of 24 pixels, got -1 among them"),
        ({"size": [4, 6], "counts": [2**62]}, f"run lengths of 24 pixels, got {2**62} among them"),
        ({"size": [4, 6], "counts": [24, None]}, "run lengths of 24 pixels, got None among them"),
        ({"size": [4, 6], "counts": "Q"}, "got it ends within a number"),
        ({"size": [4, 6]}, "counts: expected run lengths of 24 pixels, got nothing"),
        ({"counts": [24]}, "size: expected the image's \\[4, 6\\], got nothing"),
        ([[-12, 0, 12, 0] * 9], "polygons of at most 104 px around, got 432"),
    ],
)
def test_what_is_no_outline_is_refused_by_name(segmentation, said):
    entry = {"id": 7, "image_id": 1, "category_id": 1, "bbox": [0, 0, 3, 3]}
    data = {**SOUND, "annotations": [{**entry, "segmentation": segmentation}]}
    raw = json.dumps(data).encode()
    parse_annotations(raw, "file.json")
    with pytest.raises(
        InputError, match=rf"file.json: annotations\[0\].segmentation \(id 7\): .*{said}"
    ):
        parse_annotations(raw, "file.json", outlines=True)


@pytest.mark.parametrize(
    "ring",
    [
        [0, 0, 6, 0, 6, 4, 0, 4],
        [-12, -12, 12, -12, 12, 12, -12, 12],
        [0.5, 0, 6, 4, 6, 4, 6, 4],
        [3, 3] * 10_000,
    ],
)
def test_rings_are_taken_as_they_are(ring):
    assert read_segmentation([ring, ring], (4, 6)) == (False, [ring, ring])


@pytest.mark.parametrize("counts", [[24], [0, 24], [5, 0, 19], [0] * 48 + [24]])
def test_run_lengths_may_have_empty_runs(counts):
    assert read_segmentation({"size": [4, 6], "counts": counts}, (4, 6)) == (True, [counts])
    with pytest.raises(ValueError, match="expected run lengths of 24 pixels, got 50 runs"):
        read_segmentation({"size": [4, 6], "counts": [*[0] * 49, 24]}, (4, 6))


def test_of_compressed_ones_no_more_is_read_than_an_image_can_have():
    with pytest.raises(ValueError, match="got 50 runs of 0 pixels"):
        read_segmentation({"size": [4, 6], "counts": "0" * 1000}, (4, 6))


def test_a_polygon_around_all_of_the_largest_image_is_accepted():
    side = int(MAX_PIXELS**0.5)
    ring = [0, 0, side, 0, side, side, 0, side]
    assert read_segmentation([ring], (side, side)) == (False, [ring])
    with pytest.raises(ValueError, match=f"an image of at most {MAX_PIXELS} pixels"):
        read_segmentation([ring], (side + 1, side + 1))
