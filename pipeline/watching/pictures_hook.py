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

from ...cache.disk.publish import publish_bytes
from ...cache.layout import ImageEntry
from ...heads.types import Detections
from ..dataset.annotations import Annotations
from ..dataset.images import ImageError, load_image
from ..pictures.choice import check_pictured, choose_images
from ..pictures.sheet import draw_sheet, sure_or_best
from .events import Event, Hook
from .trackers.tracker import Tracker

log = logging.getLogger(__name__)

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


def picture_names(chosen: Sequence[ImageEntry]) -> dict[int, str]:
    """By image id: the file's path without its suffix; with it, where two would have one name."""
    short = {e.id: PurePosixPath(e.file_name).with_suffix("").as_posix() for e in chosen}
    count = Counter(short.values())
    return {e.id: e.file_name if count[short[e.id]] > 1 else short[e.id] for e in chosen}


def draw_detections(
    images: Path, entry: ImageEntry, annotations: Annotations, detections: Detections
) -> bytes:
    """A PNG file: ground truth on the left, what was found on the right; where nothing is sure the best
    few, as many as there are objects: early on they say more. Raises ImageError.
    """
    image, _ = load_image(images / entry.file_name, entry.hw)
    objects = annotations.of_image(entry.id)
    shown, title = sure_or_best(detections, DRAW_ABOVE, len(objects))
    sheet = draw_sheet(image, shown, title, annotations.class_names, objects, LARGEST_SIDE)
    file = io.BytesIO()
    sheet.save(file, "PNG")
    return file.getvalue()
