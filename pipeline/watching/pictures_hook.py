"""Pictures of what a run finds during training: the same few validation images after every evaluation.

They are drawn from the image files, which the cache does not hold; on the disk only the last
evaluation's pictures stay, trackers keep those of every one.
"""

from __future__ import annotations

import io
import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from PIL import Image

from ...cache.errors import InputError
from ...cache.layout import ImageEntry
from ...cache.publish import publish_bytes
from ...heads.types import Detections
from ..dataset.annotations import Annotations, ImageBoxes
from ..dataset.images import ImageError, load_image, read_header
from ..pictures.draw import draw_boxes, side_by_side
from .events import Event, Hook
from .trackers.tracker import Tracker

log = logging.getLogger(__name__)

COUNT = 4
LARGEST_SIDE = 800  # px, of one of the two halves: a tracker keeps the pictures of every evaluation
DRAW_ABOVE = 0.3


def pictures_hook(
    run: Path,
    images: Path,
    annotations: Annotations,
    image_ids: Sequence[int],
    trackers: Sequence[Tracker] = (),
) -> Hook:
    """After an evaluation: RUN/pictures/<name>.png, and pictures/<name> for the trackers.

    images: the folder that the validation cache was made from. image_ids: of the validation set.
    Raises InputError where an image is not there.
    """
    chosen = choose_images(annotations, image_ids)
    check_pictured(images, chosen)
    names = picture_names(chosen)

    def show(event: Event) -> None:
        for entry in chosen if event.kind == "eval" else ():
            try:
                png = draw_detections(images, entry, annotations, event.detections[entry.id])
            except ImageError as error:
                log.warning("no picture of %s: %s", entry.file_name, error)
                continue
            name = names[entry.id]
            publish_bytes(run / "pictures" / f"{name}.png", png, existing="replace")
            for tracker in trackers:
                tracker.picture(event.step, f"pictures/{name}", png)

    return show


def choose_images(
    annotations: Annotations, image_ids: Sequence[int], count: int = COUNT
) -> list[ImageEntry]:
    """Spread evenly over the ids; images with objects, where there are any. Always the same ones."""
    filled = [i for i in sorted(image_ids) if len(annotations.of_image(i))] or sorted(image_ids)
    count = min(count, len(filled))
    return [
        annotations.image(filled[(2 * k + 1) * len(filled) // (2 * count)]) for k in range(count)
    ]


def check_pictured(images: Path, chosen: Sequence[ImageEntry]) -> None:
    """Raises InputError where one of them is not there, or has another size."""
    for entry in chosen:
        path = images / entry.file_name
        try:
            header = read_header(path)
        except ImageError as error:
            raise InputError(
                f"{path}: {error}; pictures need the folder of images that the validation cache was "
                "made from"
            ) from error
        if header.rotate(entry.hw) is None:
            raise InputError(
                f"{path}: its size (h, w) is {header.upright_hw}, the annotations say {entry.hw}"
            )


def picture_names(chosen: Sequence[ImageEntry]) -> dict[int, str]:
    """By image id: the file's path without its suffix; with it, where two would have one name."""
    short = {e.id: PurePosixPath(e.file_name).with_suffix("").as_posix() for e in chosen}
    count = Counter(short.values())
    return {e.id: e.file_name if count[short[e.id]] > 1 else short[e.id] for e in chosen}


def draw_detections(
    images: Path, entry: ImageEntry, annotations: Annotations, detections: Detections
) -> bytes:
    """A PNG file: ground truth on the left, what was found on the right. Raises ImageError."""
    image, _ = load_image(images / entry.file_name, entry.hw)
    factor = min(1.0, LARGEST_SIDE / max(image.size))
    small = image.resize(
        (max(1, round(image.width * factor)), max(1, round(image.height * factor))),
        Image.Resampling.LANCZOS,
    )
    scale = np.array(small.size * 2) / np.array(image.size * 2)
    objects = annotations.of_image(entry.id)
    found, title = _shown_detections(detections, len(objects))
    left = draw_boxes(
        small, objects.boxes * scale, objects.labels.tolist(), _object_texts(objects, annotations)
    )
    right = draw_boxes(
        small,
        found.boxes.double().numpy() * scale,
        found.labels.tolist(),
        _detection_texts(found, annotations),
    )
    file = io.BytesIO()
    side_by_side(left, right, (f"ground truth ({len(objects)})", title)).save(file, "PNG")
    return file.getvalue()


def _shown_detections(detections: Detections, objects: int) -> tuple[Detections, str]:
    """Those that are sure, and their title; where none is, the best few: early on they say more."""
    sure = int((detections.scores >= DRAW_ABOVE).sum())
    if sure or not len(detections.scores):
        return _best_last(detections, sure), f"detections >= {DRAW_ABOVE:g} ({sure})"
    best = _best_last(detections, max(1, objects))
    return best, f"no detection >= {DRAW_ABOVE:g}; the best {len(best.scores)}"


def _best_last(detections: Detections, count: int) -> Detections:
    """The best ones, the best of all last: what is drawn later lies on top."""
    return detections[torch.arange(min(count, len(detections))).flip(0)]


def _object_texts(objects: ImageBoxes, annotations: Annotations) -> list[str]:
    names = _names(annotations, objects.labels.tolist())
    crowds = zip(names, objects.crowd.tolist(), strict=True)
    return [f"{name} (crowd)".strip() if crowd else name for name, crowd in crowds]


def _detection_texts(detections: Detections, annotations: Annotations) -> list[str]:
    names = _names(annotations, detections.labels.tolist())
    scored = zip(names, detections.scores.tolist(), strict=True)
    return [f"{name} {score:.2f}".strip() for name, score in scored]


def _names(annotations: Annotations, labels: Sequence[int]) -> list[str]:
    """Of the classes; where there is one class alone, none is named."""
    if len(annotations.class_names) == 1:
        return [""] * len(labels)
    return [annotations.class_names[label] for label in labels]
