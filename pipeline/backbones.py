"""Frozen backbones: canvases in, feature pyramid out; no gradient, eval mode, no autograd graph.

Strides, channels and normalisation come from the model. A level is called c3 for stride 8, c4 for
16 and so on; where several taps share a stride (plain ViTs) they are called block0, block1, ...
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from ..cache.errors import InputError, KeyMismatch, did_you_mean
from ..cache.key import CacheKey
from ..cache.pyramid import FeaturePyramid, LevelSpec, PyramidSpec
from . import weights as weights_file
from .weights import StateDict, Weights

TORCHVISION = "torchvision/"
DEFAULT_STRIDES = (8, 16, 32)
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
HW = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Taps:
    """A library's model and how to tap it.

    available: every level it offers. build(chosen positions) -> module that maps (B, 3, H, W) to
    the maps, NCHW. sized: it must be told its canvas size. native_hw: the canvas it was made for,
    where it may take no other.
    """

    model: nn.Module
    available: tuple[LevelSpec, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classifier: tuple[str, ...]
    build: Callable[[Sequence[int]], nn.Module]
    sized: bool
    native_hw: HW | None
    download: Callable[[], StateDict]


class FrozenBackbone(nn.Module):
    """(B, H, W, 3) uint8 canvases -> FeaturePyramid.

    weights_sha256, weights_origin: as the cache's key records them. taps, chosen: the model, and
    the positions of this pyramid's levels among all that it offers.
    """

    def __init__(
        self,
        name: str,
        taps: Taps,
        chosen: Sequence[int],
        precision: str,
        sha256: str,
        origin: str,
    ) -> None:
        super().__init__()
        self.name = name
        self.spec = PyramidSpec(tuple(taps.available[k] for k in chosen))
        self.mean, self.std = taps.mean, taps.std
        self.precision = precision
        self.weights_sha256, self.weights_origin = sha256, origin
        self.taps, self.chosen = taps, tuple(chosen)
        self._net = taps.build(chosen)
        self._by_canvas: dict[HW, nn.Module] = {}
        self.requires_grad_(False)
        self.eval()

    @property
    def divisor(self) -> int:
        """Canvas sides must be multiples of it."""
        return math.lcm(*self.spec.strides)

    @property
    def parameters_count(self) -> int:
        return sum(p.numel() for p in self._net.parameters())

    def train(self, mode: bool = True) -> Self:
        """Stays in eval mode whatever is asked: BatchNorm must not move."""
        return super().train(False)

    def forward(self, canvases: Tensor, content_hw: Sequence[HW]) -> FeaturePyramid:
        """canvases: (B, H, W, 3) uint8 on this module's device; content_hw: B sizes in px."""
        canvas_hw = (int(canvases.shape[1]), int(canvases.shape[2]))
        with torch.no_grad(), self._exact(canvases.device):
            x = self.normalised(canvases, content_hw)
            maps = self._maps(x, canvas_hw)
            return FeaturePyramid(self.spec, tuple(m.float().contiguous() for m in maps), canvas_hw)

    def flops(self, canvas_hw: HW) -> int:
        """Floating-point operations of one canvas, multiply and add counted apart."""
        from torch.utils.flop_counter import FlopCounterMode

        device = next(self._net.parameters()).device
        canvas = torch.zeros((1, *canvas_hw, 3), dtype=torch.uint8, device=device)
        with FlopCounterMode(display=False) as counter:
            self(canvas, [canvas_hw])
        return int(counter.get_total_flops())

    def normalised(self, canvases: Tensor, content_hw: Sequence[HW]) -> Tensor:
        """(B, H, W, 3) uint8 -> (B, 3, H, W) float32; padding is zero after normalisation."""
        x = canvases.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
        mean, std = (x.new_tensor(v).view(1, 3, 1, 1) for v in (self.mean, self.std))
        x = (x / 255.0 - mean) / std
        for image, (rows, columns) in zip(x, content_hw, strict=True):
            image[:, rows:, :] = 0
            image[:, :, columns:] = 0
        return x

    @contextmanager
    def _exact(self, device: torch.device) -> Iterator[None]:
        """This precision and no other, also within a training step of half precision."""
        half = PRECISIONS[self.precision] if self.precision != "fp32" else None
        # fp32 means fp32: TF32 keeps ten bits of the mantissa.
        strict = torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=False
        )
        with (
            torch.autocast(device.type, dtype=half, enabled=half is not None),
            strict if half is None and device.type == "cuda" else nullcontext(),
        ):
            yield

    def _maps(self, x: Tensor, canvas_hw: HW) -> list[Tensor]:
        try:
            maps: list[Tensor] = self._net_for(canvas_hw)(x)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, AssertionError) as error:
            native_hw = self.taps.native_hw
            if native_hw in (None, canvas_hw):
                raise
            raise InputError(
                f"backbone {self.name} cannot take canvases of {canvas_hw} (h, w) px; expected "
                f"{native_hw}: use --size"
            ) from error
        return maps

    def _net_for(self, canvas_hw: HW) -> nn.Module:
        """Models with position embeddings or windows are fitted to the canvas, once a canvas."""
        if not self.taps.sized:
            return self._net
        if canvas_hw not in self._by_canvas:
            fitted = copy.deepcopy(self._net)
            fitted.model.set_input_size(canvas_hw)  # type: ignore[operator,union-attr]
            self._by_canvas[canvas_hw] = fitted.requires_grad_(False).eval()
        return self._by_canvas[canvas_hw]


def load_backbone(
    name: str,
    *,
    weights: str | None = None,
    levels: Sequence[str] | None = None,
    precision: str = "fp32",
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> FrozenBackbone:
    """A timm model by its name, or a torchvision ResNet as 'torchvision/resnet50'.

    weights: a file, "random" (drawn from `seed`), or None (package, else download). levels: their
    names; None: strides 8, 16 and 32, or the last tap of a plain ViT. Raises InputError.
    """
    if precision not in PRECISIONS:
        raise InputError(f"--precision {precision!r}{did_you_mean(precision, PRECISIONS)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        taps = _torchvision_taps(name) if name.startswith(TORCHVISION) else _timm_taps(name)
    chosen = _choose(name, taps.available, levels)
    found = weights_file.find_weights(name, weights, taps.download)
    if found is None:
        sha256, origin = weights_file.digest(taps.model.state_dict()), weights_file.RANDOM
    else:
        sha256, origin = _load(taps, found), found.origin
    backbone = FrozenBackbone(name, taps, chosen, precision, sha256, origin)
    return backbone.to(device)


def load_backbone_of(
    key: CacheKey, device: torch.device, weights: str | None = None
) -> FrozenBackbone:
    """The backbone that made a cache. Raises KeyMismatch where the weights found are others."""
    if key.weights_origin == "random" and weights is None:
        weights = "random"
    if key.weights_origin == "file" and weights is None:
        raise InputError(
            f"the cache was made with weights from a file (sha256 of its tensors "
            f"{key.weights_sha256[:12]}...); give it again with --weights FILE"
        )
    backbone = load_backbone(
        key.backbone,
        weights=weights,
        levels=key.levels.names,
        precision=key.precision,
        seed=key.seed,
        device=device,
    )
    if backbone.weights_sha256 != key.weights_sha256:
        raise KeyMismatch(
            f"the weights of {key.backbone} found here ({backbone.weights_sha256[:12]}...) are not "
            f"those of the cache ({key.weights_sha256[:12]}...); give those with --weights FILE"
        )
    return backbone


def random_backbone_of(key: CacheKey, device: torch.device, seed: int) -> FrozenBackbone:
    """The architecture of a cache's backbone, its weights drawn from `seed`."""
    return load_backbone(
        key.backbone,
        weights=weights_file.RANDOM,
        levels=key.levels.names,
        seed=seed,
        device=device,
    )


def _choose(
    name: str, available: Sequence[LevelSpec], levels: Sequence[str] | None
) -> tuple[int, ...]:
    names = [level.name for level in available]
    if levels is None:
        usual = [k for k, level in enumerate(available) if level.stride in DEFAULT_STRIDES]
        several = len({available[k].stride for k in usual}) == len(usual) and usual
        return tuple(usual) if several else (len(available) - 1,)
    for level in levels:
        if level not in names:
            raise InputError(f"--levels: {name} has no level {level!r}; it has {', '.join(names)}")
    chosen = tuple(sorted({names.index(level) for level in levels}))
    if len(chosen) != len(levels):
        raise InputError(f"--levels: {','.join(levels)!r} names a level twice")
    return chosen


def _load(taps: Taps, found: Weights) -> str:
    """Load the tensors and return their digest; only the classifier may be missing or differ."""
    target = taps.model.state_dict()
    tensors = weights_file.fit_names(found.tensors, target)
    backbone = {n: v for n, v in target.items() if not n.startswith(taps.classifier)}
    usable = {n: tensors[n] for n in backbone if n in tensors}
    missing = [n for n in backbone if n not in usable and not n.endswith("num_batches_tracked")]
    misshapen = [n for n, v in usable.items() if v.shape != backbone[n].shape]
    if missing or misshapen:
        wrong = missing or misshapen
        what = "tensors are missing" if missing else "tensors have another shape"
        raise InputError(
            f"--weights: they do not fit the backbone: {len(wrong)} of {len(backbone)} {what}, "
            f"e.g. {wrong[0]!r}; expected the weights of this very model"
        )
    taps.model.load_state_dict(usable, strict=False)
    return weights_file.digest(usable)


def _level_names(strides: Sequence[int], prefix: Sequence[str]) -> list[str]:
    counts = Counter(strides)
    return [
        f"c{round(math.log2(stride))}" if counts[stride] == 1 else other
        for stride, other in zip(strides, prefix, strict=True)
    ]


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


def _timm_taps(name: str) -> Taps:
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
    names = _level_names(strides, [f"block{k}" for k in range(len(infos))])
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


class _TorchvisionNet(nn.Module):
    def __init__(self, model: nn.Module, layers: Sequence[str]) -> None:
        super().__init__()
        from torchvision.models.feature_extraction import create_feature_extractor

        self.layers = list(layers)
        self.body = create_feature_extractor(model, {layer: layer for layer in layers})

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = self.body(x)
        return [maps[layer] for layer in self.layers]


def _torchvision_taps(name: str) -> Taps:
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
    names = _level_names(strides, layers)
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
