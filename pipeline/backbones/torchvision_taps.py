"""The ResNets of torchvision, whose strides and channels are probed."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...cache.errors import InputError
from ...cache.pyramid import LevelSpec, VectorSpec
from .known import TORCHVISION, unknown_backbone
from .taps import AVERAGE_POOL, HW, TappedNet, Taps, level_names, pooled_over_images

_LAST = "layer4"


class _TorchvisionNet(TappedNet):
    """A ResNet as the sequence of its children, without those behind the last one that is needed."""

    def __init__(self, model: nn.Module, layers: Sequence[str], whole: bool = False) -> None:
        super().__init__()
        self.layers = list(layers)
        self.kept = {*layers, _LAST} if whole else {*layers}
        children = list(model.named_children())
        last = [name for name, _ in children].index(_LAST if whole else self.layers[-1])
        self.body = nn.Sequential(OrderedDict(children[: last + 1]))
        self.avgpool: nn.Module = model.avgpool  # type: ignore[assignment]

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = self._maps(x)
        return [maps[layer] for layer in self.layers]

    def with_vector(self, x: Tensor, content_hw: Sequence[HW]) -> tuple[list[Tensor], Tensor]:
        maps, canvas_hw = self._maps(x), (int(x.shape[2]), int(x.shape[3]))
        vector = pooled_over_images(
            maps[_LAST], lambda last: self.avgpool(last).flatten(1), canvas_hw, content_hw
        )
        return [maps[layer] for layer in self.layers], vector

    def _maps(self, x: Tensor) -> dict[str, Tensor]:
        maps = {}
        for name, child in self.body.named_children():
            x = child(x)
            if name in self.kept:
                maps[name] = x
        return maps


def torchvision_taps(name: str) -> Taps:
    """Create a torchvision ResNet with random weights. Raises InputError."""
    from torchvision import models
    from torchvision.models import get_model, get_model_builder, get_model_weights, resnet

    short = name.removeprefix(TORCHVISION)
    builders = {n: get_model_builder(n) for n in models.list_models(models)}
    known = [TORCHVISION + n for n, b in builders.items() if b.__module__ == resnet.__name__]
    if name not in known:
        raise InputError(unknown_backbone(name, known))
    model = get_model(short, weights=None)
    layers = ("layer1", "layer2", "layer3", _LAST)
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
        build=lambda chosen, whole=False: _TorchvisionNet(
            model, [layers[k] for k in chosen], whole
        ),
        sized=False,
        native_hw=None,
        download=lambda: pretrained.get_state_dict(progress=True, check_hash=True),
        image_vector=VectorSpec(AVERAGE_POOL, int(model.fc.in_features)),
    )
