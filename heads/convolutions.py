"""Convolutions with their norms and activations, and resampling of maps to the size of another level."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import Conv2dNormActivation

from .norms import activation_layer, norm_layer


class Downsampling(nn.Conv2d):
    """A 3x3 convolution of stride 2.

    A map that is one cell wide or high passes through it in the type of its weights: in bf16 on a CPU the
    gradient of its weights would be NaN (oneDNN of torch 2.14).
    """

    def __init__(self, inputs: int, outputs: int, *, bias: bool = True) -> None:
        super().__init__(inputs, outputs, 3, stride=2, padding=1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (B, inputs, H, W) to (B, outputs, ceil(H / 2), ceil(W / 2))."""
        if min(x.shape[-2:]) > 1:
            return super().forward(x)
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.to(self.weight.dtype))


def convolution(
    inputs: int,
    outputs: int,
    kernel: int,
    *,
    stride: int = 1,
    norm: str = "none",
    activation: str = "none",
) -> nn.Sequential:
    """Build a convolution, a norm and an activation, by their names, with a bias where there is no norm.

    It maps (B, inputs, H, W) to (B, outputs, ceil(H / stride), ceil(W / stride)), for odd kernels.
    """
    layers: nn.Sequential = Conv2dNormActivation(
        inputs,
        outputs,
        kernel,
        stride,
        norm_layer=norm_layer(norm),
        activation_layer=activation_layer(activation),
        inplace=None,
    )
    if stride == 2 and kernel == 3:
        layers[0] = Downsampling(inputs, outputs, bias=layers[0].bias is not None)
    initialise(layers)
    return layers


def separable(channels: int, *, norm: str = "none", activation: str = "none") -> nn.Sequential:
    """Build a 3x3 convolution within each channel, followed by a 1x1 `convolution` over all of them."""
    depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
    initialise(depthwise)
    pointwise = convolution(channels, channels, 1, norm=norm, activation=activation)
    return nn.Sequential(depthwise, pointwise)


def initialise(module: nn.Module) -> None:
    """Initialise convolutions and linear layers as in torchvision's FPN.

    The weights keep the variance of the input; biases are zero.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_uniform_(layer.weight, a=1)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def initialise_output(layer: nn.Module, std: float, bias: float = 0.0) -> None:
    """Initialise a last layer's weights and bias so that its output is nearly the same for every input."""
    nn.init.normal_(cast(Tensor, layer.weight), std=std)
    nn.init.constant_(cast(Tensor, layer.bias), bias)


def coarser(x: Tensor, doublings: int) -> Tensor:
    """Max-pool (B, C, H, W) at stride s to (B, C, ceil(H / k), ceil(W / k)) at stride s * k.

    k is 2^doublings. Each value is the largest of a k x k square; at the right and lower edges squares may
    be cut off.
    """
    k = 2**doublings
    return functional.max_pool2d(x, k, k, ceil_mode=True) if doublings else x


def finer(x: Tensor, doublings: int, hw: tuple[int, int]) -> Tensor:
    """Upsample (B, C, H, W) at stride s * k to (B, C, *hw) at stride s, with k = 2^doublings.

    Each value is repeated over the k x k locations that it covers, and those beyond hw are cut off.
    Interpolation to a given size would shift them where hw is not a multiple of k.
    """
    if not doublings:
        return x
    return functional.interpolate(x, scale_factor=float(2**doublings))[..., : hw[0], : hw[1]]


def resampled(x: Tensor, doublings: int, hw: tuple[int, int]) -> Tensor:
    """Resample a map to a stride of 2^doublings times its own, at which its size is hw."""
    return coarser(x, doublings) if doublings > 0 else finer(x, -doublings, hw)
