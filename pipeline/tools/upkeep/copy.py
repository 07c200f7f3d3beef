"""`fdet cache copy`: the copy of a finished cache, or of some of its levels or images, at another path.

A whole copy has the same files. A partial copy is a cache of its own, whose frames are those of the source.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from threading import Lock

from ....cache.codecs.calibration import calibration_digest
from ....cache.codecs.codec import codec_files
from ....cache.disk.publish import only_writer, remove_leftovers
from ....cache.errors import InputError
from ....cache.format.annotation_copy import read_annotations
from ....cache.format.header import CacheHeader
from ....cache.layout import ImageEntry, Layout
from ....cache.pyramid import PyramidSpec
from ....cache.reader import FeatureCache
from ....cache.stores import STORES
from ....cache.transfer import copy_files
from ....cache.wording import counted
from ...dataset.annotations import Annotations
from ...dataset.coco.reading import parse_annotations
from ...dataset.data_name import DataName
from ...dataset.data_set import load_annotations
from ...dataset.images.names import same_image
from ...dataset.tiles import cuts
from ...dataset.tiling import photographs_of, tiles_by_image
from ...extraction.checks import refuse_foreign_folder
from ...machines.progress import progress_line
from .checks import Part, copied_levels
from .convert import created, put_frames, write_samples


def copy(source: Path, out: Path, part: Part) -> tuple[int, int]:
    """Make `out`, or finish it, and return its number of samples and bytes.

    Every byte is checked as it is copied. Raises InputError, CorruptCache (of the source), KeyMismatch
    (another cache is in `out`), StorageError; finished shards survive all of them.
    """
    cache = FeatureCache.open(source)
    if part == Part():
        _copy_whole(cache, out)
        return cache.manifest.samples, cache.manifest.stored_bytes
    header, annotations, files = _header_of(cache, part)
    numbers = [cache.header.key.levels.names.index(name) for name in header.key.levels.names]
    with only_writer(out, "rank-0-of-1"):
        header = created(out, header, annotations, files)
        manifest = write_samples("copy", out, header, partial(put_frames, cache, numbers))
    return manifest.samples, manifest.stored_bytes


def _copy_whole(cache: FeatureCache, out: Path) -> None:
    lock = Lock()
    with (
        only_writer(out, "rank-0-of-1"),
        progress_line("copy", cache.manifest.stored_bytes) as progress,
    ):
        refuse_foreign_folder(out)

        def advance(size: int) -> None:
            with lock:
                progress.advance(size, "MB/s")

        copy_files(cache, out, advance)
        remove_leftovers(out)


def _header_of(cache: FeatureCache, part: Part) -> tuple[CacheHeader, bytes, dict[str, bytes]]:
    """Return the header of the copy, the bytes of its annotations, and the files of its codec."""
    current = cache.header
    levels = copied_levels(current.key.levels, part)
    files = _files_of(codec_files(cache.root, current.key), levels)
    images, annotations = _images(cache, part)
    key = current.key.in_container(STORES[current.store].versions())
    key = replace(key, levels=levels, calibration=calibration_digest(files))
    header = replace(current, key=key, layout=current.layout.only(images), other_files={})
    return header, annotations, files


def _files_of(files: Mapping[str, bytes], levels: PyramidSpec) -> dict[str, bytes]:
    return {name: data for name, data in files.items() if name.split("/")[1] in levels.names}


def _images(cache: FeatureCache, part: Part) -> tuple[Sequence[ImageEntry], bytes]:
    """Return the images in the order of the annotations, and the bytes of the annotations."""
    layout = cache.header.layout
    if part.images_from is not None:
        annotations, raw = load_annotations(part.images_from)
        held = _held(annotations, layout)
        _refuse_others(cache.root, held, annotations.images, part.images_from)
    else:
        raw = read_annotations(cache.root, cache.header)
        annotations = parse_annotations(raw, f"{cache.root}'s annotations")
        held = _held(annotations, layout)
    images = [image for image in annotations.images if image.id in held][: part.limit]
    return [copied for image in images for copied in held[image.id].parts], raw


@dataclass(frozen=True, slots=True)
class _Held:
    """An annotated image that a cache holds, and the images of the layout that are parts of it, or it."""

    image: ImageEntry
    parts: Sequence[ImageEntry]


def _held(annotations: Annotations, layout: Layout) -> dict[int, _Held]:
    """Return the images that a cache holds, by their ids in the annotations."""
    images = layout.images
    if not cuts(annotations, images):
        return {image.id: _Held(image, [image]) for image in images}
    tiles = tiles_by_image(images)
    return {whole.id: _Held(whole, tiles[whole.id]) for whole in photographs_of(images)}


def _refuse_others(
    cache: Path, held: Mapping[int, _Held], images: Sequence[ImageEntry], path: DataName | Path
) -> None:
    absent = [image.id for image in images if image.id not in held]
    if absent:
        raise InputError(
            f"--images-from {path}: {len(absent)} of its {counted(len(images), 'image')} not in "
            f"{cache}, e.g. id {absent[0]}; leave them out, or extract them"
        )
    for image in images:
        found = held[image.id].image
        if not same_image(found, image):
            raise InputError(
                f"--images-from {path}: image id {image.id} is {image.file_name} {image.hw} there, "
                f"{found.file_name} {found.hw} in {cache}; they are of different data sets"
            )
