import json
import shutil
from dataclasses import replace

import pytest

from fdet.cache.errors import CorruptCache, IncompleteCache
from fdet.cache.header import canonical_json, sealed_json
from fdet.cache.manifest import NAME, Manifest
from fdet.cache.publish import publish_bytes
from fdet.cache.reader import FeatureCache
from fdet.cache.records import record_path

from .handmade import attempt, flipped_in, make_cache, make_header

MANIFEST = Manifest("ab" * 32, {"32x32-0": "cd" * 32}, samples=6, failed=1, stored_bytes=12345)


def test_a_manifest_survives_the_disk(tmp_path):
    publish_bytes(tmp_path / NAME, MANIFEST.to_bytes())
    assert Manifest.read(tmp_path, MANIFEST.cache_id) == MANIFEST


def test_without_a_manifest_the_cache_is_not_whole(tmp_path):
    assert Manifest.read(tmp_path, MANIFEST.cache_id) is None


def test_every_flipped_bit_is_found(root):
    expected = FeatureCache.open(root).manifest
    for position in flipped_in(root / NAME):
        found = attempt(Manifest.read, root, expected.cache_id)
        assert found == expected or (isinstance(found, CorruptCache) and NAME in str(found)), (
            position
        )


@pytest.mark.parametrize(
    "change", [{"samples": 7}, {"failed": 0}, {"bytes": 1}, {"records": {}}, {"bytes": 1e308}]
)
def test_an_altered_manifest_is_found(tmp_path, change):
    data = {**json.loads(MANIFEST.to_bytes()), **change}
    (tmp_path / NAME).write_bytes(canonical_json(data))
    with pytest.raises(CorruptCache, match="its own digest"):
        Manifest.read(tmp_path, MANIFEST.cache_id)


def test_a_number_beyond_all_floats_is_found(tmp_path):
    (tmp_path / NAME).write_bytes(MANIFEST.to_bytes().replace(b"12345", b"1e345"))
    with pytest.raises(CorruptCache, match="its own digest"):
        Manifest.read(tmp_path, MANIFEST.cache_id)


@pytest.mark.parametrize("field", ["cache", "records", "samples", "failed", "bytes"])
def test_a_sealed_manifest_without_a_field_is_corrupt(tmp_path, field):
    data = json.loads(MANIFEST.to_bytes())
    del data[field], data["sha256"]
    (tmp_path / NAME).write_bytes(sealed_json(data))
    with pytest.raises(CorruptCache, match=f"'{field}' is missing"):
        Manifest.read(tmp_path, MANIFEST.cache_id)


def test_a_truncated_manifest_is_found(tmp_path):
    raw = MANIFEST.to_bytes()
    for length in range(0, len(raw) - 1, 5):
        (tmp_path / NAME).write_bytes(raw[:length])
        with pytest.raises(CorruptCache):
            Manifest.read(tmp_path, MANIFEST.cache_id)


def test_the_manifest_of_another_cache_is_found(root, tmp_path):
    other = make_cache(tmp_path / "b.fdet", make_header(seed=1))
    shutil.copy(other.root / NAME, root / NAME)
    with pytest.raises(CorruptCache, match="belongs to another cache"):
        FeatureCache.open(root)


def test_a_manifest_that_names_other_shards_is_found(root):
    manifest = FeatureCache.open(root).manifest
    records = {k: v for k, v in manifest.records.items() if k != "32x32-1"}
    publish_bytes(root / NAME, replace(manifest, records=records).to_bytes(), replace=True)
    with pytest.raises(CorruptCache, match="different shards"):
        FeatureCache.open(root)


def test_an_unfinished_cache_tells_how_far_it_is_and_how_to_go_on(root):
    (root / NAME).unlink()
    record_path(root, "32x32-1").unlink()
    with pytest.raises(IncompleteCache, match=r"2 of 3 shards.*fdet extract"):
        FeatureCache.open(root)


def test_the_sums_are_those_of_the_files(whole):
    manifest = whole.manifest
    stored = [*whole.root.rglob("c/*/0/0/0"), *(whole.root / "samples").iterdir()]
    assert manifest.stored_bytes == sum(path.stat().st_size for path in stored)
    assert (manifest.samples, manifest.failed) == (14, 0)
