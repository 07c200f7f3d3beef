"""What a step takes: what a source loads, with its targets. The same code for every source."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from ...cache.placement import Placement
from ...cache.sampler import SampleId
from ...heads.types import Targets
from ..dataset.annotations import Annotations
from ..dataset.long_tail import known_classes
from ..machines.devices import pinned
from .source import MakePyramid, PyramidSource

# A side of a target's mask: twice what a mask head usually finds.
MASK_CELLS = 56


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
    class_images: npt.NDArray[np.int64],
) -> Iterator[Batch]:
    """What the source loads, with its targets. class_images: (K,), training images that show each class."""
    counts = pinned(torch.from_numpy(class_images).float(), device).to(device, non_blocking=True)
    for samples, placements, pyramid in source.load(batches):
        image_ids = tuple(image_id for image_id, _ in samples)
        targets = [
            targets_of(annotations, image_id, placement, min_visible)
            for image_id, placement in zip(image_ids, placements, strict=True)
        ]
        learnt = _on_device(targets, device)
        learnt = tuple(replace(of_image, class_images=counts) for of_image in learnt)
        yield Batch(image_ids, placements, learnt, pyramid)


def _on_device(targets: Sequence[Targets], device: torch.device) -> tuple[Targets, ...]:
    """In a copy a kind, which waits for nothing: an ordinary one would wait for the last step."""
    if not targets:
        return ()
    first = targets[0]
    names = ("boxes", "labels", "masks", "looked_for", "ignored")
    given = [name for name in names if getattr(first, name) is not None]
    parts = {}
    for name in given:
        values = [getattr(of_image, name) for of_image in targets]
        moved = pinned(torch.cat(values), device).to(device, non_blocking=True)
        parts[name] = torch.split(moved, [len(v) for v in values])
    return tuple(Targets(**{name: parts[name][k] for name in given}) for k in range(len(targets)))


def targets_of(
    annotations: Annotations, image_id: int, placement: Placement, min_visible: float
) -> Targets:
    """The objects of one sample: no crowds, and only what the view shows enough of, at least 1 px wide and
    high; the places of all others are ignored. With masks where the annotations have outlines, and with
    the classes that were looked for where these say so.
    """
    objects = annotations.of_image(image_id)
    boxes = torch.from_numpy(objects.boxes.astype(np.float32))
    on_canvas = placement.to_canvas(boxes)
    visible = placement.visible_share(boxes) >= min_visible
    least_side = (on_canvas[:, 2:] - on_canvas[:, :2]).amin(dim=1)
    kept = visible & (least_side >= 1) & ~torch.from_numpy(objects.crowd.copy())
    shown, ignored = on_canvas[kept], on_canvas[~kept & (least_side > 0)]
    masks = None
    if objects.outlines is not None:
        regions = placement.to_image(shown).double().numpy()
        rows = torch.where(kept)[0].tolist()
        hw = placement.image_hw
        grids = [
            objects.outlines.grid(k, region, hw, MASK_CELLS)
            for k, region in zip(rows, regions, strict=True)
        ]
        stacked = np.stack(grids) if grids else np.zeros((0, MASK_CELLS, MASK_CELLS), np.float32)
        masks = placement.mirrored(torch.from_numpy(stacked))
    known = None
    if annotations.coverage is not None:
        known = torch.from_numpy(known_classes(annotations, image_id))
    labels = torch.from_numpy(objects.labels.copy())[kept]
    return Targets(shown, labels, masks, known, ignored=ignored)
