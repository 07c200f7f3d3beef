"""The canvas of a view, redrawn from the image file with the placement that the cache keeps."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image

from ....cache.errors import InputError
from ...dataset.images.decoding import ImageError, draw_canvas, load_image
from .collection import Collection


def picture(collection: Collection, image_id: int, view: int) -> dict[str, Any]:
    """Return a PNG file of the canvas, and whether the image file has changed since its extraction.

    Raises InputError (no file, or none that can be read), MissingSample, CorruptCache.
    """
    if collection.folder is None:
        raise InputError("no image files: give --images DIR")
    image = collection.cache.header.layout.image(image_id)
    entry = collection.cache.entry(image_id, view)
    try:
        upright, sha256 = load_image(
            collection.folder / image.file_name, image.hw, collection.cache.header.key.bits
        )
    except ImageError as error:
        raise InputError(f"{image.file_name}: {error}") from error
    file = io.BytesIO()
    Image.fromarray(draw_canvas(upright, entry.placement)).save(file, "PNG", compress_level=1)
    return {"png": file.getvalue(), "changed": bool(entry.sha256) and entry.sha256 != sha256}
