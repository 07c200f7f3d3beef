"""The images that a file is calibrated or checked on, evenly spaced among those of a cache."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from ....cache.errors import InputError
from ...dataset.annotations import Annotations
from ...dataset.images.decoding import ImageError, file_and_window, load_image
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

    @contextmanager
    def as_file(self, bits: int) -> Iterator[Path]:
        """Yield the path of a file that other programs open too: a window is written as one."""
        if file_and_window(self.path)[1] is None:
            yield self.path
            return
        with TemporaryDirectory() as folder:
            path = Path(folder) / "window.png"
            self.load(bits).save(path)
            yield path


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
