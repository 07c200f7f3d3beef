"""An image lies on the canvas of a file as it lies on that of the run, where it fits."""

import pytest

from fdet.pipeline.dataset.images.views import ResizeRule, View, place
from fdet.pipeline.exported.canvas import FixedCanvas

SQUARE = ResizeRule(64, 64, square=True, divisor=32)
ASPECT = ResizeRule(64, 128, square=False, divisor=32)
SIZES = [(48, 64), (640, 481), (333, 77), (1, 1), (5, 1000), (1000, 999)]


def placed(rule, image_hw):
    return place(image_hw, rule, View("plain"), seed=0, image_id=0, view_index=0)


@pytest.mark.parametrize("rule", [SQUARE, ASPECT])
@pytest.mark.parametrize("image_hw", SIZES)
def test_on_the_canvas_of_the_rule_it_is_the_same(rule, image_hw):
    expected = placed(rule, image_hw)
    assert FixedCanvas(rule, rule.canvas_hw(image_hw)).place(image_hw) == expected


@pytest.mark.parametrize("image_hw", SIZES)
def test_on_another_canvas_it_keeps_its_scale_or_is_made_smaller(image_hw):
    ours, theirs = FixedCanvas(ASPECT, (64, 96)).place(image_hw), placed(ASPECT, image_hw)
    assert ours.canvas_hw == (64, 96)
    fits = theirs.content_hw[0] <= 64 and theirs.content_hw[1] <= 96
    assert (ours.content_hw == theirs.content_hw) == fits
    full = ours.content_hw[0] == 64 or ours.content_hw[1] == 96
    assert fits or full
