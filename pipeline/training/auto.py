"""The values for which "auto" stands in a run's settings, once its data are known; the run keeps them.

The constants were chosen by measurement (docs/recipe.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...cache.placement import Placement
from ...cache.pyramid import PyramidSpec
from ...cache.sampler import drawn_views
from ...heads.anchors import Anchors, best_iou
from ...heads.detector import Detector
from ...heads.types import Targets
from ..dataset.images.canvases import recipe_of
from ..machines.devices import native_precision
from ..runs.config import RunConfig, TrainSettings, fixed
from ..runs.model import fresh_detector
from ..sources.batches import targets_of
from ..sources.data import Data
from .length import EVALUATIONS, auto_epochs

# Peak rates for a batch of 4 (AdamW) and 64 (SGD). The size of Adam's steps is the rate, whatever the size
# of the gradient, so its rate follows the noise, the square root of the batch size; SGD's follows the size.
ADAMW_RATE, SGD_RATE = 2e-3, 0.16
# The maximum number of training samples that are looked at.
SAMPLES = 1000
# An object has an anchor where its IoU with one is at least this.
ANCHOR_IOU = 0.5
# Scales are added, at most so many, while a greater share of a class's objects than this has no anchor.
UNCOVERED, ADDED_SCALES = 0.05, 3
# The scales that may be added: thirds of an octave, in strides.
_CANDIDATES = [2 ** (k / 3) for k in range(-3, 13)]


@dataclass(frozen=True, slots=True)
class SeenTargets:
    """Some of the targets that a run learns from.

    targets: the targets of some training samples, each in a view that a first epoch may draw. placements:
    the placement of each sample.
    """

    targets: tuple[Targets, ...]
    placements: tuple[Placement, ...]

    @property
    def labels(self) -> Tensor:
        """The labels (N,) of all objects."""
        return torch.cat([t.labels for t in self.targets])

    @property
    def boxes(self) -> Tensor:
        """The boxes (N, 4) of all objects, in canvas px."""
        return torch.cat([t.boxes for t in self.targets])


def settled(
    config: RunConfig, data: Data, device: torch.device, tail: PyramidSpec | None = None
) -> RunConfig:
    """Return the configuration with a value in place of every "auto".

    data: the samples that are trained on. tail: the levels, where a tail adds to the cached ones. Raises
    ConfigError where the cache lacks a level that the neck needs.
    """
    train, optim = config.train, config.optim
    if train.precision == "auto":
        train = replace(train, precision=native_precision(device))
    if train.epochs == "auto":
        views = train.views or len(data.header.layout.views)
        epochs = auto_epochs(len(data.image_ids), train.batch_size, views)
        train = replace(train, epochs=epochs)
    if train.eval_every == "auto":
        train = replace(train, eval_every=max(1, round(fixed(train.epochs) / EVALUATIONS)))
    if optim.lr == "auto":
        optim = replace(optim, lr=auto_rate(optim.name, train.batch_size))
    config = replace(config, train=train, optim=optim)
    if not _unsettled(config.head):
        return config
    return replace(config, head=_settled_head(config, data, tail))


def auto_rate(optimiser: str, batch_size: int) -> float:
    """Return the peak learning rate for a batch of `batch_size` images."""
    if optimiser == "sgd":
        return SGD_RATE * batch_size / 64
    return ADAMW_RATE * math.sqrt(batch_size / 4)


def _unsettled(settings: Any) -> list[str]:
    """Return the names of the settings that are still "auto"."""
    return [
        name for name in ("anchor_scales", "normaliser") if getattr(settings, name, 0) == "auto"
    ]


def _settled_head(config: RunConfig, data: Data, tail: PyramidSpec | None) -> Any:
    """Return the head's settings; the anchors are settled first, as the normaliser depends on them."""
    seen = seen_targets(data, config.train)
    head, labels = config.head, seen.labels
    detector = _detector(config, data, tail)
    if getattr(head, "anchor_scales", None) == "auto":
        head = replace(head, anchor_scales=fitting_scales(detector, seen))  # type: ignore[call-arg]
        detector = _detector(replace(config, head=head), data, tail)
    if head.normaliser == "auto":
        count = sum(
            float(detector.head.fit(t.boxes, p.canvas_hw).locations.sum())
            for t, p in zip(seen.targets, seen.placements, strict=True)
        )
        mean = count / len(seen.targets) if len(labels) else 1.0
        head = replace(head, normaliser=round(max(1.0, mean), 3))
    return head


def _detector(config: RunConfig, data: Data, tail: PyramidSpec | None = None) -> Detector:
    levels = tail or data.header.key.levels
    if data.second is not None:
        levels = levels.joined_with(data.second.key.levels)
    return fresh_detector(config, levels, len(data.annotations.class_ids))


def seen_targets(data: Data, settings: TrainSettings) -> SeenTargets:
    """Return the targets of at most SAMPLES images, evenly chosen, without masks, which are slow to make.

    The images and views are the same for every seed, so that runs whose settings differ in the seed alone
    differ in nothing else.
    """
    ids = data.image_ids[:: -(-len(data.image_ids) // SAMPLES)]
    layout = data.header.layout
    views = drawn_views(ids, settings.views or len(layout.views), seed=0, epoch=0).tolist()
    recipe = recipe_of(data.header.key, Path())
    placements = [recipe.place(layout.image(i), view) for i, view in zip(ids, views, strict=True)]
    boxes = replace(data.annotations, packed=replace(data.annotations.packed, outlines=None))
    targets = [
        targets_of(boxes, image_id, placement, settings.min_visible)
        for image_id, placement in zip(ids, placements, strict=True)
    ]
    return SeenTargets(tuple(targets), tuple(placements))


def fitting_scales(detector: Detector, seen: SeenTargets) -> tuple[float, ...]:
    """Return the anchor scales that the head begins with, and those that the objects need in addition.

    Scales are added one after another, each time the one with which the greatest share of objects, in the
    mean over classes, has an anchor, until that share is enough for each class. No scale is taken away,
    since other objects would lose their anchors.
    """
    anchors = detector.head.anchor_generator
    assert anchors is not None
    chosen, labels = list(anchors.scales), seen.labels
    covered = _covered(anchors, chosen, seen)
    with_scale = {s: _covered(anchors, [s], seen) for s in _CANDIDATES}
    for _ in range(ADDED_SCALES):
        if not len(labels) or _worst(covered, labels) >= 1 - UNCOVERED:
            break
        best = max(with_scale, key=lambda s: _mean_share(covered | with_scale[s], labels))
        if _mean_share(covered | with_scale[best], labels) <= _mean_share(covered, labels):
            break
        chosen.append(best)
        covered |= with_scale[best]
    return tuple(round(s, 4) for s in sorted(chosen))


def _covered(anchors: Anchors, scales: Sequence[float], seen: SeenTargets) -> Tensor:
    """Return which objects have an anchor of one of the scales, (N,) bool."""
    of_scales = Anchors(anchors.spec, scales, anchors.ratios, anchors.grid)
    return torch.cat(
        [
            best_iou(of_scales, t.boxes, p.canvas_hw) >= ANCHOR_IOU
            for t, p in zip(seen.targets, seen.placements, strict=True)
        ]
    )


def class_shares(flags: Tensor, labels: Tensor) -> dict[int, float]:
    """Return for each class that has objects the share of them with a flag.

    flags: (N,) bool. labels: (N,).
    """
    return {
        int(label): float(flags[labels == label].double().mean()) for label in set(labels.tolist())
    }


def _worst(flags: Tensor, labels: Tensor) -> float:
    return min(class_shares(flags, labels).values())


def _mean_share(flags: Tensor, labels: Tensor) -> float:
    shares = class_shares(flags, labels).values()
    return sum(shares) / len(shares)
