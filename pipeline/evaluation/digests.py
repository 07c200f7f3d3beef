"""What an evaluation is computed from, by digests."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ...cache.format.annotation_copy import read_annotations
from ...cache.format.header import CacheHeader
from ...cache.format.manifest import Manifest
from ...cache.reader import FeatureCache
from ..exported.opening import weights_of
from ..runs.evaluations import file_digest


def weights_digest(run: Path, checkpoint: str) -> str:
    """Return the sha256 of the file with the weights, of a run or of an exported detector."""
    return file_digest(weights_of(run, checkpoint))


def digests_of(cache: Path) -> dict[str, str]:
    """Return the id of a cache as "cache", and the digest of its image files as "images".

    The digest is "" where the cache is not finished.

    Raises InputError, CorruptCache.
    """
    header = CacheHeader.read(cache)
    whole = Manifest.read(cache, header) is not None
    return {"cache": header.id, "images": FeatureCache.open(cache).content if whole else ""}


def own_annotations_digest(cache: Path) -> str:
    """Return the sha256 of the annotations that a cache carries. Raises InputError, CorruptCache."""
    return hashlib.sha256(read_annotations(cache, CacheHeader.read(cache))).hexdigest()
