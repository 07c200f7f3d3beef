"""Facts about a cache and its images, as plain values that are sent as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from ....cache.errors import shown
from ....cache.info import describe
from .collection import Collection

PAGE = 200


def about(collection: Collection) -> dict[str, Any]:
    """Return the facts about the whole cache that the page needs before it shows anything."""
    cache, annotations = collection.cache, collection.annotations
    levels = cache.header.key.levels.levels
    return {
        "name": cache.root.name,
        "facts": {name: str(value) for name, value in describe(cache.root).items()},
        "views": list(cache.views),
        "levels": [{"name": v.name, "stride": v.stride, "channels": v.channels} for v in levels],
        "classes": [shown(name) for name in annotations.class_names] if annotations else [],
        "annotated": annotations is not None,
        "pictured": collection.folder is not None,
        "colours": _colours(),
    }


def _colours() -> list[list[int]]:
    """Return the 256 colours of cividis.

    It looks the same with any kind of colour vision, and its brightness grows evenly.
    """
    from matplotlib import colormaps

    shades = colormaps["cividis"](np.arange(256), bytes=True)[:, :3]
    return [[int(v) for v in shade] for shade in shades]


def list_images(
    collection: Collection,
    words: str,
    show: str,
    label: int | None,
    offset: int,
    around: int | None,
) -> dict[str, Any]:
    """Return a page of the images whose name or id contains all `words`.

    show: "all", "boxes" or "failed". label: the class of which an image must have an object.
    around: the id of an image that the page must hold if it matches; `offset` counts otherwise.
    """
    found = list(_matching(collection, words.casefold().split(), show, label))
    if around in found:
        offset = found.index(around) // PAGE * PAGE
    failed, counts, images = collection.cache.failed, collection.box_counts, collection.images
    page = [
        {
            "id": str(i),
            "name": shown(images[i].file_name),
            "boxes": counts.get(i),
            "failed": failed.get(i),
        }
        for i in found[offset : offset + PAGE]
    ]
    return {"total": len(found), "offset": offset, "page": PAGE, "images": page}


def _matching(
    collection: Collection, words: list[str], show: str, label: int | None
) -> Iterable[int]:
    of_class = _images_of(collection, label)
    for image in collection.images.values():
        text = f"{image.id} {image.file_name}".casefold()
        if show == "failed" and image.id not in collection.cache.failed:
            continue
        if show == "boxes" and not collection.box_counts.get(image.id):
            continue
        if (of_class is None or image.id in of_class) and all(word in text for word in words):
            yield image.id


def _images_of(collection: Collection, label: int | None) -> set[int] | None:
    """Return the ids of the images with an object of a class, or None for all images."""
    if label is None or collection.annotations is None:
        return None
    annotations = collection.annotations
    owners = np.searchsorted(annotations.starts, np.arange(len(annotations.packed)), "right") - 1
    chosen = np.unique(owners[annotations.packed.labels == label])
    return {annotations.images[k].id for k in chosen} & collection.box_counts.keys()


def sample_facts(collection: Collection, image_id: int, view: int) -> dict[str, Any]:
    """Return how an image lies on its canvas, its boxes there, and the bytes of its levels on the disk.

    Raises MissingSample, CorruptCache.
    """
    image, entry = (
        collection.cache.header.layout.image(image_id),
        collection.cache.entry(image_id, view),
    )
    placement = entry.placement
    return {
        "id": str(image.id),
        "name": shown(image.file_name),
        "failed": None if entry.ok else entry.status,
        "image_hw": placement.image_hw,
        "canvas_hw": placement.canvas_hw,
        "content_hw": placement.content_hw,
        "scale": placement.scale,
        "shift": placement.shift,
        "flip": placement.flip,
        "sha256": entry.sha256,
        "bytes": [chunk.length for chunk in entry.chunks],
        "boxes": _boxes(collection, image_id, view),
    }


def _boxes(collection: Collection, image_id: int, view: int) -> list[dict[str, Any]] | None:
    """Return the boxes on the canvas of a view, clipped to it, or None for an image without annotations."""
    if collection.annotations is None or image_id not in collection.box_counts:
        return None
    objects = collection.annotations.of_image(image_id)
    placement = collection.cache.entry(image_id, view).placement
    boxes = torch.from_numpy(np.ascontiguousarray(objects.boxes))
    on_canvas, shares = placement.to_canvas(boxes).tolist(), placement.visible_share(boxes).tolist()
    rows = zip(on_canvas, shares, objects.labels.tolist(), objects.crowd.tolist(), strict=True)
    return [
        {"box": box, "visible": share, "label": label, "crowd": crowd}
        for box, share, label, crowd in rows
    ]
