"""The batches of a step: what a source loads, with its targets. The code is the same for every source."""

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
from ..dataset.classes.long_tail import known_classes
from ..machines.devices import pinned
from .source import MakePyramid, PyramidSource

# The side of a target's mask in cells: twice that of the masks that a mask head usually predicts.
MASK_CELLS = 56


@dataclass(frozen=True, slots=True)
class Batch:
    """The B samples of a head's step. B is 0 where all were skipped.

    targets: the objects of each sample, on the device. pyramid: the function that makes the maps there.
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
    """Yield the batches that the source loads, with their targets.

    class_images: (K,), the number of training images that show each class.
    """
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
    """Copy targets to the device, each field of all images at once.

    The copies wait for nothing, while ordinary ones would wait for the last step.
    """
    if not targets:
        return ()
    first = targets[0]
    names = ("boxes", "labels", "masks", "known_classes", "ignored")
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
    """Return the objects of one sample as the targets of its training.

    They are without crowds, and only those of which the view shows enough, at least 1 px wide and high; the
    boxes of all others are ignored. Masks are included where the annotations have outlines, and the classes
    that were looked for where the annotations name them.
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
