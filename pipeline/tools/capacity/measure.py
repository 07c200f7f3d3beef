"""The parameters, FLOPs and activations of a detector on a cache's largest canvas, counted by a real pass."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ....cache.format.header import CacheHeader
from ....cache.layout import Bucket
from ....cache.placement import Placement
from ....cache.pyramid import FeaturePyramid
from ....heads.detector import Detector
from ....heads.types import Targets
from ...backbones.loading import random_backbone_of
from ...machines.devices import autocast
from ...runs.config import RunConfig
from ...runs.model import adapted_backbone, fresh_detector

_OBJECTS = 8
_CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a detector.

    parameters: the number of values. flops: the operations per image in the forward pass of a step; a
    multiplication and an addition count as two.
    """

    name: str
    parameters: int
    flops: int
    trained: bool


@dataclass(frozen=True, slots=True)
class Capacity:
    """The capacity of a detector.

    parts: the backbone, its adapters if there are any, the neck and the head. activations: the bytes per
    image that a step keeps for its backward pass, above the backbone. together: the number of images that are
    processed at once.
    """

    canvas_hw: tuple[int, int]
    parts: tuple[Part, ...]
    activations: int
    together: int

    @property
    def trained_share(self) -> float:
        """The trained share of all parameters, 0 to 1."""
        trained = sum(part.parameters for part in self.parts if part.trained)
        return trained / sum(part.parameters for part in self.parts)


def measure(config: RunConfig, header: CacheHeader, classes: int) -> Capacity:
    """Measure a detector by a step's forward pass on the largest canvas, with made-up maps and objects.

    Raises ConfigError for a level that the cache lacks.
    """
    bucket = max(header.layout.buckets, key=lambda b: b.canvas_hw[0] * b.canvas_hw[1])
    detector = fresh_detector(config, header.key.levels, classes).train()
    detector.checkpoint_activations(config.train.checkpoint_activations)
    train = config.train
    with torch.random.fork_rng(devices=[]), autocast(_CPU, train.precision):
        torch.manual_seed(0)
        pyramid = _pyramid(header, bucket)
        neck, head = _flops(detector, pyramid)
        # The difference leaves out what a step keeps only once: weights in half precision, anchors.
        kept = _kept(detector, _twice(pyramid)) - _kept(detector, pyramid)
    return Capacity(
        bucket.canvas_hw,
        (
            Part(
                header.key.backbone,
                int(header.backbone["parameters"]),
                int(header.backbone["flops"][bucket.name]),
                trained=False,
            ),
            *_adapters(config, header, bucket),
            Part(config.neck.name, _count(detector.neck), neck, trained=True),
            Part(config.head.name, _count(detector.head), head, trained=True),
        ),
        kept,
        -(-train.batch_size // train.accumulate),
    )


def _adapters(config: RunConfig, header: CacheHeader, bucket: Bucket) -> Iterator[Part]:
    if not config.backbone.adapters:
        return
    frozen = random_backbone_of(header.key, _CPU, config.train.seed)
    adapted = adapted_backbone(config, frozen, [bucket.canvas_hw])
    flops = adapted.flops(bucket.canvas_hw)
    yield Part("adapters", _count(adapted), flops, trained=True)


def _count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def _pyramid(header: CacheHeader, bucket: Bucket) -> FeaturePyramid:
    """Return random maps of one image."""
    levels = header.key.levels
    maps = tuple(torch.randn(1, *level.shape(bucket.canvas_hw)) for level in levels.levels)
    return FeaturePyramid(levels, maps, bucket.canvas_hw)


def _twice(pyramid: FeaturePyramid) -> FeaturePyramid:
    """Return maps with the same image twice."""
    return replace(pyramid, maps=tuple(x.repeat(2, 1, 1, 1) for x in pyramid.maps))


def _losses(detector: Detector, pyramid: FeaturePyramid) -> Tensor:
    """Return the loss of images with the same few objects, each a quarter of the canvas wide and high."""
    generator = torch.Generator().manual_seed(0)
    rows, columns = pyramid.canvas_hw
    hw = (rows, columns)
    placement = Placement(hw, hw, hw, scale=(1.0, 1.0), shift=(0.0, 0.0))
    corners = torch.rand(_OBJECTS, 2, generator=generator) * torch.tensor([columns / 2, rows / 2])
    boxes = torch.cat([corners, corners + torch.tensor([columns / 4, rows / 4])], dim=1)
    masks = torch.ones(_OBJECTS, 28, 28)
    targets = Targets(boxes, torch.zeros(_OBJECTS, dtype=torch.int64), masks)
    count = len(pyramid)
    losses = detector.losses(pyramid, [placement] * count, [targets] * count, [0] * count)
    return torch.stack(list(losses.values())).sum()


def _flops(detector: Detector, pyramid: FeaturePyramid) -> tuple[int, int]:
    """Return the FLOPs of the neck and those of the head."""
    with torch.no_grad():
        with FlopCounterMode(display=False) as neck:
            detector.neck(pyramid.only(detector.neck.cached.names))
        with FlopCounterMode(display=False) as both:
            _losses(detector, pyramid)
    return neck.get_total_flops(), both.get_total_flops() - neck.get_total_flops()


def _kept(detector: Detector, pyramid: FeaturePyramid) -> int:
    """Return the bytes that the forward pass keeps for the backward pass, without weights and maps."""
    weights = [*detector.parameters(), *detector.buffers()]
    known = {x.untyped_storage().data_ptr() for x in (*weights, *pyramid.maps)}
    kept: dict[int, int] = {}

    def keep(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        # While the graph is alive, the addresses of its storages are not reused.
        loss = _losses(detector, pyramid)
    assert loss.requires_grad
    return sum(kept.values())
