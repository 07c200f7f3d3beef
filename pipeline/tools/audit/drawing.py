"""A picture for each entry: its place in the image, with the label, and beside it with what was found."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ....cache.disk.publish import make_folder, publish_bytes, remove_files
from ....cache.layout import ImageEntry
from ...dataset.images.decoding import ImageError, load_image
from ...machines.progress import progress_line
from ...pictures.draw import draw_boxes, under_titles
from ...pictures.text import legible_names
from .entries import Box, Entry
from .paths import PICTURES

log = logging.getLogger(__name__)

# The margin around the boxes, as a share of their sides, and at least so many px of the file.
_MARGIN, _AT_LEAST = 1.0, 24
# The longer side of the place in the picture, px.
_SIDE = 320
_SAVED: Mapping[str, dict[str, Any]] = {
    "jpg": {"format": "JPEG", "quality": 88},
    "png": {"format": "PNG"},
}


def draw_entries(
    out: Path,
    images: Path,
    entries: Sequence[Entry],
    files: Mapping[int, ImageEntry],
    class_names: Sequence[str],
    class_ids: Sequence[int],
    kind: str,
    bits: int,
) -> dict[int, str]:
    """Draw the entries in place of older ones, and return the file of each, by rank.

    files: the images by id. kind: jpg or png. An image that cannot be read is named in a warning, and its
    entries have no picture. Raises StorageError.
    """
    names = legible_names(tuple(class_names), tuple(class_ids))
    clear_pictures(out)
    make_folder(out / PICTURES)
    drawn: dict[int, str] = {}
    by_image: dict[int, list[Entry]] = {}
    for entry in entries:
        by_image.setdefault(entry.image_id, []).append(entry)
    with progress_line("pictures", len(entries)) as progress:
        for image_id, own in by_image.items():
            try:
                image, _ = load_image(images / files[image_id].file_name, files[image_id].hw, bits)
            except ImageError as error:
                log.warning("%s: no pictures: %s", files[image_id].file_name, error)
                continue
            for entry in own:
                name = f"{PICTURES}/{entry.rank:04d}-{re.sub('[^a-z]', '-', entry.kind)}.{kind}"
                publish_bytes(out / name, _encoded(picture_of(image, entry, names), kind))
                drawn[entry.rank] = name
                progress.advance()
    return drawn


def clear_pictures(out: Path) -> None:
    """Remove the pictures of an earlier list. Raises StorageError."""
    remove_files([p for end in _SAVED for p in (out / PICTURES).glob(f"[0-9]*-*.{end}")])


def picture_of(image: Image.Image, entry: Entry, names: Sequence[str]) -> Image.Image:
    """Return the place of an entry: the label, and beside it what was found."""
    area = _area([box for box in (entry.box, entry.found_box) if box is not None], image.size)
    place = image.crop(area)
    factor = _SIDE / max(place.size)
    size = (max(1, round(factor * place.width)), max(1, round(factor * place.height)))
    place = place.resize(size, Image.Resampling.BICUBIC)
    return under_titles(
        [
            (title, _with_box(place, box, label, area, factor, names))
            for title, box, label in (
                ("label", entry.box, entry.label),
                ("found", entry.found_box, entry.found_label),
            )
        ]
    )


def _with_box(
    place: Image.Image,
    box: Box | None,
    label: int | None,
    area: tuple[int, int, int, int],
    factor: float,
    names: Sequence[str],
) -> Image.Image:
    drawn = place.copy()
    if box is not None and label is not None:
        x, y, width, height = box
        corners = np.array([[x, y, x + width, y + height]]) - np.array([area[:2] * 2])
        draw_boxes(drawn, corners * factor, [label], [names[label]])
    return drawn


def _area(boxes: Sequence[Box], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the part of an image around boxes xywh, with a margin: left, top, right, bottom."""
    sides = np.array(boxes)
    low, high = sides[:, :2].min(axis=0), (sides[:, :2] + sides[:, 2:]).max(axis=0)
    margin = np.maximum(_AT_LEAST, _MARGIN * (high - low).max() / 2)
    left, top = (int(v) for v in np.floor(low - margin).clip(0, np.array(size) - 1))
    right, bottom = (int(v) for v in np.ceil(high + margin).clip(1, size))
    return left, top, max(right, left + 1), max(bottom, top + 1)


def _encoded(picture: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    picture.save(file, **_SAVED[kind])
    return file.getvalue()
