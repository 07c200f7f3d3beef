"""What a graph does in place of a codec is what the codec does."""

import pytest
import torch

from fdet.cache.codecs.codec import plain_codec
from fdet.cache.pyramid import FeaturePyramid, LevelSpec, PyramidSpec

SPEC = PyramidSpec((LevelSpec("c3", 8, 5), LevelSpec("c4", 16, 7)))


@pytest.mark.parametrize("name", ["fp32", "fp16", "bf16"])
def test_maps_come_back_as_from_a_cache(name):
    generator = torch.Generator().manual_seed(0)
    maps = tuple(torch.randn(3, *v.shape((24, 40)), generator=generator) for v in SPEC.levels)
    pyramid, codec = FeaturePyramid(SPEC, maps, (24, 40)), plain_codec(name, SPEC)
    expected = codec.decode(codec.encode(pyramid), (24, 40))
    for ours, theirs in zip(codec.passed(pyramid).maps, expected.maps, strict=True):
        assert torch.equal(ours, theirs)
