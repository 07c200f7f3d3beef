import json
import os
import shutil
from dataclasses import replace

import pytest

from fdet.cache.disk.files import FileEntry
from fdet.cache.disk.publish import publish_bytes
from fdet.cache.errors import CorruptCache, IncompleteCache
from fdet.cache.format.manifest import NAME, Manifest
from fdet.cache.format.records import record_name
from fdet.cache.format.sealed import canonical_json, sealed_json
from fdet.cache.reader import FeatureCache
from fdet.cache.stores import STORES
from fdet.cache.writer import create_cache, seal, written_record

from ..handmade import (
    ANNOTATIONS,
    attempt,
    ends_within,
    flipped_in,
    make_cache,
    make_header,
    write_shard,
)

HEADER = make_header()
RECORDS = {shard.name: "cd" * 32 for shard in HEADER.layout.shards}
MANIFEST = Manifest(HEADER.digest, RECORDS, samples=14, failed=1, stored_bytes=12345)


def test_a_manifest_survives_the_disk(tmp_path):
    publish_bytes(tmp_path / NAME, MANIFEST.to_bytes())
    assert Manifest.read(tmp_path, HEADER) == MANIFEST


def test_without_a_manifest_the_cache_is_not_whole(tmp_path):
    assert Manifest.read(tmp_path, HEADER) is None


def test_every_flipped_bit_is_found(root):
    header = FeatureCache.open(root).header
    for position in flipped_in(root / NAME):
        found = attempt(Manifest.read, root, header)
        assert isinstance(found, CorruptCache) and NAME in str(found), position


@pytest.mark.parametrize(
    "change", [{"samples": 7}, {"failed": 0}, {"bytes": 1}, {"records": {}}, {"bytes": 1e308}]
)
def test_an_altered_manifest_is_found(tmp_path, change):
    data = {**json.loads(MANIFEST.to_bytes()), **change}
    (tmp_path / NAME).write_bytes(canonical_json(data))
    with pytest.raises(CorruptCache, match="its own digest"):
        Manifest.read(tmp_path, HEADER)


def test_a_number_beyond_all_floats_is_found(tmp_path):
    (tmp_path / NAME).write_bytes(MANIFEST.to_bytes().replace(b"12345", b"1e345"))
    with pytest.raises(CorruptCache, match="its own digest"):
        Manifest.read(tmp_path, HEADER)


@pytest.mark.parametrize("field", ["header", "records", "samples", "failed", "bytes"])
def test_a_sealed_manifest_without_a_field_is_corrupt(tmp_path, field):
    data = json.loads(MANIFEST.to_bytes())
    del data[field], data["sha256"]
    (tmp_path / NAME).write_bytes(sealed_json(data))
    with pytest.raises(CorruptCache, match=f"unreadable manifest.*'{field}'"):
        Manifest.read(tmp_path, HEADER)


@pytest.mark.parametrize("field", ["header", "records", "samples", "failed", "bytes"])
@pytest.mark.parametrize("junk", [None, [], {}, "x", [3]])
def test_a_sealed_field_of_another_kind_is_corrupt(tmp_path, field, junk):
    data = {**json.loads(MANIFEST.to_bytes()), field: junk}
    del data["sha256"]
    (tmp_path / NAME).write_bytes(sealed_json(data))
    with pytest.raises(CorruptCache, match=NAME):
        Manifest.read(tmp_path, HEADER)


def test_a_manifest_of_another_length_is_found(tmp_path):
    raw = MANIFEST.to_bytes()
    for other in [*(raw[:length] for length in range(0, len(raw), 5)), raw + b"\n"]:
        (tmp_path / NAME).write_bytes(other)
        with pytest.raises(CorruptCache):
            Manifest.read(tmp_path, HEADER)


def test_the_manifest_of_another_cache_is_found(root, store, tmp_path):
    other = make_cache(tmp_path / "b.fdet", make_header(store=store, seed=1))
    shutil.copy(other.root / NAME, root / NAME)
    with pytest.raises(CorruptCache, match=rf"{NAME}: .*belong.* cache"):
        FeatureCache.open(root)


def test_the_manifest_of_the_same_features_with_other_annotations_is_found(root, header, tmp_path):
    other = create_cache(tmp_path / "b.fdet", header, ANNOTATIONS[1:])
    assert other.id == FeatureCache.open(root).header.id
    for shard in other.layout.shards:
        write_shard(tmp_path / "b.fdet", other, shard)
    seal(tmp_path / "b.fdet", other)
    shutil.copy(tmp_path / "b.fdet" / NAME, root / NAME)
    with pytest.raises(CorruptCache, match=rf"{NAME}: .*belong.* cache"):
        FeatureCache.open(root)


@pytest.mark.parametrize("change", ["fewer", "more"])
def test_a_manifest_that_names_other_shards_is_found(root, change):
    manifest = FeatureCache.open(root).manifest
    records = {**manifest.records, "8x8-0": "ab" * 32}
    if change == "fewer":
        records = {k: v for k, v in manifest.records.items() if k != "32x32-1"}
    raw = replace(manifest, records=records).to_bytes()
    publish_bytes(root / NAME, raw, existing="replace")
    with pytest.raises(CorruptCache, match="does not name the shards"):
        FeatureCache.open(root)


@pytest.mark.parametrize("stands_there", ["folder", "pipe"])
def test_what_is_no_file_is_corrupt(tmp_path, stands_there):
    (tmp_path / NAME).mkdir() if stands_there == "folder" else os.mkfifo(tmp_path / NAME)
    with pytest.raises(CorruptCache, match="expected a regular file"):
        ends_within(20, lambda: Manifest.read(tmp_path, HEADER))


def test_an_unfinished_cache_tells_how_far_it_is_and_how_to_go_on(root):
    (root / NAME).unlink()
    (root / record_name("32x32-1")).unlink()
    with pytest.raises(IncompleteCache, match=r"2 of 3 shards.*run the same command again"):
        FeatureCache.open(root)


def test_the_sums_are_those_of_the_files(whole, header):
    manifest, store = whole.manifest, STORES[header.store]
    stored = {
        store.level_file(shard, level)
        for shard in header.layout.shards
        for level in header.key.levels.names
    }
    stored |= {path.relative_to(whole.root).as_posix() for path in whole.root.glob("samples/*")}
    assert manifest.stored_bytes == sum((whole.root / name).stat().st_size for name in stored)
    assert (manifest.samples, manifest.failed) == (14, 0)


def test_it_names_the_bytes_of_header_and_records(whole, header):
    manifest = whole.manifest
    for shard in header.layout.shards:
        raw = (whole.root / record_name(shard.name)).read_bytes()
        assert FileEntry.of(raw).sha256 == manifest.records[shard.name]
        assert written_record(whole.root, header, shard.name).to_bytes() == raw
    assert manifest.header == whole.header.digest
