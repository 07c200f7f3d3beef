"""PANet's path against its formula, over torchvision's FPN."""

import pytest
import torch

from fdet.cache.errors import ConfigError
from fdet.cache.pyramid import LevelSpec, PyramidSpec
from fdet.heads.necks.fpn import FPN
from fdet.heads.necks.pafpn import PAFPN
from fdet.heads.necks.settings import FPNSettings, PAFPNSettings

from ..reference import SPEC, pyramid
from .literal import Weights, assert_same, conv, group_norm, scrambled


@pytest.mark.parametrize("canvas", [(128, 128), (136, 200)])
@pytest.mark.parametrize("norm", ["none", "gn"])
def test_it_is_the_formula(norm, canvas):
    neck = scrambled(PAFPN(SPEC, PAFPNSettings(channels=16, max_level=6, norm=norm)))
    given = pyramid(2, canvas)
    fpn = FPN(SPEC, FPNSettings(channels=16, max_level=6, norm=norm))
    weights = neck.state_dict()
    fpn.load_state_dict({n: v for n, v in weights.items() if n.startswith("fpn.")})
    path = Weights(weights) / "path"

    def block(of, x, stride=1):
        x = conv(of / 0, x, stride)
        return (group_norm(of / 1, x) if norm == "gn" else x).clamp(min=0)

    with torch.no_grad():
        levels = fpn(given).maps
        expected = [levels[0]]
        for k, x in enumerate(levels[1:]):
            down = block(path / "down" / k, expected[-1], stride=2)
            assert down.shape == x.shape
            expected.append(block(path / "fuse" / k, x + down))
        assert_same(neck(given).maps, expected)


def test_strides_that_do_not_double_exactly_are_refused():
    spec = PyramidSpec((LevelSpec("c3", 8, 6), LevelSpec("block11", 14, 6)))
    with pytest.raises(ConfigError, match="exactly twice the stride of the one before, got 8, 14;"):
        PAFPN(spec, PAFPNSettings(max_level=4))
    assert FPN(spec, FPNSettings(max_level=4)).spec.strides == (8, 14)
