"""Sentences on what the labels of YOLO and the XML of Pascal VOC do not keep of annotations."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from ....cache.wording import counted
from ..annotations import Annotations
from ..formats.assembly import area_within

Floats = npt.NDArray[np.float64]
# Boxes and areas that agree to this are the same, px.
_SAME = 1e-4


def outline_of(annotations: Annotations, k: int) -> tuple[float, ...]:
    """Return the outline of an object as one polygon x, y, x, y, ..., () where it has none.

    Several rings are joined by bridges of no width, which change neither the area nor the box around. Run
    lengths are no polygon.
    """
    outlines = annotations.packed.outlines
    if outlines is None or outlines.runs[k]:
        return ()
    rings = [ring.tolist() for ring in outlines.of(k)]
    if len(rings) == 1:
        return tuple(rings[0])
    return tuple(value for ring in rings for value in (*ring, *ring[:2]))


def lost_image_ids(annotations: Annotations) -> list[str]:
    """Return a sentence where images get other ids."""
    numbers = [image.id for image in sorted(annotations.images, key=lambda i: i.file_name)]
    if numbers == list(range(1, len(numbers) + 1)):
        return []
    return ["image ids are not kept: images are numbered from 1 in the order of their names"]


def lost_details(annotations: Annotations, *, boxes: bool) -> list[str]:
    """Return sentences on areas, run lengths, parts of outlines, and LVIS' fields.

    boxes: whether a box is kept beside the outline of its object.
    """
    said = []
    packed = annotations.packed
    if annotations.coverage is not None or annotations.declared is not None:
        said.append(
            "the fields of LVIS are not kept: which classes an image was checked for, frequencies"
        )
    if packed.outlines is not None:
        runs = int(packed.outlines.runs.sum())
        if runs:
            what = counted(
                runs,
                "outline is run lengths and not kept: only its box is",
                "outlines are run lengths and not kept: only their boxes are",
            )
            said.append(what)
        parts = sum(b - a > 1 for a, b in pairwise(packed.outlines.objects.tolist()))
        if parts:
            what = counted(
                parts,
                "outline of several parts is joined to one polygon",
                "outlines of several parts are joined to one polygon each",
            )
            said.append(what)
    around = [outline_of(annotations, k) for k in range(len(packed))]
    if not boxes and (far := _distances(packed.boxes, around)):
        what = counted(
            len(far),
            "box becomes the box around its outline",
            "boxes become the boxes around their outlines",
        )
        said.append(f"{what}, up to {max(far):.3g} px away")
    areas = _areas(packed.boxes, around)
    differing = int((np.abs(areas - packed.area) > _SAME * np.maximum(1, packed.area)).sum())
    if differing:
        what = counted(differing, "object", "objects")
        said.append(f"the areas of {what} are not kept: those of box or polygon are used")
    return said


def _distances(boxes: Floats, outlines: list[tuple[float, ...]]) -> list[float]:
    """Return how far boxes (N, 4) xyxy px are from those around their outlines, where they differ."""
    found = []
    for box, outline in zip(boxes.tolist(), outlines, strict=True):
        if outline:
            xs, ys = outline[::2], outline[1::2]
            around = (min(xs), min(ys), max(xs), max(ys))
            found.append(max(abs(a - b) for a, b in zip(box, around, strict=True)))
    return [distance for distance in found if distance > _SAME]


def _areas(boxes: Floats, outlines: list[tuple[float, ...]]) -> Floats:
    """Return the area that a reader finds for each object: that of its polygon, or of its box."""
    sides = boxes[:, 2:] - boxes[:, :2]
    areas = sides[:, 0] * sides[:, 1]
    for k, outline in enumerate(outlines):
        if outline and (area := area_within(outline)) > 0:
            areas[k] = area
    return areas
