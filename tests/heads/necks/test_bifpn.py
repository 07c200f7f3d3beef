"""BiFPN against the paper's formulas for five levels, written out node by node."""

import pytest
import torch

from fdet.cache.errors import ConfigError
from fdet.heads.necks.bifpn import BiFPN
from fdet.heads.necks.settings import BiFPNSettings

from ..reference import SPEC, pyramid
from .literal import Weights, assert_same, conv, group_norm, pooled, repeated, scrambled


def block(weights: Weights, x: torch.Tensor) -> torch.Tensor:
    """Convolution and, where there is one, norm."""
    x = conv(weights / 0, x)
    return x if weights.get("1.weight") is None else group_norm(weights / 1, x)


def node(order: str, weights: Weights, *inputs: torch.Tensor) -> torch.Tensor:
    w = [max(float(v), 0.0) for v in weights["weights"]]
    assert len(w) == len(inputs)
    fused = sum(v * x for v, x in zip(w, inputs, strict=True)) / (sum(w) + 1e-4)
    first = order == "act-conv-norm"
    given = fused * fused.sigmoid() if first else fused
    out = block(weights / "conv.1", conv(weights / "conv" / 0, given, groups=16))
    return out if first else out * out.sigmoid()


@pytest.mark.parametrize("order", ["act-conv-norm", "conv-norm-act"])
@pytest.mark.parametrize("canvas", [(256, 256), (264, 392)])
@pytest.mark.parametrize("norm", ["none", "gn"])
def test_it_is_the_papers_formulas(norm, canvas, order):
    torch.manual_seed(0)
    neck = scrambled(BiFPN(SPEC, BiFPNSettings(channels=16, repeats=2, norm=norm, order=order)))
    # Beside such weights the paper's 0.0001 counts.
    neck.repeats[0].down[0].weights.data *= 1e-4
    neck.repeats[1].up[3].weights.data *= 1e-4
    # What is trained may fall below zero: such an input has no share.
    neck.repeats[0].up[1].weights.data[1] = -0.3
    weights, given = Weights(neck.state_dict()), pyramid(2, canvas)
    with torch.no_grad():
        projections = [weights / "inputs.convs" / k for k in range(3)]
        p3, p4, p5 = (block(of, x) for of, x in zip(projections, given.maps, strict=True))
        p6 = pooled(p5, 2)
        p7 = pooled(p6, 2)
        for k in range(2):
            # The paths' nodes stand in the order in which they are made.
            down, up = weights / "repeats" / k / "down", weights / "repeats" / k / "up"
            td6 = node(order, down / 0, p6, repeated(p7, 2, p6))
            td5 = node(order, down / 1, p5, repeated(td6, 2, p5))
            td4 = node(order, down / 2, p4, repeated(td5, 2, p4))
            out3 = node(order, down / 3, p3, repeated(td4, 2, p3))
            out4 = node(order, up / 0, p4, td4, pooled(out3, 2))
            out5 = node(order, up / 1, p5, td5, pooled(out4, 2))
            out6 = node(order, up / 2, p6, td6, pooled(out5, 2))
            out7 = node(order, up / 3, p7, pooled(out6, 2))
            p3, p4, p5, p6, p7 = out3, out4, out5, out6, out7
        assert_same(neck(given).maps, [p3, p4, p5, p6, p7])


def test_two_levels_are_enough_and_one_is_not():
    neck = BiFPN(SPEC, BiFPNSettings(channels=16, max_level=4))
    out = neck(pyramid(1, (72, 40)))
    assert [tuple(x.shape) for x in out.maps] == [(1, 16, 9, 5), (1, 16, 5, 3)]
    sum(x.square().sum() for x in out.maps).backward()
    assert all(p.grad is not None for p in neck.parameters())
    with pytest.raises(ConfigError, match=r"neck\.max_level.*two levels, got only 4"):
        BiFPNSettings(min_level=4, max_level=4)


@pytest.mark.parametrize("repeats", [0, 65])
def test_repeats_have_limits(repeats):
    with pytest.raises(ConfigError, match=r"neck\.repeats.*1 to 64"):
        BiFPNSettings(repeats=repeats)


def test_the_papers_order_is_the_default_and_both_have_the_same_weights():
    neck, other = (
        BiFPN(SPEC, BiFPNSettings(channels=16, repeats=1, **order))
        for order in ({}, {"order": "conv-norm-act"})
    )
    other.load_state_dict(neck.state_dict())
    means = {}
    for of, name in ((neck, "default"), (other, "old")):
        with torch.no_grad():
            means[name] = of(pyramid(1, (256, 256))).maps[0].mean().item()
    # Behind a fresh norm values are about 0, behind an activation above it.
    assert abs(means["default"]) < 1e-5 < 0.1 < means["old"]
