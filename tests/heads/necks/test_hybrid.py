"""The hybrid encoder against transformers' own with the same weights; taps of a plain ViT literally."""

import pytest
import torch
from torch.nn import functional
from transformers import RTDetrConfig
from transformers.models.rt_detr.modeling_rt_detr import RTDetrHybridEncoder

from fdet.cache.errors import ConfigError
from fdet.cache.pyramid import LevelSpec, PyramidSpec
from fdet.heads.necks.hybrid import Hybrid, resized
from fdet.heads.necks.settings import HybridSettings

from ..reference import SPEC, pyramid
from .literal import scrambled

CHANNELS = 16
SETTINGS = {"channels": CHANNELS, "max_level": 5, "attention_heads": 4, "ffn_channels": 24}
TAPS = PyramidSpec(tuple(LevelSpec(f"block{k}", 16, 12) for k in (3, 7, 11)))


def neck_of(spec=SPEC, **settings) -> Hybrid:
    torch.manual_seed(0)
    return scrambled(Hybrid(spec, HybridSettings(**SETTINGS | settings))).eval()


def theirs_of(neck: Hybrid, expansion: float) -> RTDetrHybridEncoder:
    config = RTDetrConfig(
        encoder_hidden_dim=CHANNELS,
        encoder_in_channels=[4, 4, 4],
        encoder_ffn_dim=24,
        num_attention_heads=4,
        encoder_attention_heads=4,
        hidden_expansion=expansion,
        eval_size=None,
        attn_implementation="eager",
    )
    theirs = RTDetrHybridEncoder(config)
    (layer,) = theirs.aifi[0].layers
    (own,) = neck.encoder
    names = {"q_proj": "query", "k_proj": "key", "v_proj": "value", "o_proj": "output"}
    pairs = [
        (getattr(layer.self_attn, a), getattr(own.self_attention, b)) for a, b in names.items()
    ]
    pairs += [(layer.self_attn_layer_norm, own.self_norm), (layer.mlp, own.feed_forward)]
    pairs += [(layer.final_layer_norm, own.last_norm)]
    pairs += [(theirs.lateral_convs, neck.paths.lateral), (theirs.fpn_blocks, neck.paths.down)]
    pairs += [(theirs.downsample_convs, neck.paths.strided), (theirs.pan_blocks, neck.paths.up)]
    with torch.no_grad():
        for their, our in pairs:
            tensors = [*our.parameters(), *our.buffers()]
            if our is own.self_attention.key:  # a bias of the keys changes nothing
                tensors.append(torch.randn(CHANNELS))
            for x, y in zip([*their.parameters(), *their.buffers()], tensors, strict=True):
                assert x.shape == y.shape
                x.copy_(y)
    return theirs.eval()


@pytest.mark.parametrize("expansion", [1.0, 0.5])
@pytest.mark.parametrize("canvas", [(128, 128), (96, 160)], ids=["square", "2:1"])
def test_it_is_rt_detrs_encoder(canvas, expansion):
    neck = neck_of(norm="bn", expansion=expansion)
    generator = torch.Generator().manual_seed(1)
    for name, buffer in neck.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.add_(torch.rand(buffer.shape, generator=generator))
    given = pyramid(2, canvas)
    with torch.no_grad():
        projected = [project(x) for project, x in zip(neck.inputs, given.maps, strict=True)]
        expected = theirs_of(neck, expansion)(projected).last_hidden_state
        found = neck(given).maps
    for x, y in zip(found, expected, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-5)
        assert x.std() > 0.05


def test_levels_beyond_the_caches_come_after_the_attention():
    """Which works on the coarsest level that there is, not on what is pooled from it."""
    neck = neck_of(max_level=7)
    seen = []
    neck.encoder[0].register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[1]))
    out = neck(pyramid(1, (256, 256)))
    assert seen == [8 * 8]
    assert out.spec.strides == (8, 16, 32, 64, 128)


@pytest.mark.parametrize(("taps", "used"), [(0, 3), (1, 1), (2, 2)])
def test_taps_are_averaged_resized_and_projected(taps, used, monkeypatch):
    neck = neck_of(TAPS, taps=taps)
    seen = []
    for project in neck.inputs:
        project.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    given = pyramid(2, (64, 96), spec=TAPS)
    neck(given)
    mean = sum(given.maps[-used:]) / used
    finer, same, coarser = seen
    torch.testing.assert_close(same, mean)
    torch.testing.assert_close(finer, functional.interpolate(mean, size=(8, 12), mode="bilinear"))
    quarters = [mean[..., i::2, j::2] for i in (0, 1) for j in (0, 1)]
    torch.testing.assert_close(coarser, sum(quarters) / 4)


def test_a_finer_map_lies_where_the_coarser_one_does():
    """A canvas of 40 px has 3 cells of 16 px, the last of them half empty, and 5 of 8 px."""
    x = torch.arange(3.0)[None, None, None].expand(1, 1, 3, 3)
    fine = resized(x, -1, 5, 5)[0, 0, 0]
    torch.testing.assert_close(fine, torch.tensor([0, 0.25, 0.75, 1.25, 1.75]))
    assert resized(x, 1, 2, 2)[0, 0, 0].tolist() == [0.5, 2.0]


def test_what_cannot_be_is_said():
    with pytest.raises(ConfigError, match=r"'neck.taps': the cache has 3 levels, got 4"):
        neck_of(TAPS, taps=4)
    with pytest.raises(ConfigError, match=r"must all have one stride"):
        neck_of(SPEC, taps=1)
    with pytest.raises(ConfigError, match=r"multiple of 4 and of its 4 neck.attention_heads"):
        neck_of(channels=10)
    uneven = PyramidSpec((LevelSpec("a", 16, 8), LevelSpec("b", 16, 12)))
    with pytest.raises(ConfigError, match=r"taps of as many channels, got 8, 12; set neck.taps"):
        neck_of(uneven)
    neck_of(uneven, taps=1)
