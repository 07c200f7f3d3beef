import io
import json
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fdet.cache.disk.files import FileEntry
from fdet.cache.errors import CorruptCache
from fdet.cache.format.chunks import Chunk
from fdet.cache.format.records import (
    OK,
    SampleEntry,
    ShardRecord,
    read_record,
    read_samples,
    record_name,
    samples_name,
    samples_to_bytes,
    table_dtype,
)
from fdet.cache.format.sealed import parse_sealed, sealed_json
from fdet.cache.placement import Placement
from fdet.cache.reader import FeatureCache

from ..handmade import attempt, entry_of, flipped, flipped_in, make_cache

SHARD = "32x32-0"
PATH = Path("a.fdet/commits/32x32-0.json")
FILES = {"samples/32x32-0.npy": FileEntry(7, "cd" * 32)}
RECORD = ShardRecord("ab" * 32, SHARD, FILES, samples=6, failures={3: "the file is empty"})


def read_back(raw: bytes) -> ShardRecord:
    return ShardRecord.from_json(parse_sealed(raw, PATH), PATH, "ab" * 32, SHARD)


def test_a_record_survives_its_bytes():
    assert read_back(RECORD.to_bytes()) == RECORD
    assert RECORD.failed == 1


def test_every_flipped_bit_of_a_record_is_found_even_before_the_manifest():
    for position, damaged in flipped(RECORD.to_bytes()):
        assert isinstance(attempt(read_back, damaged), CorruptCache), position


@pytest.mark.parametrize(
    ("cache", "shard"), [("ef" * 32, SHARD), ("ab" * 32, "32x32-1"), ("ab" * 32, "16x48-0")]
)
def test_a_foreign_record_is_found(cache, shard):
    with pytest.raises(CorruptCache, match="expected the record of shard"):
        ShardRecord.from_json(json.loads(RECORD.to_bytes()), PATH, cache, shard)


def altered(**changes) -> bytes:
    data = {**json.loads(RECORD.to_bytes()), **changes}
    del data["sha256"]
    return sealed_json({name: value for name, value in data.items() if value != "absent"})


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "samples/../../x", "..", ""])
def test_a_record_names_nothing_outside_its_cache(name):
    with pytest.raises(CorruptCache, match="leaves the folder"):
        read_back(altered(files={name: {"bytes": 1, "sha256": "ab"}}))


@pytest.mark.parametrize("field", ["cache", "shard", "files", "samples", "failures"])
def test_a_sealed_record_without_a_field_is_corrupt(field):
    with pytest.raises(CorruptCache, match=f"unreadable record.*'{field}'"):
        read_back(altered(**{field: "absent"}))


@pytest.mark.parametrize("files", [None, 3, ["a"], {"a": 3}, {"a": {"bytes": 3}}, {"a": None}])
def test_a_sealed_record_with_other_files_is_corrupt(files):
    with pytest.raises(CorruptCache, match="unreadable record"):
        read_back(altered(files=files))


@pytest.mark.parametrize("failures", [None, 3, ["a"], {"a": "why"}, "x"])
def test_a_sealed_record_with_other_failures_is_corrupt(failures):
    with pytest.raises(CorruptCache, match="unreadable record"):
        read_back(altered(failures=failures))


def entries() -> list[SampleEntry]:
    """Two samples with two levels; the placement of the second has no number twice."""
    plain = Placement((30, 32), (32, 32), (30, 32), (1.0, 1.0), (0.0, 0.0))
    odd = Placement((101, 77), (64, 48), (60, 47), (1 / 3, 0.7), (-5.25, 1e-9), (True, False))
    chunks = (Chunk(0, 100, 2**32 - 1), Chunk(2**40, 3, 0))
    return [
        SampleEntry(10, 0, OK, plain, "ab" * 32, chunks),
        SampleEntry(2**40, 5, "the file is empty", odd),
    ]


def test_a_table_tells_every_field_of_every_sample(tmp_path):
    raw = samples_to_bytes(entries(), 2)
    (tmp_path / "samples").mkdir()
    (tmp_path / samples_name(SHARD)).write_bytes(raw)
    files = {samples_name(SHARD): FileEntry.of(raw)}
    record = ShardRecord("ab" * 32, SHARD, files, 2, {1: "the file is empty"})
    table = read_samples(tmp_path, record, 2, 2)
    assert list(table) == entries()
    assert (len(table), table.ok, table.samples) == (2, [True, False], [(10, 0), (2**40, 5)])
    assert table.failure(1) == "the file is empty"
    assert table.placement(1) is table.placement(1) == entries()[1].placement


def test_numpy_reads_a_table_without_us():
    rows = np.load(io.BytesIO(samples_to_bytes(entries(), 2)), allow_pickle=False)
    assert rows.dtype == table_dtype(2)
    assert rows["image_id"].tolist() == [10, 2**40]
    assert rows["ok"].tolist() == [1, 0]
    assert rows["sha256"][0].tobytes().hex() == "ab" * 32
    assert rows["scale"][1].tolist() == [1 / 3, 0.7]
    assert rows["chunks"]["crc32c"].tolist() == [[2**32 - 1, 0], [0, 0]]


def test_no_sample_makes_an_empty_table():
    assert len(np.load(io.BytesIO(samples_to_bytes([], 3)))) == 0


def test_a_row_has_no_gap_and_no_foreign_byte_order():
    dtype = table_dtype(3)
    assert dtype.itemsize == 8 + 4 + 1 + 2 + 32 + 3 * 8 + 2 * 16 + 3 * 20
    row = samples_to_bytes(entries(), 2)[-2 * table_dtype(2).itemsize :]
    assert struct.unpack_from("<qiB2B32s6i4dQQI", row)[:3] == (10, 0, 1)


def test_what_is_on_the_disk_are_the_samples_in_the_order_of_their_slots(whole, header):
    for shard in header.layout.shards:
        record = read_record(whole.root, header.id, shard.name)
        table = read_samples(whole.root, record, 2, record.samples)
        assert table.samples == header.layout.samples(shard)
        for entry in table:
            expected = entry_of(header, entry.image_id, entry.view)
            assert replace(entry, chunks=()) == expected
            assert len(entry.chunks) == 2
        raw = (whole.root / samples_name(shard.name)).read_bytes()
        assert samples_to_bytes(list(table), 2) == raw


def test_failed_samples_keep_their_slots(tmp_path, header):
    make_cache(tmp_path, header, failed={17})
    record = read_record(tmp_path, header.id, SHARD)
    assert record.failures == {2: "the file is empty", 3: "the file is empty"}
    table = read_samples(tmp_path, record, 2, 6)
    assert table.ok == [True, True, False, False, True, True]
    assert table.entry(2) == entry_of(header, 17, 0, "the file is empty")


NAMES = [record_name("32x32-1"), samples_name("32x32-1")]


@pytest.mark.parametrize("name", NAMES)
def test_every_flipped_bit_of_a_committed_file_is_found_by_the_reader(root, name):
    cache = FeatureCache.open(root)  # keeps nothing of a shard that it refused
    for _ in flipped_in(root / name):
        with pytest.raises(CorruptCache, match=str(root / name)):
            cache.entry(31)
    assert cache.entry(31).ok


@pytest.mark.parametrize("name_of", [record_name, samples_name])
def test_a_missing_or_swapped_committed_file_is_found(root, name_of):
    one, other = root / name_of("32x32-0"), root / name_of("32x32-1")
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
    record = read_record(root, header.id, "32x32-1")
    other = replace(record, failures={0: "no reason"})
    (root / record_name("32x32-1")).write_bytes(other.to_bytes())
    assert read_record(root, header.id, "32x32-1") == other
    with pytest.raises(CorruptCache, match="not those that the manifest names"):
        FeatureCache.open(root).entry(31)


def test_samples_that_the_record_does_not_name_are_refused(root, header):
    record = replace(read_record(root, header.id, SHARD), files={})
    with pytest.raises(CorruptCache, match="names another size"):
        read_samples(root, record, 2, 6)


@pytest.mark.parametrize(("levels", "samples"), [(1, 6), (3, 6), (2, 5), (2, 7), (2, 0)])
def test_a_table_of_another_shape_than_the_headers_is_refused(root, header, levels, samples):
    record = read_record(root, header.id, SHARD)
    with pytest.raises(CorruptCache, match="names another size"):
        read_samples(root, record, levels, samples)


def test_bytes_that_are_no_table_are_refused_though_their_digest_holds(root, header):
    raw = bytes(len((root / samples_name(SHARD)).read_bytes()))
    (root / samples_name(SHARD)).write_bytes(raw)
    record = replace(
        read_record(root, header.id, SHARD), files={samples_name(SHARD): FileEntry.of(raw)}
    )
    with pytest.raises(CorruptCache, match="not a table of 6 samples"):
        read_samples(root, record, 2, 6)


def test_an_impossible_placement_is_refused_though_its_digest_holds(root, header):
    path = root / samples_name(SHARD)
    rows = np.load(path)
    rows["scale"] = 0
    buffer = io.BytesIO()
    np.save(buffer, rows)
    path.write_bytes(buffer.getvalue())
    record = read_record(root, header.id, SHARD)
    record = replace(record, files={samples_name(SHARD): FileEntry.of(buffer.getvalue())})
    table = read_samples(root, record, 2, 6)
    with pytest.raises(CorruptCache, match="image 10: scale must be positive"):
        table.entry(0)
