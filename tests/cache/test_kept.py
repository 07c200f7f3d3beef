"""Caches that an older fdet left are read, and give the values that they had (tests/kept)."""

import hashlib
import json
from pathlib import Path

import pytest

from fdet.cache.reader import FeatureCache
from fdet.cache.verify import verify

KEPT = Path(__file__).parents[1] / "kept"
CACHES = [KEPT / "format-7" / "cache.fdet", KEPT / "cache-format-3" / "hdf5.fdet"]
MAPS = KEPT / "cache-format-3" / "maps.json"


def digests(cache):
    """Of the stored maps of every sample, by image id and view."""
    found = {}
    for image_id in cache.image_ids:
        for view, name in enumerate(cache.header.layout.views):
            sample = cache.sample(image_id, view)
            maps = b"".join(x.tobytes() for x in sample.stored)
            found[f"{image_id} {name}"] = hashlib.sha256(maps).hexdigest()
    return found


def test_there_is_one_of_each_store():
    assert {FeatureCache.open(path).header.store for path in CACHES} == {"zarr", "hdf5"}


@pytest.mark.parametrize("path", CACHES, ids=["zarr", "hdf5"])
def test_a_kept_cache_is_sound_and_has_the_values_that_it_had(path):
    assert verify(path).sound
    assert digests(FeatureCache.open(path)) == json.loads(MAPS.read_text())
