"""The parameters, FLOPs and activations of a detector on a cache's largest canvas, counted by a real pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
from ...backbones.adapted import counted_flops
from ...backbones.loading import random_backbone_of
from ...backbones.tail import AdaptedTail, Tail, levels_with_tail
from ...machines.devices import autocast
from ...runs.config import RunConfig
from ...runs.model import Model, adapted_backbone, fresh_detector, tail_of
from ...sources.kinds import CACHED, SOURCES

# The name of the part that a refiner is.
REFINER = "refiner"
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

    parts: the backbone, its tail and adapters if there are any, the neck and the head. activations: the bytes
    per image that a step keeps for its backward pass, behind the cached maps. together: the number of images
    that are processed at once.
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


def measure(config: RunConfig, header: CacheHeader, classes: int, source: str = CACHED) -> Capacity:
    """Measure a detector by a step's forward pass on the largest canvas, with made-up maps and objects.

    source: one of SOURCES; a tail is part of the step. Raises ConfigError for a level that the cache lacks.
    """
    bucket = max(header.layout.buckets, key=lambda b: b.canvas_hw[0] * b.canvas_hw[1])
    tail = _tail(config, header, bucket) if SOURCES[source].tail else None
    detector = fresh_detector(config, tail.spec if tail else header.key.levels, classes)
    model = Model(detector, tail).train()
    detector.checkpoint_activations(config.train.checkpoint_activations)
    train = config.train
    with torch.random.fork_rng(devices=[]), autocast(_CPU, train.precision):
        torch.manual_seed(0)
        pyramid = _pyramid(header, bucket, tail.tokens if tail else 0)
        behind, *above = _flops(model, pyramid)
        # The difference leaves out what a step keeps only once: weights in half precision, anchors.
        kept = _kept(model, _twice(pyramid)) - _kept(model, pyramid)
        below = (
            _with_tail(config, header, bucket, tail, pyramid, behind)
            if tail
            else _without_tail(config, header, bucket)
        )
        parts = tuple(below)
    return Capacity(
        bucket.canvas_hw,
        (
            *parts,
            *_above(config, detector, above),
        ),
        kept,
        -(-train.batch_size // train.accumulate),
    )


def _tail(config: RunConfig, header: CacheHeader, bucket: Bucket) -> Tail | AdaptedTail:
    """Return the tail of a run with random weights, which take as much as trained ones."""
    choose = levels_with_tail(header.key.levels, config.backbone.train_from, "the cache")
    whole = random_backbone_of(header.key, _CPU, config.train.seed, choose)
    return tail_of(config, whole, [bucket.canvas_hw])


def _without_tail(config: RunConfig, header: CacheHeader, bucket: Bucket) -> Iterator[Part]:
    """Yield the frozen backbone, and the adapters in it."""
    flops = int(header.backbone["flops"][bucket.name])
    yield Part(header.key.backbone, int(header.backbone["parameters"]), flops, trained=False)
    if not config.backbone.adapters:
        return
    frozen = random_backbone_of(header.key, _CPU, config.train.seed)
    adapted = adapted_backbone(config, frozen, [bucket.canvas_hw])
    yield Part("adapters", _count(adapted), adapted.flops(bucket.canvas_hw), not config.head.refine)


def _with_tail(
    config: RunConfig,
    header: CacheHeader,
    bucket: Bucket,
    tail: Tail | AdaptedTail,
    pyramid: FeaturePyramid,
    flops: int,
) -> Iterator[Part]:
    """Yield the trunk, the tail, and the adapters in it. flops: those of the tail with its adapters."""
    trunk = random_backbone_of(header.key, _CPU, config.train.seed, [tail.cut.name])
    name, own = f"{header.key.backbone} up to {tail.cut.name}", tail.own_parameters
    passed = trunk.flops(bucket.canvas_hw)
    yield Part(name, tail.whole_parameters - own, passed, trained=False)
    inserted = []
    if isinstance(tail, AdaptedTail):
        with counted_flops(tail.adapters) as inserted, torch.no_grad():
            tail(pyramid)
    refined = bool(config.head.refine)
    trained = not (config.backbone.adapters or config.backbone.frozen_tail or refined)
    yield Part(f"tail from {config.backbone.train_from}", own, flops - sum(inserted), trained)
    if isinstance(tail, AdaptedTail):
        yield Part("adapters", _count(tail), sum(inserted), not refined)


def _above(config: RunConfig, detector: Detector, flops: Sequence[int]) -> Iterator[Part]:
    """Yield the neck, the head and, where there is one, the refiner, for which they are frozen."""
    named = {config.neck.name: detector.neck, config.head.name: detector.head}
    if detector.refiner is not None:
        named[REFINER] = detector.refiner
    for (name, part), own in zip(named.items(), flops, strict=True):
        trained = part is detector.refiner or detector.refiner is None
        yield Part(name, _count(part), own, trained)


def _count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _pyramid(header: CacheHeader, bucket: Bucket, tokens: int) -> FeaturePyramid:
    """Return random maps of one image, with this number of tokens at each level."""
    levels = header.key.levels
    maps = tuple(torch.randn(1, *level.shape(bucket.canvas_hw)) for level in levels.levels)
    vector = torch.randn(1, tokens * sum(levels.channels)) if tokens else None
    return FeaturePyramid(levels, maps, bucket.canvas_hw, vector)


def _twice(pyramid: FeaturePyramid) -> FeaturePyramid:
    """Return maps with the same image twice."""
    vector = None if pyramid.vector is None else pyramid.vector.repeat(2, 1)
    maps = tuple(x.repeat(2, 1, 1, 1) for x in pyramid.maps)
    return replace(pyramid, maps=maps, vector=vector)


def _placement(pyramid: FeaturePyramid) -> Placement:
    """Return the placement of an image that fills its canvas."""
    hw = pyramid.canvas_hw
    return Placement(hw, hw, hw, scale=(1.0, 1.0), shift=(0.0, 0.0))


def _losses(detector: Detector, pyramid: FeaturePyramid) -> Tensor:
    """Return the loss of images with the same few objects, each a quarter of the canvas wide and high."""
    generator = torch.Generator().manual_seed(0)
    rows, columns = pyramid.canvas_hw
    corners = torch.rand(_OBJECTS, 2, generator=generator) * torch.tensor([columns / 2, rows / 2])
    boxes = torch.cat([corners, corners + torch.tensor([columns / 4, rows / 4])], dim=1)
    masks = torch.ones(_OBJECTS, 28, 28)
    targets = Targets(boxes, torch.zeros(_OBJECTS, dtype=torch.int64), masks)
    count = len(pyramid)
    losses = detector.losses(pyramid, [_placement(pyramid)] * count, [targets] * count, [0] * count)
    return torch.stack(list(losses.values())).sum()


def _flops(model: Model, pyramid: FeaturePyramid) -> Iterator[int]:
    """Yield the FLOPs of the tail, 0 where there is none, of the neck, the head and the refiner, if any."""
    detector = model.detector
    with torch.no_grad():
        with FlopCounterMode(display=False) as tail:
            levels = model.backbone(pyramid) if model.backbone is not None else pyramid
        with FlopCounterMode(display=False) as neck:
            inputs = detector.neck(levels.only(detector.neck.cached.names))
        found = [of.get_total_flops() for of in (tail, neck)]
        if detector.refiner is not None:
            with FlopCounterMode(display=False) as head:
                detector.head.without_masks(inputs, [_placement(pyramid)])
            found.append(head.get_total_flops())
        with FlopCounterMode(display=False) as all_:
            _losses(detector, pyramid)
    yield from (*found, all_.get_total_flops() - sum(found))


def _kept(model: Model, pyramid: FeaturePyramid) -> int:
    """Return the bytes that the forward pass keeps for the backward pass, without weights and maps."""
    weights = [*model.parameters(), *model.buffers()]
    known = {x.untyped_storage().data_ptr() for x in (*weights, *pyramid.maps)}
    kept: dict[int, int] = {}

    def keep(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        # While the graph is alive, the addresses of its storages are not reused.
        loss = _losses(model.detector, pyramid)
    assert loss.requires_grad
    return sum(kept.values())
