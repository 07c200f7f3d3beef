"""The attention over taps, location by location and head by head."""

import math

import numpy as np
import pytest
import torch

from fdet.cache.errors import ConfigError
from fdet.cache.pyramid import LevelSpec, PyramidSpec
from fdet.heads.necks.settings import TapAttentionSettings
from fdet.heads.necks.tap_attention import TapAttention

from ..reference import TAPS, pyramid
from .literal import Weights, assert_same, conv, layer_norm, scrambled

HEADS, CHANNELS = 4, 16


def neck_of(spec=TAPS, **settings) -> TapAttention:
    torch.manual_seed(0)
    chosen = {"channels": CHANNELS, "attention_heads": HEADS, "min_level": 4, "max_level": 4}
    return scrambled(TapAttention(spec, TapAttentionSettings(**chosen | settings)))


def linear(weights: Weights, x):
    y = weights["weight"] @ x
    bias = weights.get("bias")
    return y if bias is None else y + bias


def literal(weights: Weights, maps):
    """(B, C, H, W), one location and head after the other."""
    taps = [
        layer_norm(weights / f"convs.{k}.1", conv(weights / f"convs.{k}.0", x))
        for k, x in enumerate(maps)
    ]
    out, width = torch.zeros_like(taps[0]), CHANNELS // HEADS
    for b, i, j in np.ndindex(out.shape[0], *out.shape[2:]):
        own = [tap[b, :, i, j] + name for tap, name in zip(taps, weights["names"], strict=True)]
        mean, read = sum(own) / len(own), torch.zeros(CHANNELS)
        query = linear(weights / "query", mean)
        keys, values = ([linear(weights / name, x) for x in own] for name in ("key", "value"))
        for m in range(HEADS):
            part = slice(m * width, (m + 1) * width)
            powers = [math.exp(float(query[part] @ key[part]) / math.sqrt(width)) for key in keys]
            for power, value in zip(powers, values, strict=True):
                read[part] += power / sum(powers) * value[part]
        out[b, :, i, j] = mean + linear(weights / "output", read)
    return out


def test_it_is_the_literal_loop():
    neck, given = neck_of(), pyramid(2, (64, 96), spec=TAPS)
    weights = Weights(neck.state_dict())
    x = literal(weights / "taps", given.maps)
    of_level = weights / "levels.0" / "out"
    x = layer_norm(of_level / "0.1", conv(of_level / "0.0", x))
    x = layer_norm(of_level / "1.1", conv(of_level / "1.0", x))
    with torch.no_grad():
        assert_same(neck(given).maps, [x])


def test_taps_differ_even_where_their_features_are_the_same():
    """By the vectors that are added to them."""
    spec = PyramidSpec((LevelSpec("a", 16, 8), LevelSpec("b", 16, 8)))
    reader = neck_of(spec).taps
    reader.convs[1].load_state_dict(reader.convs[0].state_dict())
    x = torch.randn(1, 8, 3, 3)
    with torch.no_grad():
        before = reader([x, x])
        reader.names[:] = reader.names.flip(0)
        torch.testing.assert_close(reader([x, x]), before)
        reader.names[0] += 1
        assert not torch.allclose(reader([x, x]), before, atol=1e-2)


def test_what_cannot_be_is_said():
    with pytest.raises(
        ConfigError, match="reads several taps, the cache has only block7; neck vit-p"
    ):
        neck_of(PyramidSpec(TAPS.levels[:1]))
    with pytest.raises(ConfigError, match=r"expected a divisor of the 16 neck.channels, got 5"):
        neck_of(attention_heads=5)
