"""Over the tables: every neck and every head learns, and says at once what it cannot have."""

import pytest
import torch

from fdet.cache.errors import ConfigError
from fdet.cache.pyramid import FeaturePyramid, LevelSpec, PyramidSpec
from fdet.heads.build import HEADS, build_detector
from fdet.heads.necks import NECKS
from fdet.heads.types import Targets

from .reference import (
    ALL_SAMPLED,
    CACHED,
    SPEC,
    batch,
    neck_settings,
    placement,
    pyramid,
)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("neck", NECKS)
def test_gradients_reach_every_trained_parameter(neck, head):
    torch.manual_seed(0)
    settings = HEADS[head][1](**ALL_SAMPLED.get(head, {}))
    spec = CACHED.get(neck, SPEC)
    detector = build_detector(spec, 3, neck_settings(neck), settings)
    # Of a single value a channel, "gn" with as many groups as channels would leave nothing.
    canvas = (128, 128) if neck == "fpn" else (256, 256)
    losses = detector.losses(*batch(2, canvas, spec))
    sum(losses.values()).mean().backward()
    dead = [n for n, p in detector.named_parameters() if p.grad is None or not p.grad.any()]
    assert dead == []


@pytest.mark.parametrize("head", HEADS)
def test_detections_lie_within_the_image_and_labels_within_the_classes(head):
    torch.manual_seed(0)
    settings = HEADS[head][1](score_threshold=0.0)
    detector = build_detector(SPEC, 3, NECKS["fpn"][1](channels=16), settings).eval()
    placed = placement((128, 128), (64, 128), image_hw=(100, 200))
    with torch.no_grad():
        (found,) = detector.detections(pyramid(1, (128, 128)), [placed])
    assert len(found.scores) > 0
    assert found.boxes.min() >= 0
    assert (found.boxes[:, 2] <= 200).all()
    assert (found.boxes[:, 3] <= 100).all()
    assert set(found.labels.tolist()) <= {0, 1, 2}
    assert (found.scores.diff() <= 0).all()


@pytest.mark.parametrize("head", HEADS)
def test_the_answer_does_not_hang_on_the_training_flag(head):
    detector = build_detector(SPEC, 2, NECKS["fpn"][1](channels=16), HEADS[head][1]())
    canvas = (64, 64)
    for mode in (True, False):
        detector.train(mode)
        with torch.no_grad():
            assert isinstance(
                detector.detections(pyramid(1, canvas), [placement(canvas, canvas)]), list
            )
        boxes = Targets(torch.tensor([[4.0, 4.0, 40.0, 40.0]]), torch.tensor([1]))
        placed = [placement(canvas, canvas)]
        assert set(detector.losses(pyramid(1, canvas), placed, [boxes], [0]))


def test_a_level_that_the_cache_lacks_is_named_at_once():
    with pytest.raises(ConfigError, match=r"needs level c2 \(stride 4\).*--levels"):
        build_detector(SPEC, 2, NECKS["fpn"][1](min_level=2), HEADS["retinanet"][1]())


def test_a_pyramid_of_one_stride_is_refused_by_fpn():
    taps = PyramidSpec((LevelSpec("block3", 16, 8), LevelSpec("block7", 16, 8)))
    with pytest.raises(ConfigError, match="must double the stride"):
        build_detector(taps, 2, NECKS["fpn"][1](min_level=4), HEADS["retinanet"][1]())


@pytest.mark.parametrize("extra", ["c", "p", "subsample"])
def test_fpn_builds_levels_that_the_cache_has_not(extra):
    neck = NECKS["fpn"][0](SPEC, NECKS["fpn"][1](channels=16, extra=extra))
    out = neck(pyramid(1, (96, 160)))
    assert isinstance(out, FeaturePyramid)
    assert out.spec.strides == (8, 16, 32, 64, 128)
    assert [tuple(x.shape[-2:]) for x in out.maps] == [(12, 20), (6, 10), (3, 5), (2, 3), (1, 2)]


def test_fpn_may_end_below_the_coarsest_cached_level_which_still_takes_part():
    torch.manual_seed(0)
    neck = NECKS["fpn"][0](SPEC, NECKS["fpn"][1](channels=16, max_level=4, norm="gn"))
    given = pyramid(1, (64, 64))
    out = neck(given)
    assert [tuple(x.shape) for x in out.maps] == [(1, 16, 8, 8), (1, 16, 4, 4)]
    changed = FeaturePyramid(SPEC, (*given.maps[:2], given.maps[2] + 1), given.canvas_hw)
    assert not torch.equal(neck(changed).maps[0], out.maps[0])
    sum(x.sum() for x in out.maps).backward()
    assert all(p.grad is not None for p in neck.parameters())


@pytest.mark.parametrize("convs", [1, 2, 4, 5])
def test_retinanet_towers_have_the_convolutions_asked_for(convs):
    settings = HEADS["retinanet"][1](convs=convs, norm="gn")
    detector = build_detector(SPEC, 2, NECKS["fpn"][1](channels=16), settings)
    head = detector.head
    for tower in (head.classification_head.conv, head.regression_head.conv):
        assert sum(isinstance(m, torch.nn.Conv2d) for m in tower.modules()) == convs
        assert sum(isinstance(m, torch.nn.GroupNorm) for m in tower.modules()) == convs
        assert len({id(p) for p in tower.parameters()}) == len(list(tower.parameters()))


def test_fpn_takes_a_vit_patch_of_14():
    spec = PyramidSpec((LevelSpec("block11", 14, 32),))
    neck = NECKS["fpn"][0](spec, NECKS["fpn"][1](channels=16, min_level=4, max_level=6))
    assert neck.spec.strides == (14, 28, 56)


def test_a_neck_takes_the_named_levels_alone():
    settings = NECKS["fpn"][1](channels=16, min_level=4, max_level=5, levels=("c4", "c5"))
    detector = build_detector(SPEC, 2, settings, HEADS["retinanet"][1]())
    assert detector.neck.cached.names == ("c4", "c5")
    canvas = (64, 64)
    given = pyramid(1, canvas)
    placed = [placement(canvas, canvas)]
    boxes = Targets(torch.tensor([[4.0, 4.0, 40.0, 40.0]]), torch.tensor([1]))
    other = FeaturePyramid(SPEC, (given.maps[0] + 1, *given.maps[1:]), canvas)
    mine, theirs = (detector.losses(x, placed, [boxes], [0]) for x in (given, other))
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    every = build_detector(SPEC, 2, NECKS["fpn"][1](channels=16), HEADS["retinanet"][1]())
    assert every.neck.cached.names == SPEC.names


@pytest.mark.parametrize("levels", [("c9",), ("c3", "c9")])
def test_a_named_level_that_the_cache_lacks_is_refused(levels):
    settings = NECKS["fpn"][1](channels=16, levels=levels)
    with pytest.raises(ConfigError, match=r"setting 'neck.levels': .*c9"):
        build_detector(SPEC, 2, settings, HEADS["retinanet"][1]())


def test_named_levels_must_still_be_what_the_neck_needs():
    settings = NECKS["fpn"][1](channels=16, levels=("c4", "c5"))
    with pytest.raises(ConfigError, match="needs level c3"):
        build_detector(SPEC, 2, settings, HEADS["retinanet"][1]())
