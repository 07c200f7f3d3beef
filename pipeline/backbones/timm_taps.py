"""The models of timm, whose strides, channels and normalisation come from the model itself."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...cache.errors import InputError, asked, near_names
from ...cache.pyramid import LevelSpec, VectorSpec
from .known import unknown_backbone
from .names import MAX_NAMES
from .taps import (
    AVERAGE_POOL,
    CLASS_TOKEN,
    HW,
    OWN_POOL,
    TappedNet,
    Taps,
    covered,
    level_names,
    pooled_over_images,
)

_AVERAGES = ("avg", "fast", "fastavg")


class _TimmNet(TappedNet):
    def __init__(self, model: Any, chosen: Sequence[int], whole: bool) -> None:
        super().__init__()
        self.model = model
        self.chosen = list(chosen)
        # Layers behind the last tap are never computed, so they are dropped.
        if not whole and hasattr(model, "prune_intermediate_layers"):
            model.prune_intermediate_layers(self.chosen, prune_norm=True, prune_head=True)

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = self.model.forward_intermediates(
            x, indices=self.chosen, intermediates_only=True, output_fmt="NCHW", norm=False
        )
        return list(maps)

    def with_vector(self, x: Tensor, content_hw: Sequence[HW]) -> tuple[list[Tensor], Tensor]:
        last, maps = self.model.forward_intermediates(
            x, indices=self.chosen, output_fmt="NCHW", norm=False
        )
        canvas_hw = (int(x.shape[2]), int(x.shape[3]))
        return list(maps), self._vector(last, canvas_hw, content_hw)

    def with_tokens(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        pairs = self.model.forward_intermediates(
            x,
            indices=self.chosen,
            intermediates_only=True,
            output_fmt="NCHW",
            norm=False,
            return_prefix_tokens=True,
        )
        maps, tokens = zip(*pairs, strict=True)
        return list(maps), torch.cat([of_level.flatten(1) for of_level in tokens], dim=1)

    def _vector(self, last: Tensor, canvas_hw: HW, content_hw: Sequence[HW]) -> Tensor:
        kind = _kind(self.model)
        if kind == CLASS_TOKEN:
            return last[:, 0]
        if kind == OWN_POOL:
            return self._head(last)
        if last.ndim == 3:
            return self._pooled_tokens(last, canvas_hw, content_hw)
        if getattr(self.model, "output_fmt", "NCHW") == "NHWC":
            last = last.permute(0, 3, 1, 2)
            return pooled_over_images(
                last, lambda x: self._head(x.permute(0, 2, 3, 1)), canvas_hw, content_hw
            )
        return pooled_over_images(last, self._head, canvas_hw, content_hw)

    def _pooled_tokens(self, last: Tensor, canvas_hw: HW, content_hw: Sequence[HW]) -> Tensor:
        """Pool the tokens (B, N, C): any of the whole image come first, then those of the cells by row."""
        stride = int(self.model.feature_info[-1]["reduction"])
        cells = (-(-canvas_hw[0] // stride), -(-canvas_hw[1] // stride))
        prefix = last.shape[1] - cells[0] * cells[1]
        if prefix != int(getattr(self.model, "num_prefix_tokens", None) or 0):
            raise InputError(
                f"--image-vectors: {last.shape[1]} tokens of {type(self.model).__name__} are not those of "
                f"{cells} cells, so what an image covers of them cannot be determined; leave it out"
            )
        grid = last[:, prefix:].reshape(len(last), *cells, -1)
        vectors = []
        for k, content in enumerate(content_hw):
            rows, columns = covered(cells, canvas_hw, content)
            shown = grid[k : k + 1, :rows, :columns].flatten(1, 2)
            vectors.append(self._head(torch.cat([last[k : k + 1, :prefix], shown], dim=1)))
        return torch.cat(vectors)

    def _head(self, last: Tensor) -> Tensor:
        vector: Tensor = self.model.forward_head(last, pre_logits=True)
        return vector


def timm_taps(name: str) -> Taps:
    """Create a timm model with random weights. Raises InputError."""
    import timm

    if not timm.is_model(name):
        tagged = timm.list_pretrained()
        raise InputError(unknown_backbone(name, timm.list_models(), tagged))
    try:
        model: Any = timm.create_model(name, pretrained=False)
    except RuntimeError as error:  # timm does not know the tag.
        tagged = timm.list_pretrained(f"{name.partition('.')[0]}.*")
        near = near_names(name, tagged, MAX_NAMES, cutoff=0.0)
        raise InputError(f"backbone {name!r}: {error}{asked(near)}") from error
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
        build=lambda chosen, whole=False: _TimmNet(model, chosen, whole),
        sized=hasattr(model, "set_input_size"),
        native_hw=tuple(config["input_size"][1:]) if config.get("fixed_input_size") else None,
        download=lambda: timm.create_model(name, pretrained=True).state_dict(),
        image_vector=_image_vector(model),
        tokens=_tokens(model),
    )


def _tokens(model: Any) -> int:
    """Return how many tokens a model gives beside each map; 0 where it has none or keeps them to itself."""
    known = "return_prefix_tokens" in inspect.signature(model.forward_intermediates).parameters
    return int(getattr(model, "num_prefix_tokens", None) or 0) if known else 0


def _image_vector(model: Any) -> VectorSpec | None:
    """Return what vector a model offers, or None where its head cannot stop before the classifier."""
    kind = _kind(model)
    if kind == CLASS_TOKEN:
        return VectorSpec(kind, int(model.num_features))
    head = getattr(model, "forward_head", None)
    known = head is not None and "pre_logits" in inspect.signature(head).parameters
    return VectorSpec(kind, int(model.head_hidden_size)) if known else None


def _kind(model: Any) -> str:
    has_token = isinstance(getattr(model, "cls_token", None), Tensor)
    normed = not isinstance(getattr(model, "norm", nn.Identity()), nn.Identity)
    if has_token and normed and getattr(model, "num_prefix_tokens", None):
        return CLASS_TOKEN
    return AVERAGE_POOL if _pooling(model) in _AVERAGES else OWN_POOL


def _pooling(model: Any) -> str:
    """Return timm's name of a model's pooling, or "" where the model has a pooling of its own."""
    for owner in (model, getattr(model, "head", None)):
        pool = getattr(owner, "global_pool", None)
        kind = getattr(pool, "pool_type", pool)
        if isinstance(kind, str):
            return kind
    return ""
