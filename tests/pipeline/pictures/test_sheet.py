"""Which detections are shown and how they stand beside the ground truth."""

import numpy as np
import pytest
import torch
from PIL import Image

from fdet.heads.types import Detections
from fdet.pipeline.dataset.annotations import ImageBoxes
from fdet.pipeline.dataset.outlines import packed_outlines
from fdet.pipeline.pictures.draw import OPACITY, class_colour
from fdet.pipeline.pictures.sheet import draw_sheet, sure, sure_or_best

from ...generated import runs_of

GRAY = (100, 100, 100)
NAMES = ("disc", "square", "cross")
IMAGE = Image.new("RGB", (400, 200), GRAY)
BOX = [100.0, 50.0, 300.0, 150.0]


def detections(*scores, labels=None, masks=None, boxes=None):
    boxes = torch.tensor([BOX] * len(scores) if boxes is None else boxes).reshape(-1, 4)
    given = torch.tensor(list(range(len(scores))) if labels is None else labels, dtype=torch.int64)
    return Detections(boxes, torch.tensor(scores), given, masks)


def objects(outlines=None, crowd=False):
    return ImageBoxes(np.array([BOX]), np.array([1]), np.array([crowd]), np.array([2e4]), outlines)


def pixels(*given, **named):
    return np.asarray(draw_sheet(*given, **named)).astype(int)


def count(part, label):
    return int((part == class_colour(label)).all(-1).sum())


def tinted(part, label):
    """(first row, last row, first column, last column) of what lies under a fill."""
    mixed = (1 - OPACITY) * np.array(GRAY) + OPACITY * np.array(class_colour(label))
    rows, columns = np.nonzero((part == mixed.round()).all(-1))
    return (rows.min(), rows.max(), columns.min(), columns.max()) if len(rows) else None


def test_sure_ones_are_those_that_reach_the_score():
    found, title = sure(detections(0.75, 0.5, 0.25, 0.1), 0.5)
    assert found.scores.tolist() == [0.75, 0.5]
    assert title == "detections >= 0.5 (2)"
    assert sure(detections(), 0.3)[1] == "detections >= 0.3 (0)"


@pytest.mark.parametrize(
    ("scores", "objects", "shown", "title"),
    [
        ([0.75, 0.5, 0.25], 3, 2, "detections >= 0.5 (2)"),
        ([0.25, 0.125], 1, 1, "no detection >= 0.5; the best 1"),
        ([0.25, 0.125], 9, 2, "no detection >= 0.5; the best 2"),
        ([0.25, 0.125], 0, 1, "no detection >= 0.5; the best 1"),
        ([], 3, 0, "detections >= 0.5 (0)"),
    ],
)
def test_the_best_stand_in_where_none_is_sure(scores, objects, shown, title):
    found, said = sure_or_best(detections(*scores), 0.5, objects)
    assert found.scores.tolist() == scores[:shown]
    assert said == title


def test_the_best_lies_on_top():
    sheet = pixels(IMAGE, detections(0.9, 0.8, labels=[2, 0]), "", ["", "", ""])
    upper_edge = sheet[-400:][100:102, 400:590]
    assert (upper_edge == class_colour(2)).all()


def test_the_ground_truth_stands_on_the_left():
    sheet = pixels(IMAGE, detections(0.9), "found", NAMES, objects())
    alone = pixels(IMAGE, detections(0.9), "found", NAMES)
    assert np.array_equal(sheet[:, -alone.shape[1] :], alone)
    left = sheet[:, : alone.shape[1]]
    assert count(left, 1) > 1000 and count(left, 0) == 0
    assert count(alone, 0) > 1000 and count(alone, 1) == 0


def test_one_class_alone_is_not_named():
    """Its text is the score, and the ground truth has none."""
    one, three = ["thing"], ["thing", "b", "c"]
    zero = detections(0.9, labels=[0])
    assert count(pixels(IMAGE, zero, "", one), 0) < count(pixels(IMAGE, zero, "", three), 0)
    nothing, truth = detections(), objects()
    truth.labels[:] = 0
    frame = count(pixels(IMAGE, nothing, "", one, truth), 0)
    assert frame == 2 * 2 * (401 + 201) - 4 * 4


def test_a_crowd_is_marked_even_where_there_is_one_class():
    nothing, crowd, plain = detections(), objects(crowd=True), objects()
    for names in (NAMES, ["a", "b"]):
        marked = pixels(IMAGE, nothing, "", names, crowd)
        assert count(marked, 1) > count(pixels(IMAGE, nothing, "", names, plain), 1)
    crowd.labels[:] = plain.labels[:] = 0
    marked = pixels(IMAGE, nothing, "", ["thing"], crowd)
    assert count(marked, 0) > count(pixels(IMAGE, nothing, "", ["thing"], plain), 0)


def test_masks_of_detections_are_filled_within_their_boxes():
    masks = torch.zeros(1, 28, 28)
    masks[..., 14:] = 1
    sheet = pixels(IMAGE, detections(0.9, masks=masks), "", NAMES, objects())
    left, right = sheet[-400:, :800], sheet[-400:, -800:]
    assert tinted(left, 0) is None
    top, bottom, start, end = tinted(right, 0)
    assert (top, bottom) == (102, 297)
    assert abs(start - 402) <= 1 and abs(end - 597) <= 1
    bare = pixels(IMAGE, detections(0.9), "", NAMES, objects())
    assert tinted(bare[-400:, -800:], 0) is None


@pytest.mark.parametrize("runs", [False, True])
def test_outlines_of_objects_are_filled(runs):
    """The upper half of the box: as a polygon, and as the same bitmap's run lengths."""
    ring = [100.0, 50.0, 300.0, 50.0, 300.0, 100.0, 100.0, 100.0]
    bitmap = np.zeros((200, 400), np.uint8)
    bitmap[50:100, 100:300] = 1
    outlines = packed_outlines([(runs, [runs_of(bitmap) if runs else ring])])
    sheet = pixels(IMAGE, detections(), "", NAMES, objects(outlines))
    left, right = sheet[-400:, :800], sheet[-400:, -800:]
    assert np.abs(np.subtract(tinted(left, 1), (102, 197, 202, 597))).max() <= 2
    assert tinted(right, 1) is None


def test_masks_and_boxes_shrink_with_the_picture():
    masks = torch.ones(1, 28, 28)
    sheet = pixels(IMAGE, detections(0.9, masks=masks), "", NAMES, largest_side=200)
    assert sheet.shape[1] == 200
    assert np.abs(np.subtract(tinted(sheet[-100:], 0), (27, 73, 52, 148))).max() <= 1


def test_an_image_without_anything_is_shown_as_it_is():
    none = ImageBoxes(np.zeros((0, 4)), np.zeros(0, int), np.zeros(0, bool), np.zeros(0))
    masks = torch.zeros(0, 28, 28)
    sheet = pixels(IMAGE, detections(masks=masks), "", NAMES, none)
    assert (sheet[-400:, :800] == GRAY).all() and (sheet[-400:, -800:] == GRAY).all()
