"""Pictures of a run's detections during training: the same few validation images after every evaluation.

They are drawn from the image files, which the cache does not hold. On disk only the pictures of the last
evaluation stay; trackers keep those of every evaluation.
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
from ..dataset.images.decoding import ImageError, load_image
from ..pictures.choice import check_pictured, choose_images
from ..pictures.sheet import draw_sheet, sure_or_best
from ..pictures.text import legible_names
from .events import Event, Hook
from .trackers.tracker import Tracker

log = logging.getLogger(__name__)

# px of either half; it is small since trackers keep the pictures of every evaluation.
LARGEST_SIDE = 800
DRAW_ABOVE = 0.3


def pictures_hook(
    run: Path,
    images: Path,
    annotations: Annotations,
    image_ids: Sequence[int],
    trackers: Sequence[Tracker] = (),
    bits: int = 0,
) -> Hook:
    """Return a hook that draws pictures after an evaluation.

    They are written to RUN/pictures/<name>.png, and given to the trackers as pictures/<name>.

    images: the folder that the validation cache was made from. image_ids: the ids of the images of the
    validation set. bits: how many bits deep pixels have, as in `CacheKey`. Raises InputError where an image
    is missing or differs in size.
    """
    chosen = choose_images(annotations, image_ids)
    check_pictured(images, chosen)
    names = picture_names(chosen)

    def show(event: Event) -> None:
        for entry in chosen if event.kind == "eval" else ():
            try:
                png = draw_detections(images, entry, annotations, event.detections[entry.id], bits)
            except ImageError as error:
                log.warning("no picture of %s: %s", entry.file_name, error)
                continue
            name = names[entry.id]
            publish_bytes(run / "pictures" / f"{name}.png", png, existing="replace")
            for tracker in trackers:
                tracker.picture(event.step, f"pictures/{name}", png)

    return show


def picture_names(chosen: Sequence[ImageEntry]) -> dict[int, str]:
    """Return the name of each picture by image id.

    It is the path of the file without its suffix, or with it where two pictures would have the same name.
    """
    short = {e.id: PurePosixPath(e.file_name).with_suffix("").as_posix() for e in chosen}
    count = Counter(short.values())
    return {e.id: e.file_name if count[short[e.id]] > 1 else short[e.id] for e in chosen}


def draw_detections(
    images: Path,
    entry: ImageEntry,
    annotations: Annotations,
    detections: Detections,
    bits: int = 0,
) -> bytes:
    """Return a PNG file with the ground truth on the left and the detections on the right.

    Where no detection reaches DRAW_ABOVE, the best few are drawn, as many as there are objects: early in
    training they say more than an empty picture. Raises ImageError.
    """
    image, _ = load_image(images / entry.file_name, entry.hw, bits)
    objects = annotations.of_image(entry.id)
    shown, title = sure_or_best(detections, DRAW_ABOVE, len(objects))
    names = legible_names(tuple(annotations.class_names), tuple(annotations.class_ids))
    sheet = draw_sheet(image, shown, title, names, objects, LARGEST_SIDE)
    file = io.BytesIO()
    sheet.save(file, "PNG")
    return file.getvalue()
