"""torchvision's ResNets; strides and channels are probed."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...cache.errors import InputError, did_you_mean
from ...cache.pyramid import LevelSpec
from .taps import TORCHVISION, Taps, level_names


class _TorchvisionNet(nn.Module):
    """A ResNet is its children, one after the other; those behind the last of `layers` are left out."""

    def __init__(self, model: nn.Module, layers: Sequence[str]) -> None:
        super().__init__()
        self.layers = list(layers)
        children = list(model.named_children())
        last = [name for name, _ in children].index(self.layers[-1])
        self.body = nn.Sequential(OrderedDict(children[: last + 1]))

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = []
        for name, child in self.body.named_children():
            x = child(x)
            if name in self.layers:
                maps.append(x)
        return maps


def torchvision_taps(name: str) -> Taps:
    """With random weights. Raises InputError."""
    from torchvision import models
    from torchvision.models import get_model, get_model_builder, get_model_weights, resnet

    short = name.removeprefix(TORCHVISION)
    builders = {n: get_model_builder(n) for n in models.list_models(models)}
    known = [TORCHVISION + n for n, b in builders.items() if b.__module__ == resnet.__name__]
    if name not in known:
        raise InputError(f"unknown backbone {name!r}{did_you_mean(name, known)}")
    model = get_model(short, weights=None)
    layers = ("layer1", "layer2", "layer3", "layer4")
    with torch.no_grad():
        probed = _TorchvisionNet(copy.deepcopy(model).eval(), layers)(torch.zeros(1, 3, 64, 64))
    strides = [64 // int(x.shape[-1]) for x in probed]
    names = level_names(strides, layers)
    levels = tuple(
        LevelSpec(level, stride, int(x.shape[1]))
        for level, stride, x in zip(names, strides, probed, strict=True)
    )
    pretrained = get_model_weights(short).DEFAULT
    transform = pretrained.transforms()
    return Taps(
        model=model,
        available=levels,
        mean=tuple(transform.mean),
        std=tuple(transform.std),
        classifier=("fc.",),
        build=lambda chosen: _TorchvisionNet(model, [layers[k] for k in chosen]),
        sized=False,
        native_hw=None,
        download=lambda: pretrained.get_state_dict(progress=True, check_hash=True),
    )
