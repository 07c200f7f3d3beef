"""A picture of one image with its detections, next to the ground truth where there is one.

Boxes are drawn over masks, and the best detection over all others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from ...heads.types import Detections
from ..dataset.annotations import ImageBoxes
from ..dataset.outlines import Outlines
from .draw import draw_boxes, draw_masks, under_titles

# The side in px up to which smaller images are enlarged, so that boxes and texts do not hide the objects.
LEGIBLE_SIDE = 800
# The minimum and maximum number of cells per side of the grids that draw the ground-truth outlines.
_COARSEST, _FINEST = 28, 256


def draw_sheet(
    image: Image.Image,
    found: Detections,
    title: str,
    class_names: Sequence[str],
    objects: ImageBoxes | None = None,
    largest_side: int | None = None,
) -> Image.Image:
    """Draw detections into an upright RGB image under a title, and any ground truth to the left of it.

    found: the detections, in image px. class_names: the names of the classes, which are left out where
    there is only one class. objects: the ground truth, in image px. largest_side: the maximum side in px of
    the image in the picture.
    """
    picture = _fitted(image, largest_side)
    scale = np.array(picture.size * 2) / np.array(image.size * 2)
    panels = [(title, _with_detections(picture, found, class_names, scale))]
    if objects is not None:
        hw = (image.height, image.width)
        truth = _with_objects(picture, objects, class_names, scale, hw)
        panels.insert(0, (f"ground truth ({len(objects)})", truth))
    return under_titles(panels)


def sure(found: Detections, above: float) -> tuple[Detections, str]:
    """Return the detections that reach a score, and their title."""
    count = int((found.scores >= above).sum())
    return found[:count], f"detections >= {above:g} ({count})"


def sure_or_best(found: Detections, above: float, count: int) -> tuple[Detections, str]:
    """Return the detections that reach a score, or the best `count` where none does, and their title."""
    reached, title = sure(found, above)
    if len(reached) or not len(found):
        return reached, title
    best = found[: max(1, count)]
    return best, f"no detection >= {above:g}; the best {len(best)}"


def _fitted(image: Image.Image, largest_side: int | None) -> Image.Image:
    longest = max(image.size)
    factor: float = max(1, round(LEGIBLE_SIDE / longest))
    filtered = Image.Resampling.BICUBIC
    if largest_side is not None and factor * longest > largest_side:
        factor, filtered = largest_side / longest, Image.Resampling.LANCZOS
    width, height = (max(1, round(factor * side)) for side in image.size)
    return image.resize((width, height), filtered)


def _with_detections(
    picture: Image.Image,
    found: Detections,
    class_names: Sequence[str],
    scale: npt.NDArray[np.floating],
) -> Image.Image:
    drawn, best_last = picture.copy(), found[torch.arange(len(found)).flip(0)]
    boxes, labels = best_last.boxes.double().numpy() * scale, best_last.labels.tolist()
    if best_last.masks is not None:
        draw_masks(drawn, boxes, labels, best_last.masks)
    scored = zip(_names(class_names, labels), best_last.scores.tolist(), strict=True)
    draw_boxes(drawn, boxes, labels, [f"{name} {score:.2f}".strip() for name, score in scored])
    return drawn


def _with_objects(
    picture: Image.Image,
    objects: ImageBoxes,
    class_names: Sequence[str],
    scale: npt.NDArray[np.floating],
    image_hw: tuple[int, int],
) -> Image.Image:
    drawn = picture.copy()
    boxes, labels = objects.boxes * scale, objects.labels.tolist()
    if objects.outlines is not None:
        draw_masks(drawn, boxes, labels, _grids(objects, objects.outlines, boxes, image_hw))
    crowds = zip(_names(class_names, labels), objects.crowd.tolist(), strict=True)
    texts = [f"{name} (crowd)".strip() if crowd else name for name, crowd in crowds]
    draw_boxes(drawn, boxes, labels, texts)
    return drawn


def _grids(
    objects: ImageBoxes,
    outlines: Outlines,
    drawn: npt.NDArray[np.floating],
    image_hw: tuple[int, int],
) -> Iterator[Tensor]:
    """Yield the outlines of the objects as masks over their boxes, about as fine as these are `drawn`."""
    longest = (drawn[:, 2:] - drawn[:, :2]).max(axis=1, initial=0)
    for k, size in enumerate(longest.clip(_COARSEST, _FINEST).astype(int).tolist()):
        yield torch.from_numpy(outlines.grid(k, objects.boxes[k], image_hw, size))


def _names(class_names: Sequence[str], labels: Sequence[int]) -> list[str]:
    """Return the class name of each label, or "" where there is only one class."""
    return ["" if len(class_names) == 1 else class_names[label] for label in labels]
