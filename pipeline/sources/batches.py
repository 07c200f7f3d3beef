"""What a step takes: what a source loads, with its targets. The same code for every source."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ...cache.placement import Placement
from ...cache.sampler import SampleId
from ...heads.types import Targets
from ..dataset.annotations import Annotations
from ..devices import pinned
from .source import MakePyramid, PyramidSource


@dataclass(frozen=True, slots=True)
class Batch:
    """B samples: what a step of a head takes. B is 0 where all were skipped.

    targets: on the device. pyramid: makes the maps there.
    """

    image_ids: tuple[int, ...]
    placements: tuple[Placement, ...]
    targets: tuple[Targets, ...]
    pyramid: MakePyramid


def batches_from(
    source: PyramidSource,
    batches: Sequence[Sequence[SampleId]],
    annotations: Annotations,
    device: torch.device,
    min_visible: float,
) -> Iterator[Batch]:
    """What the source loads, with its targets."""
    for samples, placements, pyramid in source.load(batches):
        image_ids = tuple(image_id for image_id, _ in samples)
        targets = [
            targets_of(annotations, image_id, placement, min_visible)
            for image_id, placement in zip(image_ids, placements, strict=True)
        ]
        yield Batch(image_ids, placements, _on_device(targets, device), pyramid)


def _on_device(targets: Sequence[Targets], device: torch.device) -> tuple[Targets, ...]:
    """In two copies a batch, which wait for nothing: an ordinary one would wait for the last step."""
    if not targets:
        return ()
    counts = [len(of_image.labels) for of_image in targets]
    packed = [of_image.boxes for of_image in targets], [of_image.labels for of_image in targets]
    boxes, labels = (
        torch.split(pinned(torch.cat(parts), device).to(device, non_blocking=True), counts)
        for parts in packed
    )
    return tuple(map(Targets, boxes, labels))


def targets_of(
    annotations: Annotations, image_id: int, placement: Placement, min_visible: float
) -> Targets:
    """The objects of one sample: no crowds, and only what the view shows enough of."""
    objects = annotations.of_image(image_id)
    boxes = torch.from_numpy(objects.boxes.astype(np.float32))
    on_canvas = placement.to_canvas(boxes)
    visible = placement.visible_share(boxes) >= min_visible
    sized = (on_canvas[:, 2:] > on_canvas[:, :2]).all(dim=1)
    kept = visible & sized & ~torch.from_numpy(objects.crowd.copy())
    return Targets(on_canvas[kept], torch.from_numpy(objects.labels.copy())[kept])
