import json

import pytest
import torch

from fdet.cache.pyramid import FeaturePyramid, LevelSpec, PyramidSpec

P3, P4 = LevelSpec("p3", 8, 3), LevelSpec("p4", 16, 5)


@pytest.mark.parametrize("name", ["", "a/b", ".hidden", "..", "/p3"])
def test_a_level_name_is_a_plain_file_name(name):
    with pytest.raises(ValueError, match="level name"):
        LevelSpec(name, 8, 3)


@pytest.mark.parametrize(("stride", "channels"), [(0, 3), (8, 0), (-8, 3), (8, -1)])
def test_stride_and_channels_are_positive(stride, channels):
    with pytest.raises(ValueError, match=r"level p3.*positive"):
        LevelSpec("p3", stride, channels)


def test_the_shape_of_a_map_counts_the_cut_off_rest_of_the_canvas():
    for side in range(1, 70):
        assert P4.shape((side, 2 * side)) == (
            5,
            len(range(0, side, 16)),
            len(range(0, 2 * side, 16)),
        )


@pytest.mark.parametrize(
    ("levels", "why"),
    [((), "at least one"), ((P4, P3), "must not fall"), ((P3, LevelSpec("p3", 8, 9)), "differ")],
)
def test_impossible_pyramids_are_refused(levels, why):
    with pytest.raises(ValueError, match=why):
        PyramidSpec(levels)


def test_a_stride_may_repeat():
    spec = PyramidSpec((P3, LevelSpec("tap", 8, 9), P4))
    assert (spec.names, spec.strides, spec.channels) == (("p3", "tap", "p4"), (8, 8, 16), (3, 9, 5))


def test_a_spec_survives_json():
    spec = PyramidSpec((P3, P4))
    assert PyramidSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_a_pyramid_knows_how_many_images_it_holds():
    maps = (torch.zeros(4, 3, 4, 5), torch.zeros(4, 5, 2, 3))
    assert len(FeaturePyramid(PyramidSpec((P3, P4)), maps, (32, 40))) == 4


@pytest.mark.parametrize(
    ("shapes", "why"),
    [
        ([(2, 3, 4, 5)], "expected a map of each level, 2, got 1"),
        ([(2, 3, 4, 4), (2, 5, 2, 3)], r"level p3: expected \(2, 3, 4, 5\), got \(2, 3, 4, 4\)"),
        ([(2, 3, 4, 5), (1, 5, 2, 3)], r"level p4: expected \(2, 5, 2, 3\), got \(1, 5, 2, 3\)"),
        ([(2, 3, 4, 5), (2, 4, 2, 3)], "level p4"),
    ],
)
def test_maps_of_other_shapes_are_refused_by_name(shapes, why):
    with pytest.raises(ValueError, match=why):
        FeaturePyramid(PyramidSpec((P3, P4)), tuple(torch.zeros(s) for s in shapes), (32, 40))
