"""The annotations of tiles, made from those of whole images wherever annotations meet a tiled layout."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ...cache.layout import ImageEntry
from ...cache.windows import Window, split_name, window_name
from .annotations import Annotations, Coverage, ImageBoxes, joined_boxes
from .tiling import image_of, is_tiled, photographs_of


def cuts(annotations: Annotations, images: Sequence[ImageEntry]) -> bool:
    """Return whether the images of a layout are tiles of the annotated images.

    An image whose own file is named like a window is none.
    """
    return is_tiled(image for image in images if image.file_name not in annotations.named)


def photographs_in(annotations: Annotations, images: Sequence[ImageEntry]) -> Sequence[ImageEntry]:
    """Return the images that the images of a layout are tiles of; they themselves where they are none."""
    return photographs_of(images) if cuts(annotations, images) else images


def annotations_of_tiles(annotations: Annotations, images: Sequence[ImageEntry]) -> Annotations:
    """Return the annotations of the images of a layout, from those of whole images.

    They are the same where the layout has no tiles. A tile has the objects that touch it, with their whole
    boxes in its frame, of which the placement shows a part; so they follow train.min_visible as objects do
    that a view cuts. Tiles of images that are not annotated are left out.
    """
    if not cuts(annotations, images):
        return annotations
    kept = [tile for tile in images if image_of(tile.id) in annotations]
    parts = [_part(annotations, tile) for tile in kept]
    none: npt.NDArray[np.int64] = np.zeros(0, dtype=np.int64)
    coverage = annotations.coverage
    return replace(
        annotations,
        images=tuple(_entry(annotations, tile) for tile in kept),
        packed=joined_boxes(
            parts or [_taken(annotations.packed, none, Window(0, 0, 1, 1), (1, 1))]
        ),
        starts=np.cumsum([0, *map(len, parts)]),
        coverage=None if coverage is None else _coverage(annotations, kept),
    )


def whole_annotations(
    annotations: Annotations, images: Sequence[ImageEntry]
) -> tuple[Annotations, Container[int]]:
    """Return the annotations of the images that the images of a layout are tiles of, and the ids of those.

    They know into how many tiles an image is cut, since each may have as many detections as an image.
    """
    if not cuts(annotations, images):
        return annotations, {image.id for image in images}
    photographs = photographs_of(images)
    tiles = max(Counter(image_of(tile.id) for tile in images).values())
    return replace(annotations.named_as(photographs), tiles=tiles), {p.id for p in photographs}


def _entry(annotations: Annotations, tile: ImageEntry) -> ImageEntry:
    """Return a tile as the annotations name it; where it does not lie in the image, it has another size."""
    image, window = annotations.image(image_of(tile.id)), split_name(tile.file_name)[1]
    if window is None:
        return ImageEntry(tile.id, image.file_name, image.hw)
    hw = window.hw if window.lies_in(image.hw) else image.hw
    return ImageEntry(tile.id, window_name(image.file_name, window), hw)


def _part(annotations: Annotations, tile: ImageEntry) -> ImageBoxes:
    """Return the objects of its image that touch a tile, in its frame."""
    image_id, window = image_of(tile.id), split_name(tile.file_name)[1]
    objects = annotations.of_image(image_id)
    if window is None:
        return objects
    x1, y1, x2, y2 = objects.boxes.T
    across = (x1 < window.x + window.width) & (x2 > window.x)
    down = (y1 < window.y + window.height) & (y2 > window.y)
    return _taken(objects, np.flatnonzero(across & down), window, annotations.image(image_id).hw)


def _taken(
    objects: ImageBoxes, rows: npt.NDArray[np.int64], window: Window, hw: tuple[int, int]
) -> ImageBoxes:
    outlines = objects.outlines
    return ImageBoxes(
        objects.boxes[rows] - np.array([window.x, window.y] * 2, dtype=np.float64),
        objects.labels[rows],
        objects.crowd[rows],
        objects.area[rows],
        None if outlines is None else outlines.within(rows.tolist(), window, hw),
    )


def _coverage(annotations: Annotations, tiles: Sequence[ImageEntry]) -> Mapping[int, Coverage]:
    """Return the coverage of each tile: what its image shows was looked for in all of its tiles."""
    assert annotations.coverage is not None
    found = {}
    for tile in tiles:
        image_id = image_of(tile.id)
        of_image = annotations.coverage[image_id]
        shown = set(annotations.of_image(image_id).labels.tolist())
        looked_for = {*of_image.negative, *(shown - set(of_image.partial))}
        found[tile.id] = Coverage(tuple(sorted(looked_for)), of_image.partial)
    return found
