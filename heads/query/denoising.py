"""Denoising queries (DINO, Zhang et al., arXiv 2203.03605, section 3.3): noisy copies of the objects.

Each group has a copy of every object, which is to find that object again, and a noisier one, which is to
find nothing. All that is drawn for an image comes from its own seed, and how many groups it has depends on
its own objects, so that its losses are the same in every batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor

from ..assign import BACKGROUND, IGNORED
from ..types import Targets
from .boxes import corners_of, inverse_sigmoid, shares_of
from .settings import QuerySettings


@dataclass(frozen=True, slots=True)
class Noisy:
    """The denoising queries of a batch, filled up to the largest number D of an image.

    labels: (B, D), noisy classes. logits: (B, D, 4), of noisy boxes, as centres and sizes in shares of the
    canvas. rows: (B, D), the object of its image that a query is to find, BACKGROUND, or IGNORED where it
    only fills up. group: (B, D), the group of a query, -1 where it fills up. groups: (B,), their number.
    """

    labels: Tensor
    logits: Tensor
    rows: Tensor
    group: Tensor
    groups: Tensor


def noisy_queries(
    targets: Sequence[Targets],
    seeds: Sequence[int],
    canvas_hw: tuple[int, int],
    classes: int,
    settings: QuerySettings,
) -> Noisy:
    """Return the denoising queries of a batch; none where the settings want none."""
    given = zip(targets, seeds, strict=True)
    counts = [_groups_of(len(t.labels), settings.denoising) for t in targets]
    each = [
        _of_image(t, Random(seed), n, canvas_hw, classes, settings)
        for (t, seed), n in zip(given, counts, strict=True)
    ]
    size = max(len(labels) for labels, *_ in each)
    fill = (0, 0.0, IGNORED, -1)
    labels, logits, rows, group = (
        torch.stack([_filled(x, size, value) for x in column])
        for column, value in zip(zip(*each, strict=True), fill, strict=True)
    )
    groups = torch.tensor(counts, device=targets[0].labels.device).clamp(min=1)
    return Noisy(labels, logits, rows, group, groups)


def _groups_of(objects: int, wanted: int) -> int:
    return max(1, wanted // objects) if objects and wanted else 0


def _of_image(
    targets: Targets,
    generator: Random,
    groups: int,
    canvas_hw: tuple[int, int],
    classes: int,
    settings: QuerySettings,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the labels, logits of boxes, rows and groups of an image's queries, (M, ...) each."""
    device, objects = targets.labels.device, len(targets.labels)
    size = 2 * groups * objects
    row = torch.arange(objects, device=device).repeat(2 * groups)
    group = torch.arange(groups, device=device).repeat_interleave(2 * objects)
    noisier = torch.arange(2 * groups, device=device).repeat_interleave(objects) % 2 == 1
    draws = torch.tensor([generator.random() for _ in range(10 * size)]).to(device)
    flip, other, sides = draws[:size], draws[size : 2 * size], draws[2 * size :].view(2, size, 4)
    label = targets.labels[row].where(
        flip >= settings.label_noise / 2, (other * classes).long().clamp(max=classes - 1)
    )
    shares = shares_of(targets.boxes.float(), canvas_hw)[row]
    reach = shares[:, 2:].repeat(1, 2) / 2 * settings.box_noise
    signs = torch.where(sides[0] < 0.5, -1.0, 1.0)
    moved = corners_of(shares) + (sides[1] + noisier[:, None]) * signs * reach
    logits = inverse_sigmoid(shares_of(moved.clamp(0, 1), (1, 1)))
    return label, logits, row.where(~noisier, BACKGROUND), group


def _filled(x: Tensor, size: int, value: float) -> Tensor:
    """Return x (M, ...) filled up to (size, ...)."""
    return torch.cat([x, x.new_full((size - len(x), *x.shape[1:]), value)])


def visible(noisy: Noisy, queries: int, further: int) -> Tensor | None:
    """Return (B, N, N) bool: which query sees which; None where all see all.

    N is the number of denoising queries, the `queries` that are matched one to one, and the `further` ones.
    Each group of denoising queries sees itself and the matched queries, which see themselves alone, as do
    the further ones.
    """
    batch, size = noisy.group.shape
    if not size and not further:
        return None
    kind = noisy.group.new_full((batch, queries + further), -2)
    kind[:, queries:] = -3
    group = torch.cat([noisy.group, kind], dim=1)
    same = group[:, :, None] == group[:, None]
    return same | ((group >= 0)[:, :, None] & (group == -2)[:, None])
