"""A finished cache opened for browsing, with its annotations and, if given, its image files."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch

from ....cache.codecs.codec import Codec, codec_of
from ....cache.errors import CorruptCache, InputError
from ....cache.format.annotation_copy import read_annotations
from ....cache.layout import ImageEntry
from ....cache.loader import load_batch
from ....cache.reader import FeatureCache
from ....cache.sampler import SampleId
from ...dataset.annotations import Annotations
from ...dataset.coco.reading import parse_annotations
from ...dataset.data_name import DataName
from ...dataset.data_set import load_annotations
from ...dataset.images.names import same_image
from ...dataset.tiles import annotations_of_tiles
from .checks import check_browsing
from .components import Components, fit_components

log = logging.getLogger(__name__)

Maps = npt.NDArray[np.float32]
# Principal components are fitted to at most this many images, and this many cells of each.
COMPONENT_IMAGES, COMPONENT_CELLS = 8, 256
_KEPT_SAMPLES = 3

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True)
class Collection:
    """A finished cache and what is needed to browse it.

    annotations: the annotations of its images, None where the cache's copy of them is damaged.
    folder: the folder of the image files.
    """

    cache: FeatureCache
    codec: Codec
    annotations: Annotations | None
    folder: Path | None

    @cached_property
    def images(self) -> dict[int, ImageEntry]:
        """All images by id, in the order of their slots, including failed ones."""
        return {image.id: image for image in self.cache.header.layout.images}

    @cached_property
    def box_counts(self) -> dict[int, int]:
        """The number of boxes of each image of the cache that the annotations name, by image id."""
        if self.annotations is None:
            return {}
        counts = np.diff(self.annotations.starts).tolist()
        pairs = zip(self.annotations.images, counts, strict=True)
        return {
            image.id: count
            for image, count in pairs
            if image.id in self.images and same_image(self.images[image.id], image)
        }

    @cached_property
    def maps(self) -> Callable[[SampleId], tuple[Maps, ...]]:
        """A function from a sample to its maps (C, H, W), which raises MissingSample, CorruptCache."""
        return _cached(self._decoded, _KEPT_SAMPLES)

    @cached_property
    def components(self) -> Callable[[int], Components]:
        """A function from a level to its principal components over a few images; it raises CorruptCache."""
        return _cached(self._components, len(self.codec.levels))

    def _decoded(self, sample: SampleId) -> tuple[Maps, ...]:
        pyramid = load_batch(self.cache, [sample]).decode(self.codec, "cpu")
        return tuple(x[0].numpy() for x in pyramid.maps)

    def _components(self, level: int) -> Components:
        ids = self.cache.image_ids
        chosen = ids[:: -(-len(ids) // COMPONENT_IMAGES)] if ids else ()
        cells, why = [], CorruptCache(f"{self.cache.root}: no image has features")
        for image_id in chosen:
            try:
                cells.append(self._content_cells(image_id, level))
            except CorruptCache as error:
                why = error
        if not cells:
            raise why
        return fit_components(np.concatenate(cells), len(cells))

    def _content_cells(self, image_id: int, level: int) -> Maps:
        """Return cells (N, C) of the plain view that show the image, evenly spread."""
        rows, columns = self.cache.entry(image_id).placement.content_hw
        stride = self.cache.header.key.levels.strides[level]
        shown = self._decoded((image_id, 0))[level][
            :, : -(-rows // stride), : -(-columns // stride)
        ]
        cells = shown.reshape(len(shown), -1).T
        return cells[:: -(-len(cells) // COMPONENT_CELLS)]


def open_collection(
    path: Path, images: Path | None, annotations: DataName | Path | None
) -> Collection:
    """Open a finished cache for browsing. Raises InputError, IncompleteCache, CorruptCache."""
    check_browsing(path, images, annotations)
    cache = FeatureCache.open(path)
    codec = codec_of(path, cache.header.key, torch.device("cpu"))
    collection = Collection(cache, codec, _annotations(cache, annotations), images)
    if annotations is not None and not collection.box_counts:
        raise InputError(
            f"--annotations {annotations}: none of its images is in {path} (same id, file name and "
            "size); they belong to another data set"
        )
    return collection


def _annotations(cache: FeatureCache, path: DataName | Path | None) -> Annotations | None:
    """Return the annotations of the file if one is given, else the cache's own where these are readable."""
    images = cache.header.layout.images
    if path is not None:
        return annotations_of_tiles(load_annotations(path)[0], images)
    try:
        raw = read_annotations(cache.root, cache.header)
        own = parse_annotations(raw, f"{cache.root}'s annotations")
        return annotations_of_tiles(own, images)
    except (CorruptCache, InputError) as error:
        log.warning("no boxes: %s; give --annotations FILE", error)
        return None


def _cached(function: Callable[[K], V], count: int) -> Callable[[K], V]:
    """Wrap a function so that it keeps its last results, and threads never compute one twice at once."""
    remembered, lock = lru_cache(count)(function), threading.Lock()

    def locked(argument: K) -> V:
        with lock:
            return remembered(argument)

    return locked
