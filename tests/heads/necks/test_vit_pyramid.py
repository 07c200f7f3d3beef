"""ViTDet's pyramid against its formula, for patches of 16 and 14, and canvases of any size."""

import pytest
import torch

from fdet.cache.errors import ConfigError
from fdet.cache.pyramid import LevelSpec, PyramidSpec
from fdet.heads.necks.settings import ViTPyramidSettings
from fdet.heads.necks.vit_pyramid import ViTPyramid

from ..reference import SPEC, TAPS, pyramid
from .literal import Weights, assert_same, conv, layer_norm, pooled, scrambled


def taps(stride: int, *channels: int) -> PyramidSpec:
    return PyramidSpec(tuple(LevelSpec(f"block{k}", stride, c) for k, c in enumerate(channels)))


def deconvolved(weights: Weights, x: torch.Tensor) -> torch.Tensor:
    """Each place becomes 2 x 2, by four matrices."""
    kernel, bias = weights["weight"], weights["bias"]
    out = torch.zeros(x.shape[0], kernel.shape[1], 2 * x.shape[2], 2 * x.shape[3])
    for i in range(2):
        for j in range(2):
            out[:, :, i::2, j::2] = torch.einsum("bchw,cd->bdhw", x, kernel[:, :, i, j])
    return out + bias[:, None, None]


@pytest.mark.parametrize("canvas", [(128, 128), (134, 206)])
@pytest.mark.parametrize(
    ("spec", "low"), [(taps(16, 12), 2), (TAPS, 2), (taps(14, 12), 3)], ids=["16", "two taps", "14"]
)
def test_it_is_the_formula(spec, low, canvas):
    settings = ViTPyramidSettings(channels=16, min_level=low, max_level=6)
    neck = scrambled(ViTPyramid(spec, settings))
    weights, given = Weights(neck.state_dict()), pyramid(2, canvas, spec=spec)
    stride = spec.strides[0]
    with torch.no_grad():
        if len(spec.levels) == 1:
            x = given.maps[0]
        else:
            projections = [weights / "taps.convs" / k for k in range(2)]
            x = sum(
                layer_norm(of / 1, conv(of / 0, tap))
                for of, tap in zip(projections, given.maps, strict=True)
            )
            x = x / 2
        expected = []
        for k, level in enumerate(range(low, 7)):
            up, out = weights / "levels" / k / "up", weights / "levels" / k / "out"
            if level == 2:
                once = layer_norm(up / 1, deconvolved(up / 0, x))
                made = deconvolved(up / 3, once * 0.5 * (1 + torch.erf(once / 2**0.5)))
            else:
                made = deconvolved(up / 0, x) if level == 3 else pooled(x, 2 ** (level - 4))
            rows, columns = (-int(-n // (stride * 2.0 ** (level - 4))) for n in canvas)
            made = made[:, :, :rows, :columns]
            made = layer_norm(out / "0.1", conv(out / "0.0", made))
            expected.append(layer_norm(out / "1.1", conv(out / "1.0", made)))
        found = neck(given)
        assert found.spec.strides == tuple(int(stride * 2.0 ** (n - 4)) for n in range(low, 7))
        assert_same(found.maps, expected)


def test_taps_of_other_channels_are_taken_and_larger_values_do_not_drown_the_others():
    torch.manual_seed(0)
    neck = ViTPyramid(TAPS, ViTPyramidSettings(channels=16, min_level=4, max_level=5))
    given = pyramid(1, (64, 64), spec=TAPS)
    louder = type(given)(TAPS, (given.maps[0] * 1000, given.maps[1]), given.canvas_hw)
    with torch.no_grad():
        for x, y in zip(neck(given).maps, neck(louder).maps, strict=True):
            torch.testing.assert_close(x, y, rtol=1e-2, atol=1e-2)


def test_a_stride_that_cannot_be_halved_is_refused_with_what_can_be():
    expected = r"level 2 would need stride 3\.5, .*set neck.min_level=3 \(stride 7\)"
    with pytest.raises(ConfigError, match=expected):
        ViTPyramid(taps(14, 8), ViTPyramidSettings(min_level=2))
    with pytest.raises(ConfigError, match=r"stride 7\.5.*neck.min_level=4 \(stride 15\)"):
        ViTPyramid(taps(15, 8), ViTPyramidSettings(min_level=3))


def test_a_pyramid_is_refused():
    with pytest.raises(ConfigError, match=r"must all have one stride.*got 8, 16, 32; neck fpn"):
        ViTPyramid(SPEC, ViTPyramidSettings())
