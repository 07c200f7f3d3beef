"""What an evaluation is computed from, by digests."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ...cache.format.annotation_copy import read_annotations
from ...cache.format.content import digest_of_images
from ...cache.format.header import CacheHeader
from ...cache.format.manifest import Manifest
from ...cache.reader import FeatureCache
from ..dataset.tiling import image_of, is_tiled
from ..exported.opening import weights_of
from ..runs.evaluations import file_digest


def weights_digest(run: Path, checkpoint: str) -> str:
    """Return the sha256 of the file with the weights, of a run or of an exported detector."""
    return file_digest(weights_of(run, checkpoint))


def digests_of(cache: Path) -> dict[str, str]:
    """Return the id of a cache as "cache", and the digest of its image files as "images".

    Tiles have the digest of the images that they are of, as a cache of whole images has. The digest is ""
    where the cache is not finished.

    Raises InputError, CorruptCache.
    """
    header, images = CacheHeader.read(cache), content_of(cache)
    if images and is_tiled(header.layout.images):
        files = FeatureCache.open(cache).image_files
        images = digest_of_images({image_of(tile): sha256 for tile, sha256 in files.items()})
    return {"cache": header.id, "images": images}


def content_of(cache: Path) -> str:
    """Return the digest of the image files of all samples of a cache, "" where it is not finished.

    Raises InputError, CorruptCache.
    """
    whole = Manifest.read(cache, CacheHeader.read(cache)) is not None
    return FeatureCache.open(cache).content if whole else ""


def own_annotations_digest(cache: Path) -> str:
    """Return the sha256 of the annotations that a cache carries. Raises InputError, CorruptCache."""
    return hashlib.sha256(read_annotations(cache, CacheHeader.read(cache))).hexdigest()
