"""The images that a file is calibrated or checked on, evenly spaced among those of a cache."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from ....cache.errors import InputError
from ...dataset.annotations import Annotations
from ...dataset.images.decoding import ImageError, load_image
from ...runs.info import RunInfo
from ...runs.pairing import labelled
from ...sources.data import open_images


@dataclass(frozen=True, slots=True)
class Sample:
    """An image file, with its id in the annotations."""

    image_id: int
    path: Path

    def load(self, bits: int) -> Image.Image:
        """Return the upright RGB image. bits: as in `CacheKey`. Raises InputError."""
        try:
            return load_image(self.path, None, bits)[0]
        except ImageError as error:
            raise InputError(f"{self.path}: {error}") from error


@dataclass(frozen=True, slots=True)
class Samples:
    """Some images of a cache, and the annotations of all with the labels of the run."""

    images: tuple[Sample, ...]
    annotations: Annotations


def samples_of(cache: Path, images: Path, count: int, info: RunInfo) -> Samples:
    """Return `count` images of a cache, evenly spaced; 0 stands for all. Raises InputError, CorruptCache."""
    data = open_images(cache, None, images, masks=info.config.masks)
    annotations = labelled(info, data.annotations, f"annotations of {cache}")
    ids, total = data.image_ids, len(data.image_ids)
    number = min(count or total, total)
    chosen = [ids[k * total // number] for k in range(number)]
    layout = data.header.layout
    files = tuple(Sample(i, images / layout.image(i).file_name) for i in chosen)
    return Samples(files, annotations)
