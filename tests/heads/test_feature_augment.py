"""Feature augmentation against its formulas, value by value."""

import math
from dataclasses import replace
from random import Random

import pytest
import torch

from fdet.cache.errors import ConfigError
from fdet.cache.pyramid import FeaturePyramid, LevelSpec, PyramidSpec
from fdet.heads import feature_augment
from fdet.heads.augment_settings import AugmentSettings
from fdet.heads.feature_augment import augmented

SPEC = PyramidSpec((LevelSpec("c3", 8, 3), LevelSpec("c4", 16, 5)))
VARIANTS = ("map", "channel", "channel-range")
variants = pytest.mark.parametrize("variant", VARIANTS)


def pyramid(images=2, seed=0):
    g = torch.Generator().manual_seed(seed)
    maps = tuple(3 * torch.randn(images, *v.shape((32, 48)), generator=g) - 1 for v in SPEC.levels)
    return FeaturePyramid(SPEC, maps, (32, 48))


def changed(settings, seeds=(5, 6), images=2):
    return augmented(pyramid(images), settings, seeds).maps


def literal(x, variant, change):
    """`change(value 0..1, channel, mean)` on every value, with the ranges that the variant says."""
    everything = x.flatten().tolist()
    out = torch.empty_like(x)
    for c, channel in enumerate(x):
        values = channel.flatten().tolist() if variant == "channel-range" else everything
        low, high = min(values), max(values)
        mean = sum((v - low) / (high - low) for v in values) / len(values)
        for i, row in enumerate(channel.tolist()):
            for j, value in enumerate(row):
                unit = change((value - low) / (high - low), c, mean)
                out[c, i, j] = unit * (high - low) + low
    return out


def parameters(seed, variant, draw_one):
    """What is drawn for each level and channel, in the order in which it is drawn."""
    draw = Random(seed ^ feature_augment._SALT)
    draw.random()
    for level in SPEC.levels:
        drawn = [draw_one(draw) for _ in range(1 if variant == "map" else level.channels)]
        yield drawn * (level.channels if variant == "map" else 1)


def check(settings, draw_one, formula):
    seeds = (5, 6)
    found = changed(settings, seeds)
    for k, seed in enumerate(seeds):
        drawn = parameters(seed, settings.variant, draw_one)
        for x, y, values in zip(pyramid().maps, found, drawn, strict=True):
            expected = literal(
                x[k], settings.variant, lambda u, c, m, v=values: formula(u, v[c], m)
            )
            torch.testing.assert_close(y[k], expected, rtol=1e-5, atol=1e-5)


@variants
def test_brightness(variant):
    settings = AugmentSettings(variant=variant, brightness=0.4)
    check(settings, lambda d: d.uniform(-0.4, 0.4), lambda u, s, m: min(max(u + s, 0), 1))


@variants
def test_contrast(variant):
    settings = AugmentSettings(variant=variant, contrast=0.7)
    check(settings, lambda d: d.uniform(0.3, 1.7), lambda u, f, m: min(max(m + f * (u - m), 0), 1))


@variants
def test_posterize(variant):
    def formula(u, bits, m):
        levels = 2**bits
        return min(math.floor(torch.tensor(u).item() * levels), levels - 1) / levels

    settings = AugmentSettings(variant=variant, posterize=2)
    seeds = (5, 6)
    for k, seed in enumerate(seeds):
        drawn = parameters(seed, variant, lambda d: d.randint(2, 8))
        for x, y, bits in zip(pyramid().maps, changed(settings, seeds), drawn, strict=True):
            expected = literal(x[k], variant, lambda u, c, m, b=bits: formula(u, b[c], m))
            # A value at the edge of two levels may take either, by rounding.
            assert (~torch.isclose(y[k], expected, atol=1e-4)).float().mean() < 0.01


@pytest.mark.parametrize("variant", ["map", "channel-range"])
def test_noise_has_its_deviation(variant):
    settings = AugmentSettings(variant=variant, noise=0.5)
    big = FeaturePyramid(
        PyramidSpec((LevelSpec("c3", 8, 2),)),
        (torch.stack([torch.randn(64, 64), 10 * torch.randn(64, 64)])[None],),
        (512, 512),
    )
    (found,) = augmented(big, settings, [3]).maps
    (x,) = big.maps
    own = x[0].std((1, 2)) if variant == "channel-range" else x[0].std().expand(2)
    torch.testing.assert_close((found - x)[0].std((1, 2)), 0.5 * own, rtol=0.05, atol=0)


def test_channel_dropout_drops_whole_channels():
    many = FeaturePyramid(
        PyramidSpec((LevelSpec("c3", 8, 400),)), (torch.rand(1, 400, 2, 2) + 1,), (16, 16)
    )
    (found,) = augmented(many, AugmentSettings(channel_dropout=0.25), [0]).maps
    dropped = (found[0] == 0).flatten(1).all(1)
    assert torch.equal(found[0, ~dropped], many.maps[0][0, ~dropped])
    assert 60 < int(dropped.sum()) < 140


EACH = {
    "brightness": 0.5,
    "contrast": 0.5,
    "posterize": 2,
    "noise": 0.5,
    "channel_dropout": 0.5,
}


@variants
@pytest.mark.parametrize("kind", EACH)
def test_an_image_has_its_own_draw_whoever_stands_beside(kind, variant):
    settings = AugmentSettings(variant=variant, **{kind: EACH[kind]})
    both = changed(settings)
    alone = augmented(
        FeaturePyramid(SPEC, tuple(x[1:] for x in pyramid().maps), (32, 48)), settings, [6]
    )
    for x, y in zip(both, alone.maps, strict=True):
        assert torch.equal(x[1:], y)
    recompute = changed(settings)
    assert all(torch.equal(x, y) for x, y in zip(both, recompute, strict=True))
    others = changed(settings, seeds=(7, 8))
    assert not all(torch.equal(x, y) for x, y in zip(both, others, strict=True))


@pytest.mark.parametrize("kind", EACH)
def test_no_value_moves(kind):
    """The same value in two cells of a channel stays the same in both, but for the noise."""
    settings = AugmentSettings(**{kind: EACH[kind]})
    same = FeaturePyramid(SPEC, tuple(x.sign() for x in pyramid().maps), (32, 48))
    for x, y in zip(same.maps, augmented(same, settings, [1, 2]).maps, strict=True):
        if kind == "noise":
            assert torch.corrcoef(torch.stack([x.flatten(), y.flatten()]))[0, 1] > 0.8
            continue
        for image, other in zip(x, y, strict=True):
            for channel, changed_channel in zip(image, other, strict=True):
                for value in (-1, 1):
                    assert len(changed_channel[channel == value].unique()) <= 1


def test_off_by_default_and_nothing_is_copied():
    plain = pyramid()
    assert not AugmentSettings().on
    assert augmented(plain, AugmentSettings(), [1, 2]) is plain
    assert augmented(plain, AugmentSettings(share=0, noise=1), [1, 2]) is plain


def test_a_share_of_the_images():
    settings = AugmentSettings(share=0.5, brightness=0.5)
    found = changed(settings, seeds=range(40), images=40)[0]
    same = sum(torch.equal(x, y) for x, y in zip(found, pyramid(40).maps[0], strict=True))
    assert 8 < same < 32


def test_a_constant_map_and_an_empty_batch():
    flat = FeaturePyramid(SPEC, tuple(torch.full_like(x, 2.0) for x in pyramid().maps), (32, 48))
    settings = AugmentSettings(brightness=0.5, contrast=0.5, posterize=1, noise=0.5)
    assert all(x.isfinite().all() for x in augmented(flat, settings, [1, 2]).maps)
    empty = FeaturePyramid(SPEC, tuple(x[:0] for x in pyramid().maps), (32, 48))
    assert len(augmented(empty, settings, [])) == 0


@pytest.mark.parametrize(("name", "value"), [("brightness", 1.5), ("posterize", 9), ("share", -1)])
def test_what_makes_no_sense_is_refused(name, value):
    with pytest.raises(ConfigError, match=rf"augment\.{name}"):
        replace(AugmentSettings(), **{name: value})
