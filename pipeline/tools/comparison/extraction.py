"""The cost of making the training cache, measured by extracting a part of it again.

The time of an extraction is a + b x images. Extractions of two sizes give both, each the median of several
after one that warms up; neither the program's start nor the loading of the backbone counts, nor do they in
the seconds of training.
"""

from __future__ import annotations

import multiprocessing
import shutil
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median

from ....cache.codecs.codec import Codec, codec_files, codec_of
from ....cache.disk.files import read_below
from ....cache.disk.publish import publish_bytes
from ....cache.errors import InputError
from ....cache.format.annotation_copy import read_annotations
from ....cache.format.header import CacheHeader
from ....cache.format.sealed import canonical_json, parse_json
from ....cache.layout import ImageEntry
from ....cache.reader import FeatureCache
from ....cache.wording import counted
from ....cache.writer import create_cache, seal
from ...backbones.frozen import FrozenBackbone
from ...backbones.loading import load_backbone_of
from ...dataset.check import check_images
from ...dataset.images.canvases import CanvasRecipe, end_with_parent, recipe_of
from ...extraction.calibration import evenly
from ...extraction.reuse import Reused
from ...extraction.writing import write_shards
from ...machines.devices import pick_device, use_threads
from ...runs.info import MAX_BYTES
from .options import CompareOptions

NAME = "extraction.json"
MOST_IMAGES = 48
_FEW = 4  # the smaller size is the larger one divided by this
_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Extraction:
    """The cost of an extraction.

    seconds: the time for all `images` of the cache. measured: the number of images that were extracted again
    to know it, 0 where the user gave it. cache, device, threads: the conditions that it holds for.
    """

    seconds: float
    images: int
    measured: int
    cache: str
    device: str
    threads: int | None

    @property
    def origin(self) -> str:
        """A text that says how the cost is known."""
        if not self.measured:
            return "given by --extraction-seconds"
        if self.measured == self.images:
            images = counted(self.images, "image was", "images were")
            return f"measured: {images} extracted again, all of them"
        return f"measured: {self.measured} of {self.images} images were extracted again, and scaled"


def extraction_cost(options: CompareOptions, workers: int) -> Extraction:
    """Return the cost as the user gave it, as it was measured before, or as it is measured now.

    workers: the number of processes that decode images. Raises InputError, KeyMismatch and what an extraction
    raises.
    """
    header = CacheHeader.read(options.cache)
    images = len(header.layout.images)
    here = (header.id, options.device, options.threads)
    if options.extraction_seconds is not None:
        return Extraction(options.extraction_seconds, images, 0, *here)
    path = options.out / NAME
    before = _read(path)
    if before is not None and (before.cache, before.device, before.threads) == here:
        return before
    chosen = evenly(_sound_images(options.cache), MOST_IMAGES)
    assert options.images is not None
    check_images(options.images, chosen)
    folder = options.out / ".extraction"
    shutil.rmtree(folder, ignore_errors=True)
    # A separate process gives back all memory that a backbone takes, above all on a device.
    spawned = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(1, spawned, end_with_parent) as pool:
            seconds = pool.submit(_measured, options, chosen, workers, folder).result()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    extraction = Extraction(seconds, images, len(chosen), *here)
    publish_bytes(path, canonical_json(asdict(extraction)), existing="replace")
    return extraction


def _read(path: Path) -> Extraction | None:
    if not path.is_file():
        return None
    try:
        return Extraction(**parse_json(read_below(path.parent, path.name, MAX_BYTES), path))
    except TypeError as error:
        raise InputError(f"{path}: not a measured extraction; delete it") from error


def _sound_images(cache: Path) -> list[ImageEntry]:
    opened = FeatureCache.open(cache)
    return [image for image in opened.header.layout.images if image.id not in opened.failed]


def _measured(
    options: CompareOptions, chosen: Sequence[ImageEntry], workers: int, folder: Path
) -> float:
    """Return the seconds of the whole cache, from those of the chosen images and of a few of them."""
    header = CacheHeader.read(options.cache)
    device = pick_device(options.device)
    use_threads(options.threads)
    assert options.images is not None
    trial = Trial(
        header,
        read_annotations(options.cache, header),
        recipe_of(header.key, options.images),
        load_backbone_of(header.key, device, options.weights, image_vectors=True),
        codec_of(options.cache, header.key, device),
        codec_files(options.cache, header.key),
        workers,
    )
    few = evenly(chosen, max(1, len(chosen) // _FEW))
    trial.seconds(folder / "warm-up", few)
    times = [
        [trial.seconds(folder / f"{number}-{len(images)}", images) for images in (few, chosen)]
        for number in range(_ROUNDS)
    ]
    first, second = map(median, zip(*times, strict=True))
    return scaled((len(few), first), (len(chosen), second), len(header.layout.images))


def scaled(few: tuple[int, float], more: tuple[int, float], images: int) -> float:
    """Return the seconds of `images` images, from (images, seconds) of two smaller numbers of them."""
    each = (more[1] - few[1]) / (more[0] - few[0]) if more[0] > few[0] else 0.0
    if each <= 0:  # noise hides the slope: better too high an estimate than too low a one
        each = more[1] / more[0]
    return more[1] + (images - more[0]) * each


@dataclass(frozen=True, slots=True)
class Trial:
    """A part of a cache that is made again as `fdet extract` made it."""

    header: CacheHeader
    annotations: bytes
    recipe: CanvasRecipe
    backbone: FrozenBackbone
    codec: Codec
    codec_files: Mapping[str, bytes]
    workers: int

    def seconds(self, out: Path, images: Sequence[ImageEntry]) -> float:
        """Return the seconds of decoding, backbone, compression and writing, up to the finished cache."""
        layout = self.header.layout.only(images)
        started = time.monotonic()
        planned = replace(self.header, layout=layout, other_files={})
        header = create_cache(out, planned, self.annotations, self.codec_files)
        shards = header.layout.shards
        write_shards(
            out, header, shards, self.recipe, self.backbone, self.codec, self.workers, Reused()
        )
        seal(out, header)
        return time.monotonic() - started
