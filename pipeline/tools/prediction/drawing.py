"""The pictures of an image: its detections drawn, next to the ground truth if there is any, and crops."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from PIL import Image

from ....cache.windows import Window
from ....heads.types import Detections
from ...dataset.annotations import ImageBoxes
from ...dataset.images.decoding import load_window
from ...dataset.images.photographs import Photograph
from ...pictures.sheet import draw_sheet
from ...runs.thresholds import Thresholds

_SAVED: dict[str, dict[str, Any]] = {
    "jpg": {"format": "JPEG", "quality": 90},
    "png": {"format": "PNG"},
}
# The longest side of a JPEG, px.
_LONGEST = 65_500


def picture_of(
    image: Image.Image,
    found: Detections,
    thresholds: Thresholds,
    class_names: Sequence[str],
    objects: ImageBoxes | None,
    kind: str,
) -> bytes:
    """Return the file of a picture with the detections that reach their thresholds. kind: jpg or png."""
    shown = reaching(found, thresholds)
    title = f"detections >= {thresholds.shown} ({len(shown)})"
    sheet = draw_sheet(image, shown, title, class_names, objects)
    sheet.thumbnail((_LONGEST, _LONGEST))
    return encoded(sheet, kind)


def crops_of(
    photograph: Photograph, found: Detections, thresholds: Thresholds
) -> Iterator[tuple[int, Image.Image]]:
    """Yield label and pixels of each detection that reaches its threshold and touches the image."""
    shown = reaching(found, thresholds)
    for box, label in zip(shown.boxes.tolist(), shown.labels.tolist(), strict=True):
        left, top = (max(0, math.floor(v)) for v in box[:2])
        size = reversed(photograph.hw)
        right, bottom = (min(s, math.ceil(v)) for v, s in zip(box[2:], size, strict=True))
        if right > left and bottom > top:
            yield label, load_window(photograph, Window(left, top, right - left, bottom - top))


def reaching(found: Detections, thresholds: Thresholds) -> Detections:
    """Return the detections that reach the thresholds of their classes."""
    kept = thresholds.reached(found.scores.double().numpy(), found.labels.numpy())
    return found[torch.from_numpy(kept)]


def encoded(image: Image.Image, kind: str) -> bytes:
    """Return an RGB image as the bytes of a file. kind: jpg or png."""
    file = io.BytesIO()
    image.save(file, **_SAVED[kind])
    return file.getvalue()
