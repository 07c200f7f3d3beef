"""The choice of the images that pictures are made of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...cache.errors import InputError
from ...cache.layout import ImageEntry
from ..dataset.annotations import Annotations
from ..dataset.images.decoding import ImageError, read_header

COUNT = 4


def choose_images(
    annotations: Annotations, image_ids: Sequence[int], count: int = COUNT
) -> list[ImageEntry]:
    """Choose images spread evenly over the ids, and always the same ones.

    Only images with objects are chosen where there are any.
    """
    filled = [i for i in sorted(image_ids) if len(annotations.of_image(i))] or sorted(image_ids)
    count = min(count, len(filled))
    return [
        annotations.image(filled[(2 * k + 1) * len(filled) // (2 * count)]) for k in range(count)
    ]


def check_pictured(images: Path, chosen: Sequence[ImageEntry]) -> None:
    """Check the files of the chosen images. Raises InputError where one is missing or differs in size."""
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
