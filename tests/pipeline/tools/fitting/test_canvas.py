"""The size of the input follows from the sizes of images and objects, by the rule in docs/data.md."""

import json

import numpy as np
import pytest

from fdet.pipeline.dataset.data_set import load_annotations
from fdet.pipeline.tools.fitting.canvas import (
    ACCELERATOR,
    PROCESSOR,
    Canvas,
    Sizes,
    choose_canvas,
    sizes_of,
    small_side,
)


def sizes(*hw, sides=(), images=None) -> Sizes:
    """Sizes of images, and of objects in the first of them."""
    of = np.zeros(len(sides), dtype=np.int64) if images is None else np.array(images)
    return Sizes(np.array(hw, dtype=float), np.array(sides, dtype=float), of)


def chosen(*hw, limit=PROCESSOR, sides=()) -> tuple[int, int]:
    canvas = choose_canvas(sizes(*hw, sides=sides), limit).canvas
    return canvas.short, canvas.long


@pytest.mark.parametrize(
    ("hw", "limit", "expected"),
    [
        ((480, 640), PROCESSOR, (480, 640)),
        ((640, 480), PROCESSOR, (480, 640)),
        ((375, 500), PROCESSOR, (384, 512)),
        ((3000, 4000), PROCESSOR, (480, 640)),
        ((3000, 4000), ACCELERATOR, (800, 1088)),
        ((1080, 1920), ACCELERATOR, (800, 1344)),  # no longer than COCO's 800 and 1333
        ((600, 600), PROCESSOR, (480, 640)),  # at least 4:3, which costs a square image nothing
        ((28, 28), PROCESSOR, (128, 192)),
        ((300, 3000), PROCESSOR, (288, 480)),
    ],
)
def test_it_is_the_images_own_within_what_the_machine_can_do(hw, limit, expected):
    assert chosen(hw, limit=limit) == expected
    assert all(side % 32 == 0 for side in expected)


def test_the_median_image_decides_and_a_few_odd_ones_do_not():
    assert chosen((320, 320), (320, 320), (320, 320), (4000, 4000)) == (320, 448)


def test_the_aspect_is_one_that_nine_in_ten_images_have_at_most():
    wide, usual = (480, 800), (480, 640)
    assert chosen(*[usual] * 29, wide) == (480, 640)
    assert chosen(*[usual] * 5, *[wide] * 5) == (480, 800)


@pytest.mark.parametrize(
    ("side", "expected"),
    [
        (100, (480, 640)),  # 48 px on the canvas
        (34, (480, 640)),  # 16.3 px
        (25, (640, 864)),  # 12 px: 16 at 4/3 of the size
        (5, (960, 1280)),  # at most twice the size
    ],
)
def test_small_objects_make_it_larger_as_far_as_the_images_have_pixels(side, expected):
    assert chosen((1000, 1333), sides=[side] * 10) == expected


def test_it_is_not_larger_than_the_images_for_small_objects():
    assert chosen((480, 640), sides=[5] * 10) == (480, 640)
    assert chosen((600, 800), sides=[5] * 10) == (608, 832)


def test_a_tenth_of_the_objects_decides():
    assert chosen((1000, 1333), sides=[5] + [100] * 19) == (480, 640)
    assert chosen((1000, 1333), sides=[5] * 3 + [100] * 17) == (960, 1280)


def test_objects_count_at_the_scale_of_their_own_image():
    both = sizes((480, 640), (960, 1280), sides=[20, 20], images=[0, 1])
    assert small_side(both, Canvas(480, 640)) == pytest.approx(11)  # of 20 and 10 px
    assert small_side(sizes((480, 640)), Canvas(480, 640)) is None


def test_the_sizes_are_those_of_the_annotations_without_crowds(dataset):
    annotations, _ = load_annotations(dataset)
    found, coco = sizes_of(annotations), json.loads(dataset.read_text())
    assert found.hw.tolist() == [[i["height"], i["width"]] for i in coco["images"]]
    ids = [image["id"] for image in coco["images"]]
    plain = [a for a in coco["annotations"] if not a["iscrowd"]]
    plain.sort(key=lambda a: ids.index(a["image_id"]))
    assert len(plain) < len(coco["annotations"])
    assert found.sides.tolist() == [(a["bbox"][2] * a["bbox"][3]) ** 0.5 for a in plain]
    assert found.images.tolist() == [ids.index(a["image_id"]) for a in plain]


def test_a_smaller_canvas_keeps_its_kind_and_whole_cells():
    assert Canvas(480, 640).scaled(0.75) == Canvas(352, 480)
    assert Canvas(480, 640).scaled(0.5) == Canvas(256, 352)
    assert Canvas(640, 640, square=True).scaled(0.5) == Canvas(320, 320, square=True)
    assert Canvas(100, 140).scaled(1.0) == Canvas(100, 140), "a size that was asked for stays"


def test_its_words_are_options_of_an_extraction():
    assert Canvas(480, 640).words == ["--short", "480", "--long", "640"]
    assert Canvas(320, 320, square=True).words == ["--size", "320"]
