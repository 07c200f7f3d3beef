"""A cache opened for training or evaluation: which images, which annotations, which pyramids."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ..cache.annotation_copy import read_annotations
from ..cache.errors import InputError
from ..cache.header import CacheHeader
from ..cache.manifest import Manifest
from ..cache.reader import FeatureCache
from ..cache.sampler import SampleId
from .annotations import Annotations, load_annotations, parse_annotations
from .backbones import FrozenBackbone
from .plan import check_images
from .sources import Batch, CachedSource, OnlineSource, PyramidSource, batches_from

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Data:
    """image_ids: those that have both features and annotations, in the cache's order.

    fingerprint: of the cache and of the annotations.
    """

    path: Path
    header: CacheHeader
    annotations: Annotations
    image_ids: tuple[int, ...]
    source: PyramidSource
    fingerprint: str

    def batches(
        self, samples: Sequence[Sequence[SampleId]], device: torch.device, min_visible: float
    ) -> Iterator[Batch]:
        """Pyramids with targets, in order."""
        return batches_from(self.source, samples, self.annotations, device, min_visible)


def open_data(
    path: Path,
    annotations: Path | None,
    device: torch.device,
    *,
    workers: int = 1,
    prefetch: int = 4,
    images: Path | None = None,
    backbone: FrozenBackbone | None = None,
) -> Data:
    """A cache, with its own annotations or others.

    With `images` and `backbone`, the pyramids come from the backbone in the loop: the cache is then
    only the recipe, and need not even be finished. Images that failed, or that the annotations do
    not name, are left out with a warning. Raises InputError, IncompleteCache, CorruptCache.
    """
    source: PyramidSource
    if backbone is not None and images is not None:
        header = CacheHeader.read(path)
        whole = Manifest.read(path, header) is not None
        failed = FeatureCache.open(path).failed if whole else {}
        check_images(images, [i for i in header.layout.images if i.id not in failed])
        source = OnlineSource(header, images, backbone, workers)
    else:
        cache = FeatureCache.open(path)
        header, failed = cache.header, cache.failed
        source = CachedSource(cache, device, workers, prefetch)
    if annotations is not None:
        boxes, raw = load_annotations(annotations)
    else:
        raw = read_annotations(path, header)
        boxes = parse_annotations(raw, f"{path}'s annotations")
    for why, count in boxes.dropped.items():
        log.warning("%s: %d boxes %s are left out", annotations or path, count, why)
    fingerprint = f"{header.id} {hashlib.sha256(raw).hexdigest()}"
    return Data(path, header, boxes, _usable(path, header, boxes, failed), source, fingerprint)


def _usable(
    path: Path, header: CacheHeader, annotations: Annotations, failed: dict[int, str]
) -> tuple[int, ...]:
    present = [image.id for image in header.layout.images if image.id not in failed]
    if failed:
        log.warning("%s: %d images failed at extraction and are left out", path, len(failed))
    usable = tuple(image_id for image_id in present if image_id in annotations)
    others = [i for i in usable if annotations.image(i) != header.layout.image(i)]
    if others:
        mine, theirs = header.layout.image(others[0]), annotations.image(others[0])
        raise InputError(
            f"{path}: the annotations give {len(others)} of its image ids to other images, e.g. id "
            f"{mine.id} is {mine.file_name} {mine.hw} in the cache, {theirs.file_name} {theirs.hw} "
            "there; these annotations belong to another data set"
        )
    if len(usable) < len(present):
        log.warning(
            "%s: %d images are not in the annotations and are left out",
            path,
            len(present) - len(usable),
        )
    absent = sum(image.id not in header.layout for image in annotations.images)
    if absent:
        log.warning("%s: %d annotated images are not in the cache", path, absent)
    if not usable:
        raise InputError(f"{path}: no image has both features and annotations")
    return usable
