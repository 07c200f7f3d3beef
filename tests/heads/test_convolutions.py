"""Convolutions of stride 2, on maps of any size and in any precision."""

import pytest
import torch
from torch import nn

from fdet.heads.build import build_detector
from fdet.heads.convolutions import Downsampling, convolution
from fdet.heads.dense.settings import FCOSSettings
from fdet.heads.necks import NECKS

from .reference import SPEC, batch, placement, pyramid

SIZES = [(1, 1), (2, 1), (1, 2), (1, 7), (2, 2), (5, 3)]


@pytest.mark.parametrize("hw", SIZES)
def test_in_bf16_gradients_are_finite_and_near_those_of_fp32(hw):
    torch.manual_seed(0)
    conv, x = Downsampling(16, 16), torch.randn(4, 16, *hw)
    found = []
    for half in (False, True):
        conv.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            y = conv(x)
        assert y.shape == (4, 16, -(-hw[0] // 2), -(-hw[1] // 2))
        y.float().square().sum().backward()
        found.append(conv.weight.grad.clone())
    assert found[1].isfinite().all()
    torch.testing.assert_close(found[1], found[0], rtol=0.1, atol=0.1 * found[0].abs().max())


def test_in_fp32_it_is_torchs():
    ours, theirs = Downsampling(3, 5), nn.Conv2d(3, 5, 3, stride=2, padding=1)
    theirs.load_state_dict(ours.state_dict())
    for hw in SIZES:
        x = torch.randn(2, 3, *hw)
        assert torch.equal(ours(x), theirs(x))


def test_every_convolution_of_stride_2_is_one():
    layers = convolution(4, 6, 3, stride=2, norm="gn", activation="relu")
    assert isinstance(layers[0], Downsampling) and layers[0].bias is None
    assert not isinstance(convolution(4, 6, 3)[0], Downsampling)
    for name in ("fpn", "pafpn"):
        neck = NECKS[name].build(SPEC, NECKS[name].settings(channels=8))
        strided = [m for m in neck.modules() if isinstance(m, nn.Conv2d) and m.stride == (2, 2)]
        assert strided and all(isinstance(m, Downsampling) for m in strided)


@pytest.mark.parametrize("neck", ["fpn", "pafpn"])
def test_a_detector_on_the_smallest_canvas_has_finite_gradients_in_bf16(neck):
    torch.manual_seed(0)
    detector = build_detector(SPEC, 3, NECKS[neck].settings(channels=16), FCOSSettings())
    _, _, targets, seeds = batch(2)
    placements = [placement((32, 32), (32, 32))] * 2
    with torch.autocast("cpu", torch.bfloat16):
        losses = detector.losses(pyramid(2, (32, 32)), placements, targets, seeds)
    sum(losses.values()).sum().backward()
    grads = {n: p.grad for n, p in detector.named_parameters() if p.grad is not None}
    assert len(grads) > 20
    assert [n for n, g in grads.items() if not g.isfinite().all()] == []
