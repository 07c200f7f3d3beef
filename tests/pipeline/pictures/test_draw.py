"""Boxes, masks and titles, by the values of their pixels."""

import numpy as np
import pytest
import torch
from PIL import Image

from fdet.pipeline.pictures.draw import OPACITY, class_colour, draw_boxes, draw_masks, under_titles

GRAY = (100, 100, 100)


def gray(width=80, height=60):
    return Image.new("RGB", (width, height), GRAY)


def of_colour(picture, colour):
    """(rows, columns), both ends included, of all pixels of a colour; None where there are none."""
    rows, columns = np.nonzero((np.asarray(picture) == colour).all(-1))
    return (rows.min(), rows.max(), columns.min(), columns.max()) if len(rows) else None


def blended(label):
    mixed = (1 - OPACITY) * np.array(GRAY) + OPACITY * np.array(class_colour(label))
    return tuple(mixed.round().astype(int).tolist())


def test_a_box_has_the_colour_of_its_class():
    picture = gray()
    draw_boxes(picture, np.array([[10.0, 5.0, 40.0, 25.0]]), [1], [""])
    assert of_colour(picture, class_colour(1)) == (5, 25, 10, 40)
    assert picture.getpixel((25, 15)) == GRAY


def test_what_is_drawn_later_lies_on_top():
    picture, box = gray(), np.array([[10.0, 5.0, 40.0, 25.0]] * 2)
    draw_boxes(picture, box, [1, 2], ["", ""])
    assert of_colour(picture, class_colour(1)) is None
    picture = gray()
    draw_masks(picture, box, [2, 1], torch.ones(2, 4, 4))
    assert of_colour(picture, class_colour(2)) is None
    assert of_colour(picture, class_colour(1)) is not None


def test_no_box_runs_through_a_text():
    """The second one's edge would, at the height of the first one's text."""
    alone, both = gray(), gray()
    first, second = [20.0, 40.0, 60.0, 50.0], [30.0, 0.0, 70.0, 55.0]
    draw_boxes(alone, np.array([first]), [0], ["word"])
    draw_boxes(both, np.array([first, second]), [0, 1], ["word", ""])
    text = np.s_[26:38, 22:50]
    assert (np.asarray(alone)[text] == class_colour(0)).all(-1).any()
    assert np.array_equal(np.asarray(both)[text], np.asarray(alone)[text])


@pytest.mark.parametrize("corner", [(70.0, 50.0), (-9.0, -9.0)])
def test_a_text_stays_within_the_picture(corner):
    """There is as much of its background as in the middle."""
    text, sizes = "word", []
    for x, y in (corner, (30.0, 40.0)):
        picture = gray()
        draw_boxes(picture, np.array([[x, y, x, y]]), [0], [text])
        top, bottom, left, right = of_colour(picture, class_colour(0))
        sizes.append((bottom - top, right - left))
    assert abs(np.subtract(*sizes)).max() <= 14


def test_a_mask_lets_the_picture_through_within_its_outline():
    picture = gray()
    left_half = torch.zeros(1, 8, 8)
    left_half[..., :4] = 1
    draw_masks(picture, np.array([[10.0, 10.0, 50.0, 50.0]]), [1], left_half)
    pixels = np.asarray(picture)
    assert of_colour(picture, class_colour(1)) == (10, 49, 10, 29)
    assert of_colour(picture, blended(1)) == (12, 47, 12, 27)
    assert (pixels[14:46, 14:26] == blended(1)).all()
    # Towards nothing outside, the corners become round.
    changed = (pixels != GRAY).any(-1)
    assert 40 * 20 - 30 < changed.sum() < 40 * 20


def test_what_shines_through_are_the_pixels_below():
    rng = np.random.default_rng(0)
    before = rng.integers(0, 256, (60, 80, 3)).astype(np.uint8)
    picture = Image.fromarray(before)
    draw_masks(picture, np.array([[-80.0, -80.0, 160.0, 160.0]]), [2], torch.ones(1, 2, 2))
    inside = np.asarray(picture)[2:-2, 2:-2].astype(float)
    expected = (1 - OPACITY) * before[2:-2, 2:-2] + OPACITY * np.array(class_colour(2))
    assert np.abs(inside - expected).max() <= 0.5 + 1e-9


@pytest.mark.parametrize(
    ("box", "seen"),
    [
        ([-20.0, -20.0, 20.0, 20.0], (0, 19, 0, 19)),
        ([60.0, 40.0, 100.0, 90.0], (40, 59, 60, 79)),
        ([-500.0, -500.0, 500.0, 500.0], (0, 59, 0, 79)),
        ([100.0, 10.0, 120.0, 30.0], None),
        ([-30.0, 10.0, -5.0, 30.0], None),
    ],
)
def test_a_mask_that_leaves_the_picture_is_cut(box, seen):
    picture = gray()
    draw_masks(picture, np.array([box]), [0], torch.ones(1, 4, 4))
    assert of_colour(picture, class_colour(0)) == seen


def test_an_empty_mask_leaves_the_picture_as_it_is():
    picture = gray()
    draw_masks(picture, np.array([[10.0, 10.0, 50.0, 50.0]]), [1], torch.zeros(1, 8, 8))
    assert picture.tobytes() == gray().tobytes()


def test_titles_stand_above_their_pictures():
    first, second = gray(300, 90), Image.new("RGB", (300, 90), "blue")
    sheet = np.asarray(under_titles([("left", first), ("right", second)]))
    assert (sheet[-90:, :300] == GRAY).all() and (sheet[-90:, -300:] == (0, 0, 255)).all()
    head = sheet[:-90]
    assert (head[:, :300] == 0).any() and (head[:, -300:] == 0).any()


def test_a_title_has_room_above_a_narrow_picture():
    """The picture makes way: two titles never run into each other."""
    title = "detections >= 0.3 (7)"
    alone = np.asarray(under_titles([(title, gray(20, 90))]))
    both = np.asarray(under_titles([(title, gray(20, 90)), (title, gray(20, 90))]))
    side = alone.shape[1]
    assert side > 100
    assert np.array_equal(both[:, :side], alone) and np.array_equal(both[:, -side:], alone)
