"""A cache opened for training or evaluation: its images, their annotations and their pyramids."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ...cache.codecs.codec import Codec, codec_of
from ...cache.errors import CorruptCache, InputError, OnCorrupt
from ...cache.format.annotation_copy import read_annotations
from ...cache.format.header import CacheHeader
from ...cache.format.manifest import Manifest
from ...cache.joined import ReadableCache, open_caches, parts_of
from ...cache.layout import Layout
from ...cache.loader import BatchReader
from ...cache.pairs import PairedCache, PairedCodec
from ...cache.reader import FeatureCache
from ...cache.sampler import SampleId
from ...cache.wording import counted
from ..dataset.annotations import Annotations, joined_annotations
from ..dataset.check import check_images
from ..dataset.classes.long_tail import class_images
from ..dataset.coco.reading import parse_annotations
from ..dataset.data_name import DataName
from ..dataset.data_set import load_annotations
from ..dataset.images.names import same_image
from ..dataset.tiles import annotations_of_tiles, cuts, whole_annotations
from ..dataset.tiling import image_of, tiles_by_image
from .batches import Batch, batches_from
from .cached import CachedSource
from .kinds import SOURCES, Residence
from .live import Backbone
from .residence import resident_samples
from .source import NoPyramids, PyramidSource

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Data:
    """An open cache, or several opened as one.

    name: the cache's path, or the paths of all. image_ids: the images that have both features and
    annotations, in the cache's order. fingerprint: the ids of the caches and the digest of the annotations.
    content: digests of the image files that cached features were made from, "" for images that are read in
    every step. second: the header of a second backbone's cache, which is read along with the first. whole:
    the annotations of whole images, where the samples are tiles of these.
    """

    name: str
    header: CacheHeader
    annotations: Annotations
    image_ids: tuple[int, ...]
    source: PyramidSource
    fingerprint: str
    second: CacheHeader | None = None
    content: str = ""
    whole: Annotations | None = None

    @property
    def truth(self) -> Annotations:
        """The annotations that detections are scored by: those of whole images."""
        return self.annotations if self.whole is None else self.whole

    @property
    def truth_ids(self) -> tuple[int, ...]:
        """The images that are scored; of tiled images those of which all tiles are there."""
        if self.whole is None:
            return self.image_ids
        there = set(self.image_ids)
        tiles = tiles_by_image(self.header.layout.images)
        return tuple(i for i, own in tiles.items() if all(tile.id in there for tile in own))

    def samples_of(self, image_ids: Iterable[int]) -> tuple[int, ...]:
        """Return the samples, in the cache's order, that show these of the images of `truth`."""
        if self.whole is None:
            return tuple(image_ids)
        wanted = set(image_ids)
        return tuple(tile for tile in self.image_ids if image_of(tile) in wanted)

    def with_annotations(self, change: Callable[[Annotations], Annotations]) -> Data:
        """Return the data with annotations that are changed, e.g. to the classes of a run."""
        whole = None if self.whole is None else change(self.whole)
        return replace(self, annotations=change(self.annotations), whole=whole)

    @property
    def headers(self) -> tuple[CacheHeader, ...]:
        """The header of each backbone's cache."""
        return (self.header,) if self.second is None else (self.header, self.second)

    @property
    def resident(self) -> bool:
        """Return whether samples stay in memory."""
        return isinstance(self.source, CachedSource) and self.source.reader.resident is not None

    def batches(
        self, samples: Sequence[Sequence[SampleId]], device: torch.device, min_visible: float
    ) -> Iterator[Batch]:
        """Yield the batches of the steps, in order, loaded ahead."""
        counts = class_images(self.annotations, self.image_ids)
        return batches_from(self.source, samples, self.annotations, device, min_visible, counts)


def open_cached(
    paths: Sequence[Path],
    annotations: DataName | Path | None,
    device: torch.device,
    *,
    second: Sequence[Path] = (),
    workers: int = 1,
    prefetch: int = 4,
    resident: Residence = "none",
    on_corrupt: OnCorrupt = "raise",
    sharing: int = 1,
    room: int | None = None,
    masks: bool = False,
) -> Data:
    """Open one cache, or several read as one, with their own annotations or others.

    Images that failed, or that the annotations do not name, are left out with a warning. second: the caches
    of a second backbone, whose maps are read along with those of the first. sharing: the number of processes
    of this machine that open the cache for the same run. room: as `resident_samples` takes it. masks: whether
    to read the objects' outlines too. Raises InputError, IncompleteCache, CorruptCache, KeyMismatch.
    """
    cache = open_caches(paths)
    own = codec_of(paths[0], cache.header.key, device)
    read: ReadableCache | PairedCache = cache
    codec: Codec | PairedCodec = own
    others: list[CacheHeader] = []
    if second:
        read = PairedCache(cache, open_caches(second))
        others = [read.second.header]
        codec = PairedCodec(own, codec_of(second[0], others[0].key, device))
    kept = resident_samples(resident, cache.header, device, sharing, room, others)
    reader = BatchReader(read, pin=device.type == "cuda", resident=kept, on_corrupt=on_corrupt)
    source = CachedSource(reader, codec, device, workers, prefetch)
    roots = {part.root: part.header for part in parts_of(cache)}
    data = _data(roots, annotations, cache.header, read.failed, source, masks)
    return replace(data, second=others[0] if others else None, content=read.content)


def open_live(
    path: Path,
    annotations: DataName | Path | None,
    images: Path,
    backbone: Backbone,
    workers: int,
    *,
    source: str = "online",
    masks: bool = False,
) -> Data:
    """Open a backbone in the loop: the cache is only the recipe, and need not even be finished.

    source: the name of one of the live SOURCES.

    Raises as open_cached does.
    """
    made = SOURCES[source].make(CacheHeader.read(path), images, backbone, workers)
    return replace(open_images(path, annotations, images, masks=masks), source=made)


def open_images(
    path: Path, annotations: DataName | Path | None, images: Path, *, masks: bool = False
) -> Data:
    """Open the images of a cache, finished or not, and their annotations, without any pyramids.

    Raises as open_cached does.
    """
    header = CacheHeader.read(path)
    whole = Manifest.read(path, header) is not None
    failed = FeatureCache.open(path).failed if whole else {}
    check_images(images, [i for i in header.layout.images if i.id not in failed])
    return _data({path: header}, annotations, header, failed, NoPyramids(), masks)


def _data(
    roots: Mapping[Path, CacheHeader],
    annotations: DataName | Path | None,
    header: CacheHeader,
    failed: Mapping[int, str],
    source: PyramidSource,
    masks: bool,
) -> Data:
    name = " + ".join(map(str, roots))
    if annotations is not None:
        boxes, raw = load_annotations(annotations, outlines=masks)
        parts = [(boxes, of_root.layout) for of_root in roots.values()]
    else:
        parts, raw = _own_annotations(roots, masks)
        boxes = _joined(parts)
    for warning in boxes.warnings():
        log.warning("%s: %s", annotations or name, warning)
    ids = " ".join(of_root.id for of_root in roots.values())
    fingerprint = f"{ids} {hashlib.sha256(raw).hexdigest()}"
    whole = None
    if any(cuts(part, layout.images) for part, layout in parts):
        whole = _joined([whole_annotations(part, layout.images) for part, layout in parts])
        boxes = _joined([(annotations_of_tiles(p, of.images), of) for p, of in parts])
    usable = _usable(name, header, boxes, failed, whole)
    known = boxes.named_as(header.layout.images)
    return Data(name, header, known, usable, source, fingerprint, whole=whole)


def _joined(parts: Sequence[tuple[Annotations, Container[int]]]) -> Annotations:
    """Return the annotations of all parts, of each those of its images; of a single part all of them."""
    return parts[0][0] if len(parts) == 1 else joined_annotations(parts)


def _own_annotations(
    roots: Mapping[Path, CacheHeader], masks: bool
) -> tuple[list[tuple[Annotations, Layout]], bytes]:
    """Return the annotations that each cache carries, with its layout, and the bytes of all."""
    parts, copies = [], []
    parsed: dict[bytes, Annotations] = {}
    for path, header in roots.items():
        try:
            copies.append(read_annotations(path, header))
        except CorruptCache as error:
            raise CorruptCache(f"{error}; give --annotations FILE instead") from error
        if copies[-1] not in parsed:
            parsed[copies[-1]] = parse_annotations(
                copies[-1], f"{path}'s annotations", outlines=masks
            )
        parts.append((parsed[copies[-1]], header.layout))
    return parts, b"".join(copies)


def _usable(
    name: str,
    header: CacheHeader,
    annotations: Annotations,
    failed: Mapping[int, str],
    whole: Annotations | None,
) -> tuple[int, ...]:
    present = [image.id for image in header.layout.images if image.id not in failed]
    if failed:
        one = "image failed at extraction and is left out"
        several = "images failed at extraction and are left out"
        log.warning("%s: %s", name, counted(len(failed), one, several))
    usable = tuple(image_id for image_id in present if image_id in annotations)
    others = [i for i in usable if not same_image(annotations.image(i), header.layout.image(i))]
    if others:
        mine, theirs = header.layout.image(others[0]), annotations.image(others[0])
        raise InputError(
            f"{name}: the annotations give {len(others)} of its image ids to other images, e.g. id "
            f"{mine.id} is {mine.file_name} {mine.hw} in the cache, {theirs.file_name} {theirs.hw} "
            "there; these annotations belong to another data set"
        )
    if len(usable) < len(present):
        one = "image is not in the annotations and is left out"
        several = "images are not in the annotations and are left out"
        log.warning("%s: %s", name, counted(len(present) - len(usable), one, several))
    absent = sum(image.id not in header.layout for image in annotations.images)
    if whole is not None:
        cut = {image_of(image.id) for image in header.layout.images}
        absent = sum(image.id not in cut for image in whole.images)
    if absent:
        unknown = counted(absent, "annotated image is", "annotated images are")
        log.warning("%s: %s not in the cache", name, unknown)
    if not usable:
        raise InputError(f"{name}: no image has both features and annotations")
    return usable
