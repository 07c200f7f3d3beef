"""Head.fit: which objects an anchor or a place is made for, and how many places learn each."""

import pytest
import torch

from fdet.cache.pyramid import FeaturePyramid, LevelSpec, PyramidSpec
from fdet.heads.build import HEADS, build_detector
from fdet.heads.necks import NECKS

from .reference import SMALL_ROI, SPEC, batch

CANVAS = (128, 192)
ANCHORED = ("retinanet", "faster-rcnn", "cascade-rcnn")


def head_of(name, **settings):
    small = SMALL_ROI if "rcnn" in name else {}
    kind = HEADS[name].settings
    neck = NECKS["fpn"].settings(channels=16, max_level=5)
    return build_detector(SPEC, 3, neck, kind(**small, **settings)).head


@pytest.mark.parametrize("name", HEADS)
def test_objects_of_the_usual_sizes_are_reached(name):
    boxes = torch.tensor([[10.0, 10, 44, 42], [60, 30, 130, 100]])
    fit = head_of(name).fit(boxes, CANVAS)
    assert fit.reached.tolist() == [True, True]
    assert (fit.locations > 0).all()
    assert fit.locations.shape == (2,)


@pytest.mark.parametrize("name", HEADS)
def test_an_image_without_objects_has_none_that_fit(name):
    fit = head_of(name).fit(torch.zeros(0, 4), CANVAS)
    assert [len(x) for x in fit] == [0, 0]


@pytest.mark.parametrize("name", ANCHORED)
def test_an_object_far_smaller_than_every_anchor_is_not(name):
    boxes = torch.tensor([[12.0, 12, 20, 20], [60, 30, 130, 100]])
    assert head_of(name).fit(boxes, CANVAS).reached.tolist() == [False, True]
    fine = head_of(name, anchor_scales=(1.0, 8.0))
    assert fine.fit(boxes, CANVAS).reached.tolist() == [True, True]


def test_places_are_those_that_the_loss_learns_from():
    """RetinaNet's and FCOS's own counts: what per-image losses are divided by."""
    for name in ("retinanet", "fcos"):
        given = batch(2)
        torch.manual_seed(0)
        by_image, by_one = head_of(name, normaliser="image"), head_of(name, normaliser=1.0)
        by_one.load_state_dict(by_image.state_dict())
        levels = neck_levels(given[0])
        own, one = (head.losses(levels, *given[1:])["box"] for head in (by_image, by_one))
        hw = given[0].canvas_hw
        counts = torch.stack([by_image.fit(t.boxes, hw).locations.sum() for t in given[2]])
        torch.testing.assert_close(one / own, counts.float())


def neck_levels(given):
    """Such as a neck gives a head."""
    spec = PyramidSpec(tuple(LevelSpec(f"p{k}", 2**k, 16) for k in (3, 4, 5)))
    generator = torch.Generator().manual_seed(1)
    maps = tuple(
        torch.randn(len(given), *level.shape(given.canvas_hw), generator=generator)
        for level in spec.levels
    )
    return FeaturePyramid(spec, maps, given.canvas_hw)


@pytest.mark.parametrize("name", ["fcos", "tal"])
def test_a_fresh_head_of_points_has_boxes_of_eight_strides_and_none_without_a_gradient(name):
    """With a bias of zero FCOS's ReLU gave a distance of exactly zero at a third of all sides."""
    torch.manual_seed(0)
    distances = head_of(name).outputs(neck_levels(batch(2)[0]))[1].detach()
    assert distances.min() > 1
    assert float(distances.mean()) == pytest.approx(4, abs=0.5)
