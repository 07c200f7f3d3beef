"""Levels of two backbones joined below a neck."""

import pytest
import torch

from fdet.cache.errors import ConfigError
from fdet.cache.pyramid import SECOND, FeaturePyramid, LevelSpec, PyramidSpec
from fdet.heads.build import build_detector
from fdet.heads.dense.settings import RetinaNetSettings
from fdet.heads.fusion import FusedLevel, at_stride
from fdet.heads.necks import NECKS

from .reference import CACHED, SPEC, batch, neck_settings, pyramid

VIT = PyramidSpec((LevelSpec("block7", 16, 5), LevelSpec("block11", 16, 7)))
FINE = PyramidSpec((LevelSpec("c2", 4, 3), LevelSpec("c3", 8, 4), LevelSpec("c4", 16, 5)))
PATCH_14 = PyramidSpec((LevelSpec("block11", 14, 5),))
SECONDS = {"taps of a ViT": VIT, "a finer pyramid": FINE, "patches of 14": PATCH_14}
FUSIONS = ("add", "concat")
HEAD = RetinaNetSettings(convs=1, anchor_scales=(4.0,), ratios=(1.0,))


def built(spec, neck="fpn", **wanted):
    torch.manual_seed(0)
    return build_detector(spec, 3, neck_settings(neck, **wanted), HEAD)


@pytest.mark.parametrize("second", SECONDS.values(), ids=SECONDS.keys())
@pytest.mark.parametrize("fusion", FUSIONS)
def test_gradients_reach_every_parameter_and_every_map_that_is_used(fusion, second):
    spec = SPEC.joined_with(second)
    detector = built(spec, fusion=fusion)
    given, placements, targets, seeds = batch(2, (128, 96), spec)
    for x in given.maps:
        x.requires_grad_()
    losses = detector.losses(given, placements, targets, seeds)
    sum(losses.values()).mean().backward()
    assert [n for n, p in detector.named_parameters() if p.grad is None or not p.grad.any()] == []
    unused = [n for n, x in zip(spec.names, given.maps, strict=True) if x.grad is None]
    assert unused == (["b.c2"] if second is FINE else [])


@pytest.mark.parametrize("neck", NECKS)
def test_every_neck_takes_a_second_backbone(neck):
    first = CACHED.get(neck, SPEC)
    spec = first.joined_with(VIT)
    detector = built(spec, neck)
    alone = built(first, neck)
    out = detector.neck(pyramid(2, (128, 128), spec=spec))
    assert out.spec == alone.neck.spec
    assert len(detector.neck.parts) == len(first.levels) + len(alone.neck.parts)


def zero_projections(detector):
    with torch.no_grad():
        for level in detector.neck.levels:
            for parameter in level.projections.parameters():
                parameter.zero_()


@pytest.mark.parametrize("second", SECONDS.values(), ids=SECONDS.keys())
def test_a_second_backbone_that_says_nothing_leaves_the_first_as_it_is(second):
    spec = SPEC.joined_with(second)
    detector, alone = built(spec), built(SPEC)
    alone.neck.load_state_dict(detector.neck.neck.state_dict())
    alone.head.load_state_dict(detector.head.state_dict())
    zero_projections(detector)
    given = batch(3, (128, 96), spec)
    mine, theirs = detector.losses(*given), alone.losses(given[0].only(SPEC.names), *given[1:])
    for name, x in mine.items():
        assert torch.equal(x, theirs[name])


def test_concatenated_it_is_one_convolution_over_both():
    torch.manual_seed(0)
    level = FusedLevel(LevelSpec("c4", 16, 6), VIT.levels, "concat")
    x, others = torch.randn(2, 6, 4, 5), [torch.randn(2, v.channels, 4, 5) for v in VIT.levels]
    with torch.no_grad():
        second = sum(p(o) for p, o in zip(level.projections, others, strict=True))
        conv = level.joined[0]
        weight = conv.weight[..., 0, 0]
        expected = torch.einsum("oc,bchw->bohw", weight[:, :6], x)
        expected = expected + torch.einsum("oc,bchw->bohw", weight[:, 6:], second)
        torch.testing.assert_close(level(x, *others), expected + conv.bias[:, None, None])


@pytest.mark.parametrize("fusion", FUSIONS)
def test_an_image_knows_nothing_of_its_neighbours(fusion):
    spec = SPEC.joined_with(VIT)
    detector = built(spec, fusion=fusion)
    given = pyramid(3, (96, 128), spec=spec)
    alone = FeaturePyramid(spec, tuple(x[1:2] for x in given.maps), given.canvas_hw)
    for x, y in zip(detector.neck(given).maps, detector.neck(alone).maps, strict=True):
        torch.testing.assert_close(x[1:2], y, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("own", "wanted"), [(16, 8), (14, 8), (14, 32), (7, 16), (32, 8), (4, 16)])
@pytest.mark.parametrize("canvas", [(64, 96), (70, 154), (33, 8)], ids=str)
def test_each_place_takes_what_covers_its_centre(own, wanted, canvas):
    """A map whose values are its own places' positions tells where each value came from."""
    hw, size = ([-(-side // stride) for side in canvas] for stride in (own, wanted))
    rows, columns = torch.meshgrid(*(torch.arange(n) * 1.0 for n in hw), indexing="ij")
    found = at_stride(torch.stack([rows, columns])[None], own, wanted, tuple(size))
    assert found.shape == (1, 2, *size)
    for axis in (0, 1):
        values = found[0, axis].movedim(axis, 0)[:, 0]
        for k, value in enumerate(values.tolist()):
            low, high = k * wanted, (k + 1) * wanted
            location = value * own, (value + 1) * own
            if wanted >= 2 * own:
                assert low - own <= location[0] < high  # the largest of several
            else:
                centre = min((low + high) / 2, hw[axis] * own - own / 2)
                assert location[0] <= centre < location[1]


def test_a_level_without_its_stride_takes_the_nearest():
    detector = built(SPEC.joined_with(FINE))
    assert [level.strides for level in detector.neck.levels] == [[8], [16], [16]]
    detector = built(SPEC.joined_with(VIT))
    assert [level.strides for level in detector.neck.levels] == [[16, 16]] * 3


def test_the_levels_that_are_used_may_be_named():
    spec = SPEC.joined_with(VIT)
    levels = ("c3", "c4", "c5", f"{SECOND}block11")
    detector = built(spec, levels=levels)
    assert detector.neck.cached.names == ("c3", "c4", f"{SECOND}block11", "c5")
    assert "neck" not in dict(built(spec, levels=SPEC.names).neck.named_children())
    with pytest.raises(ConfigError, match=r"levels of the first cache too, got b\.block7"):
        built(spec, levels=(f"{SECOND}block7",))


def test_recomputed_and_synchronised_it_is_the_same():
    spec = SPEC.joined_with(PATCH_14)
    detector = built(spec, norm="sync-bn")
    assert detector.synchronised
    detector.accompany()
    given = batch(2, (128, 128), spec)
    grads = []
    for recompute in (False, True):
        detector.zero_grad()
        detector.checkpoint_activations(recompute)
        sum(detector.losses(*given).values()).mean().backward()
        grads.append([p.grad.clone() for p in detector.neck.parameters() if p.grad is not None])
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other)
