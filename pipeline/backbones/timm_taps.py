"""timm's models; strides, channels and normalisation come from the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from ...cache.errors import InputError, did_you_mean
from ...cache.pyramid import LevelSpec
from .taps import TORCHVISION, Taps, level_names


class _TimmNet(nn.Module):
    def __init__(self, model: Any, chosen: Sequence[int]) -> None:
        super().__init__()
        self.model = model
        self.chosen = list(chosen)
        # What lies behind the last tap is never computed: drop it.
        if hasattr(model, "prune_intermediate_layers"):
            model.prune_intermediate_layers(self.chosen, prune_norm=True, prune_head=True)

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = self.model.forward_intermediates(
            x, indices=self.chosen, intermediates_only=True, output_fmt="NCHW", norm=False
        )
        return list(maps)


def timm_taps(name: str) -> Taps:
    """With random weights. Raises InputError."""
    import timm

    if not timm.is_model(name):
        raise InputError(
            f"unknown backbone {name!r}{did_you_mean(name, timm.list_models())[:300]} "
            f"(timm's names, or {TORCHVISION}resnet50)"
        )
    try:
        model: Any = timm.create_model(name, pretrained=False)
    except RuntimeError as error:  # a tag that timm does not know
        tagged = timm.list_pretrained(f"{name.partition('.')[0]}.*")
        raise InputError(f"backbone {name!r}: {error}{did_you_mean(name, tagged)}") from error
    if not hasattr(model, "forward_intermediates"):
        raise InputError(
            f"backbone {name!r} offers no feature pyramid; choose another model of timm"
        )
    infos = list(model.feature_info)
    strides = [int(info["reduction"]) for info in infos]
    names = level_names(strides, [f"block{k}" for k in range(len(infos))])
    levels = tuple(
        LevelSpec(level, stride, int(info["num_chs"]))
        for level, stride, info in zip(names, strides, infos, strict=True)
    )
    config = model.pretrained_cfg
    classifier = config.get("classifier") or ()
    return Taps(
        model=model,
        available=levels,
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        classifier=(classifier,) if isinstance(classifier, str) else tuple(classifier),
        build=lambda chosen: _TimmNet(model, chosen),
        sized=hasattr(model, "set_input_size"),
        native_hw=tuple(config["input_size"][1:]) if config.get("fixed_input_size") else None,
        download=lambda: timm.create_model(name, pretrained=True).state_dict(),
    )
