"""A few images, and what the chosen runs detect in each, as plain values that a page draws.

Boxes are [x, y, width, height] in px of the image file, as in COCO.
"""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from ....cache.errors import CorruptCache, FdetError, InputError
from ....cache.format.annotation_copy import read_annotations
from ....cache.format.header import CacheHeader
from ....cache.layout import ImageEntry
from ...dataset.annotations import Annotations
from ...dataset.coco.reading import parse_annotations
from ...dataset.images.decoding import ImageError, load_image
from ...dataset.images.files import find_images
from ...dataset.tiles import photographs_in
from ...evaluation.coco import to_coco_results
from ...evaluation.detecting import detect_image, load_trained
from ...machines.devices import pick_device, use_threads
from ...machines.progress import progress_line
from ...pictures.choice import check_pictured, choose_images
from ...runs.loading import codec_of_run
from ...runs.pairing import labelled
from .records import RunRecord
from .scores import detections_of

log = logging.getLogger(__name__)

IMAGES = 6
# The maximum number of runs to choose from; the page carries the boxes of each.
HEADS = 12
LARGEST_SIDE = 640  # px
QUALITY = 82


@dataclass(frozen=True, slots=True)
class GalleryImage:
    """An image of the gallery.

    uri: its picture as a data: URI. size: its size (w, h) in px of the file. objects: its annotated objects,
    each {"box", "label", "crowd"}, None where there are no annotations.
    """

    name: str
    uri: str
    size: tuple[int, int]
    objects: list[dict[str, Any]] | None


@dataclass(frozen=True, slots=True)
class Gallery:
    """The images, and what runs detect in them.

    found: by the name of a run, the detections in each image, best first, each {"box", "label", "score"}.
    A label is a position in `classes`.
    """

    classes: tuple[str, ...] = ()
    images: list[GalleryImage] = field(default_factory=list)
    found: Mapping[str, list[list[dict[str, Any]]]] = field(default_factory=dict)


def choose_of_cache(val: Path, images: Path) -> tuple[Annotations, list[ImageEntry]]:
    """Return the annotations of a validation cache and a few of its images, the same for all runs.

    Raises InputError where an image file is missing.
    """
    header = CacheHeader.read(val)
    annotations = parse_annotations(read_annotations(val, header), f"{val}'s annotations")
    held = photographs_in(annotations, header.layout.images)
    ids = [image.id for image in held if image.id in annotations]
    chosen = choose_images(annotations, ids, IMAGES)
    check_pictured(images, chosen)
    return annotations, chosen


def gallery_of_cache(records: Sequence[RunRecord], val: Path, images: Path) -> Gallery:
    """Return a gallery of what the evaluations of runs on a validation cache found.

    Raises InputError where an image file is missing.
    """
    annotations, chosen = choose_of_cache(val, images)
    for record in records[:HEADS]:
        if record.info is not None:
            with suppress(InputError):  # Those of other classes are not in the gallery.
                annotations = labelled(record.info, annotations, str(val))
    labels = {class_id: k for k, class_id in enumerate(annotations.class_ids)}
    found = {}
    for record in records[:HEADS]:
        try:
            results = detections_of(record, val)
            if results is not None:
                wanted: dict[int, list[Any]] = {image.id: [] for image in chosen}
                for result in results:
                    if result["image_id"] in wanted:
                        wanted[result["image_id"]].append(_detection(result, labels))
                found[record.name] = list(map(_best_first, wanted.values()))
        except (CorruptCache, KeyError, TypeError, ValueError, AttributeError) as error:
            log.warning("%s is not in the gallery: %r", record.name, error)
    shown, bits = [], CacheHeader.read(val).key.bits
    for entry in chosen:
        image, _ = load_image(images / entry.file_name, entry.hw, bits)
        shown.append(_shown(entry.file_name, image, _objects(annotations, entry.id)))
    return Gallery(annotations.class_names, shown, found)


def choose_of_files(images: Path, *, quiet: bool = False) -> list[tuple[Path, str]]:
    """Return a few image files and their names, evenly spread over a folder.

    quiet: whether to log nothing of what the folder holds besides images. Raises InputError where there is
    none.
    """
    files = find_images([images], quiet=quiet)
    count = min(IMAGES, len(files))
    return [files[(2 * k + 1) * len(files) // (2 * count)] for k in range(count)]


def gallery_of_files(
    records: Sequence[RunRecord], images: Path, device: str, threads: int | None
) -> Gallery:
    """Return a gallery of image files that pass through the backbone and head of each run.

    There is no ground truth. Raises InputError where no image can be read.
    """
    chosen = choose_of_files(images)
    bits = _bits_of(records[0]) if records else 0
    pictures = {path: _readable(path, bits) for path, _ in chosen}
    read = {path: image for path, image in pictures.items() if image is not None}
    if not read:
        raise InputError(f"--images {images}: none of {len(chosen)} images can be read")
    names = dict(chosen)
    shown = [_shown(names[path], image, None) for path, image in read.items()]
    found, classes = {}, tuple[str, ...]()
    with progress_line("gallery", len(records[:HEADS])) as progress:
        for record in records[:HEADS]:
            assert record.info is not None
            progress.note(record.name)
            if classes in ((), record.info.class_names):
                classes = record.info.class_names
                try:
                    found[record.name] = _predicted(record, list(read), device, threads)
                except (FdetError, ImageError) as error:
                    log.warning("%s is not in the gallery: %s", record.name, error)
            progress.advance()
    return Gallery(classes, shown, found)


def _predicted(
    record: RunRecord, files: Sequence[Path], device: str, threads: int | None
) -> list[list[dict[str, Any]]]:
    info = record.info
    assert info is not None
    on = pick_device(device)
    use_threads(threads if threads is not None else info.key.threads or None)
    detector, backbone = load_trained(record.folder, info, "best", on, None)
    codec = codec_of_run(record.folder, info, on)
    labels = {class_id: k for k, class_id in enumerate(info.class_ids)}
    found = []
    for file in files:
        image, _ = load_image(file, bits=info.key.bits)
        detections = detect_image(image, info, backbone, detector, codec)
        sizes = {0: (image.height, image.width)}
        results = to_coco_results({0: detections}, info.class_ids, sizes)
        found.append(_best_first([_detection(result, labels) for result in results]))
    return found


def _bits_of(record: RunRecord) -> int:
    return record.info.key.bits if record.info else 0


def _readable(path: Path, bits: int) -> Image.Image | None:
    try:
        return load_image(path, bits=bits)[0]
    except ImageError as error:
        log.warning("%s is not in the gallery: %s", path, error)
        return None


def _detection(result: Mapping[str, Any], labels: Mapping[int, int]) -> dict[str, Any]:
    return {
        "box": [round(float(side), 1) for side in result["bbox"]],
        "label": labels[result["category_id"]],
        "score": round(float(result["score"]), 4),
    }


def _best_first(detections: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(detections, key=lambda detection: -detection["score"])


def _objects(annotations: Annotations, image_id: int) -> list[dict[str, Any]]:
    objects = annotations.of_image(image_id)
    boxes = objects.boxes.copy()
    boxes[:, 2:] -= boxes[:, :2]
    columns = (boxes.round(1).tolist(), objects.labels.tolist(), objects.crowd.tolist())
    return [
        {"box": box, "label": label, "crowd": crowd}
        for box, label, crowd in zip(*columns, strict=True)
    ]


def _shown(name: str, image: Image.Image, objects: list[dict[str, Any]] | None) -> GalleryImage:
    small = image.copy()
    small.thumbnail((LARGEST_SIDE, LARGEST_SIDE), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    small.save(file, "JPEG", quality=QUALITY, optimize=True)
    uri = f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
    return GalleryImage(name, uri, image.size, objects)
