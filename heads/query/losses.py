"""The losses of queries, for each image and each stage of the decoder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from ..assign import BACKGROUND, IGNORED, Assigned, within_ignored
from ..long_tail import label_weights
from ..losses import giou_loss
from ..types import Targets
from .boxes import pair_iou, pixels_of, shares_of
from .distribution import distillation_loss, localisation_loss
from .settings import ClassLoss, QuerySettings

# Varifocal loss (arXiv 2008.13367) as in RT-DETR, and the power of DEIM's loss (arXiv 2412.04234).
VFL_ALPHA, VFL_GAMMA = 0.75, 2.0
MAL_GAMMA = 1.5


@dataclass(frozen=True, slots=True)
class Distributions:
    """The additions of D-FINE's regression to the predictions.

    logits: (B, S', Q, 4, n + 1), of the last S' stages. first: (B, Q, 4), the boxes that they move. steps:
    (n + 1,), the corrections.
    """

    logits: Tensor
    first: Tensor
    steps: Tensor


@dataclass(frozen=True, slots=True)
class Predictions:
    """The finds of Q queries of each image after each of S stages.

    logits: (B, S, Q, K), float32. boxes: (B, S, Q, 4), float32, centres and sizes in shares of the canvas.
    """

    logits: Tensor
    boxes: Tensor
    distributions: Distributions | None = None

    def part(self, start: int, end: int) -> Predictions:
        """Return those of the queries from `start` up to `end`."""
        of = self.distributions
        if of is not None:
            of = replace(of, logits=of.logits[:, :, start:end], first=of.first[:, start:end])
        return Predictions(self.logits[:, :, start:end], self.boxes[:, :, start:end], of)


@dataclass(frozen=True, slots=True)
class Objects:
    """The objects of a batch's images.

    counted: (B, K), whether a class counts in an image's loss; None for all.
    """

    targets: Sequence[Targets]
    canvas_hw: tuple[int, int]
    counted: Tensor | None

    @property
    def shares(self) -> list[Tensor]:
        """The boxes of each image, (N, 4), centres and sizes in shares of the canvas."""
        return [shares_of(t.boxes.float(), self.canvas_hw) for t in self.targets]

    @property
    def labels(self) -> list[Tensor]:
        """The labels of each image, (N,)."""
        return [t.labels for t in self.targets]


def stage_losses(
    found: Predictions, rows: Tensor, objects: Objects, settings: QuerySettings
) -> dict[str, Tensor]:
    """Return the weighted losses of each image and stage, (B, S) each, undivided.

    They are "classification", "box" and "giou"; with distributions also "localisation" and "distillation",
    of which the latter is a mean. rows: (B, S, Q), the object of its image that a query learns, BACKGROUND
    or IGNORED. Background queries are ignored where half of their box lies within an ignored region.
    """
    rows = _without_ignored(rows, found.boxes.detach(), objects)
    learnt = _learnt(rows, objects)
    foreground = learnt.foreground
    boxes, wanted = found.boxes.clamp(0, 1), learnt.spread(learnt.boxes)
    ours, theirs = (pixels_of(x, objects.canvas_hw) for x in (boxes, wanted))
    quality = pair_iou(ours.detach(), theirs) * foreground
    counted = None if objects.counted is None else objects.counted[:, None, None]
    labels = learnt.location_labels
    classes = class_costs(found.logits, labels, quality, counted, settings.class_loss)
    classes = classes * label_weights(objects.targets, labels, settings.class_balance)
    costs = {
        "classification": settings.class_weight * classes * (rows != IGNORED),
        "box": settings.box_weight * (boxes - wanted).abs().sum(dim=3) * foreground,
        "giou": settings.giou_weight * giou_loss(ours, theirs) * foreground,
    }
    losses = {name: x.sum(dim=2) for name, x in costs.items()}
    of = found.distributions
    return losses if of is None else losses | _of_sides(found, of, rows, wanted, quality, settings)


def _of_sides(
    found: Predictions,
    of: Distributions,
    rows: Tensor,
    wanted: Tensor,
    quality: Tensor,
    settings: QuerySettings,
) -> dict[str, Tensor]:
    """Return the losses of the distributions; (B, S') and (B, S' - 1), as the last stage is the teacher."""
    stages = of.logits.shape[1]
    rows, wanted, quality = (x[:, -stages:] for x in (rows, wanted, quality))
    matched = rows >= 0
    first = of.first[:, None].expand_as(wanted)
    sides = localisation_loss(of.logits, first, wanted, of.steps, settings.reg_scale) * quality
    teacher = found.logits[:, -1].detach().sigmoid().amax(dim=2)
    weights = quality.where(matched, teacher[:, None])
    before = slice(0, stages - 1)
    distilled = distillation_loss(
        of.logits[:, before],
        of.logits[:, -1].detach(),
        weights[:, before],
        matched[:, before],
        (rows != IGNORED)[:, before],
    )
    return {
        "localisation": settings.fgl_weight * sides.where(matched, 0.0).sum(dim=2),
        "distillation": settings.ddf_weight * distilled,
    }


def class_costs(
    logits: Tensor, labels: Tensor, quality: Tensor, counted: Tensor | None, kind: ClassLoss
) -> Tensor:
    """Return (...,): the classification loss of each query, summed over classes.

    logits: (..., K). labels: (...,), 0..K-1, or below 0 for none. quality: (...,), the IoU of a query's box
    with its object. counted: (..., K), the classes that count, or None for all.
    """
    gamma = VFL_GAMMA if kind == "vfl" else MAL_GAMMA
    foreground, index = labels >= 0, labels.clamp(min=0)[..., None]
    own = logits.gather(-1, index)
    # A logit of -inf costs nothing and receives no gradient.
    others = logits.scatter(-1, index, own.masked_fill(foreground[..., None], -math.inf))
    if counted is not None:
        others = others.masked_fill(~counted, -math.inf)
    background = (others.detach().sigmoid() ** gamma * functional.softplus(others)).sum(dim=-1)
    wanted = quality if kind == "vfl" else quality**gamma
    entropy = functional.binary_cross_entropy_with_logits(own[..., 0], wanted, reduction="none")
    if kind == "vfl":
        background, entropy = VFL_ALPHA * background, entropy * quality
    return background + entropy.where(foreground, 0.0)


def _learnt(rows: Tensor, objects: Objects) -> Assigned:
    """Return the objects that queries learn, from rows within their images (B, S, Q)."""
    counts = [len(labels) for labels in objects.labels]
    starts = rows.new_tensor([sum(counts[:k]) for k in range(len(counts))])[:, None, None]
    return Assigned(
        (rows + starts).where(rows >= 0, rows),
        torch.cat(objects.shares),
        torch.cat(objects.labels),
    )


def _without_ignored(rows: Tensor, boxes: Tensor, objects: Objects) -> Tensor:
    """Return the rows (B, S, Q), IGNORED for background queries within ignored regions."""
    if all(t.ignored is None or not len(t.ignored) for t in objects.targets):
        return rows
    kept = []
    for of_image, found, targets in zip(rows, boxes, objects.targets, strict=True):
        inside = within_ignored(pixels_of(found, objects.canvas_hw).flatten(0, 1), targets)
        if inside is not None:
            within = inside.view_as(of_image) & (of_image == BACKGROUND)
            of_image = of_image.masked_fill(within, IGNORED)
        kept.append(of_image)
    return torch.stack(kept)
