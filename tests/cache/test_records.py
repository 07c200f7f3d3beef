import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from fdet.cache.errors import CorruptCache
from fdet.cache.header import canonical_json, sealed_json
from fdet.cache.reader import FeatureCache
from fdet.cache.records import (
    FileEntry,
    SampleEntry,
    ShardRecord,
    read_samples,
    record_path,
    samples_path,
    samples_to_bytes,
)
from fdet.cache.writer import read_record

from .handmade import attempt, flipped, flipped_in

PATH = Path("a.fdet/commits/32x32-0.json")
RECORD = ShardRecord(
    "ab" * 32, "32x32-0", {"samples/32x32-0.json": FileEntry(7, "cd" * 32)}, samples=6, failed=2
)


def read_back(raw: bytes) -> ShardRecord:
    return ShardRecord.from_bytes(raw, PATH, "ab" * 32, "32x32-0")


def test_a_record_survives_its_bytes():
    assert read_back(RECORD.to_bytes()) == RECORD


def test_every_flipped_bit_of_a_record_is_found_even_before_the_manifest():
    for position, damaged in flipped(RECORD.to_bytes()):
        found = attempt(read_back, damaged)
        assert found == RECORD or isinstance(found, CorruptCache), position


@pytest.mark.parametrize(
    ("cache", "shard"), [("ef" * 32, "32x32-0"), ("ab" * 32, "32x32-1"), ("ab" * 32, "16x48-0")]
)
def test_a_foreign_record_is_found(cache, shard):
    with pytest.raises(CorruptCache, match="expected the record of shard"):
        ShardRecord.from_bytes(RECORD.to_bytes(), PATH, cache, shard)


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "samples/../../x", ".."])
def test_a_record_names_nothing_outside_its_cache(name):
    data = json.loads(RECORD.to_bytes())
    del data["sha256"]
    data["files"][name] = {"bytes": 1, "sha256": "ab"}
    with pytest.raises(CorruptCache, match="leaves the folder"):
        read_back(sealed_json(data))


@pytest.mark.parametrize("field", ["cache", "shard", "files", "samples", "failed"])
def test_a_sealed_record_without_a_field_is_corrupt(field):
    data = json.loads(RECORD.to_bytes())
    del data[field], data["sha256"]
    with pytest.raises(CorruptCache, match=field):
        read_back(sealed_json(data))


@pytest.mark.parametrize("files", [None, 3, ["a"], {"a": 3}, {"a": {"bytes": 3}}, {"a": None}])
def test_a_sealed_record_with_other_files_is_corrupt(files):
    data = {**json.loads(RECORD.to_bytes()), "files": files}
    del data["sha256"]
    with pytest.raises(CorruptCache, match="unreadable record"):
        read_back(sealed_json(data))


def test_samples_survive_the_disk(whole):
    for shard in whole.header.layout.shards:
        record = read_record(whole.root, whole.header, shard.name)
        entries = read_samples(whole.root, record)
        assert len(entries) == record.samples
        raw = samples_path(whole.root, shard.name).read_bytes()
        assert samples_to_bytes(whole.header.id, shard.name, entries) == raw


def test_a_failed_sample_survives_json_without_placement():
    entry = SampleEntry(3, 1, "the file is empty")
    assert not entry.ok
    assert SampleEntry.from_json(json.loads(json.dumps(entry.to_json()))) == entry


@pytest.mark.parametrize("path_of", [record_path, samples_path])
def test_every_flipped_bit_of_a_committed_file_is_found_by_the_reader(root, path_of):
    path = path_of(root, "32x32-1")
    cache = FeatureCache.open(root)  # keeps nothing of a shard that it refused
    for _ in flipped_in(path):
        with pytest.raises(CorruptCache, match=str(path)):
            cache.entry(31)
    assert cache.entry(31).ok


@pytest.mark.parametrize("path_of", [record_path, samples_path])
def test_a_missing_or_swapped_committed_file_is_found(root, path_of):
    one, other = path_of(root, "32x32-0"), path_of(root, "32x32-1")
    one_bytes, other_bytes = one.read_bytes(), other.read_bytes()
    one.unlink()
    with pytest.raises(CorruptCache, match=f"{one}.*No such file"):
        FeatureCache.open(root).entry(10)
    one.write_bytes(other_bytes)
    other.write_bytes(one_bytes)
    for image_id, path in ((10, one), (31, other)):
        with pytest.raises(CorruptCache, match=str(path)):
            FeatureCache.open(root).entry(image_id)


def test_a_sound_record_that_the_manifest_does_not_name_is_found(root, header):
    record = read_record(root, header, "32x32-1")
    record_path(root, "32x32-1").write_bytes(replace(record, failed=1).to_bytes())
    with pytest.raises(CorruptCache, match="not those that the manifest names"):
        FeatureCache.open(root).entry(31)


def test_samples_that_the_record_does_not_name_are_refused(root, header):
    record = read_record(root, header, "32x32-0")
    without = ShardRecord(record.cache_id, record.shard, {}, record.samples, record.failed)
    with pytest.raises(CorruptCache, match="not named by the record"):
        read_samples(root, without)


@pytest.mark.parametrize("content", [{}, {"samples": 3}, {"samples": [{}]}, {"samples": [3]}])
def test_committed_samples_of_another_kind_are_corrupt(root, header, content):
    raw = canonical_json(content)
    samples_path(root, "32x32-0").write_bytes(raw)
    files = {"samples/32x32-0.json": FileEntry(len(raw), hashlib.sha256(raw).hexdigest())}
    with pytest.raises(CorruptCache, match="unreadable samples"):
        read_samples(root, ShardRecord(header.id, "32x32-0", files, 6, 0))
