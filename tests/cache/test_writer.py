import errno
import os
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from fdet.cache import writer as writer_file
from fdet.cache.disk.files import FileEntry
from fdet.cache.disk.publish import leftovers
from fdet.cache.errors import (
    CorruptCache,
    IncompleteCache,
    InputError,
    MissingSample,
    StorageError,
)
from fdet.cache.format.annotation_copy import NAME as ANNOTATION_COPY
from fdet.cache.format.annotation_copy import read_annotations
from fdet.cache.format.chunks import compress
from fdet.cache.format.header import CacheHeader
from fdet.cache.format.records import record_name
from fdet.cache.layout import Shard
from fdet.cache.reader import FeatureCache
from fdet.cache.stores import STORES
from fdet.cache.verify import shard_file_names
from fdet.cache.writer import (
    create_cache,
    remove_shard,
    seal,
    shard_writer,
    written_record,
    written_records,
)

from .handmade import (
    ANNOTATIONS,
    FEW_CODECS,
    all_samples,
    assert_exact,
    attempt,
    entry_of,
    files_below,
    learnt,
    level_path,
    make_cache,
    make_header,
    maps_of,
    samples_of,
    write_samples,
    write_shard,
)

DYING = """
import os, sys
from pathlib import Path
from fdet.tests.cache.handmade import *
root = Path(sys.argv[1])
header = create_cache(root, make_header(store=sys.argv[2]), ANNOTATIONS)
first, second, _ = header.layout.shards
write_shard(root, header, first)
with shard_writer(root, header, second) as writer:
    writer.add(*next(samples_of(header, second)))
    os.kill(os.getpid(), 9)
"""


def shard_data(header: CacheHeader, shard: Shard) -> set[str]:
    """The files of a shard but its record."""
    return set(shard_file_names(header, shard)) - {record_name(shard.name)}


class Killed(BaseException):
    """Stands for a death that no `except Exception` survives."""


def test_a_finished_cache_gives_back_every_sample(whole):
    for sample in all_samples(whole):
        assert_exact(whole, *sample)


@pytest.mark.parametrize("codec", FEW_CODECS)
def test_the_same_samples_make_the_same_bytes(tmp_path, codec, store):
    for name in ("a", "b"):
        make_cache(tmp_path / name, make_header(codec, store), failed={17})
    assert files_below(tmp_path / "a") == files_below(tmp_path / "b")


def test_creating_twice_changes_nothing(tmp_path, header):
    def times() -> dict:
        return {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}

    create_cache(tmp_path, header, ANNOTATIONS)
    before = times()
    create_cache(tmp_path, header, ANNOTATIONS)
    assert times() == before


def test_a_new_header_names_the_bytes_of_all_that_lies_beside_the_shards(tmp_path, header):
    found = create_cache(tmp_path, header, ANNOTATIONS)
    assert found == CacheHeader.read(tmp_path) == replace(header, other_files=found.other_files)
    assert set(found.other_files) == {ANNOTATION_COPY, *STORES[header.store].other_files(header)}
    files = files_below(tmp_path)
    assert files.keys() == {"fdet.json", *found.other_files}
    assert all(FileEntry.of(files[name]) == entry for name, entry in found.other_files.items())
    assert read_annotations(tmp_path, found) == ANNOTATIONS


def test_files_missing_beside_the_shards_are_made_again(tmp_path, header):
    other_files = create_cache(tmp_path, header, ANNOTATIONS).other_files
    before = files_below(tmp_path)
    for name in other_files:
        (tmp_path / name).unlink()
        create_cache(tmp_path, header, ANNOTATIONS)
        assert files_below(tmp_path) == before


def test_annotations_other_than_the_first_complete_nothing(tmp_path, header):
    first = create_cache(tmp_path, header, ANNOTATIONS)
    assert create_cache(tmp_path, header, b"{}") == first
    assert read_annotations(tmp_path, first) == ANNOTATIONS
    (tmp_path / ANNOTATION_COPY).unlink()
    with pytest.raises(InputError, match=f"{ANNOTATION_COPY} is missing and cannot be made again"):
        create_cache(tmp_path, header, b"{}")


@pytest.mark.parametrize("codec", ["int8", "int5+pca3"])
def test_a_codecs_files_are_made_again_only_from_the_same_ones(tmp_path, codec, store):
    header, files = make_header(codec, store), learnt(codec)
    first = create_cache(tmp_path, header, ANNOTATIONS, files)
    before = files_below(tmp_path)
    assert set(files) < set(first.other_files) and set(files) < set(before)
    for name in files:
        (tmp_path / name).unlink()
        for others in (None, {}, {**files, name: files[name] + b"x"}):
            with pytest.raises(InputError, match=f"{name} is missing and cannot be made again"):
                create_cache(tmp_path, header, ANNOTATIONS, others)
        assert create_cache(tmp_path, header, ANNOTATIONS, files) == first
        assert files_below(tmp_path) == before
    assert create_cache(tmp_path, header, ANNOTATIONS) == first


def test_a_codec_without_its_files_is_a_bug(tmp_path):
    for files in (None, learnt("int5")):
        with pytest.raises(AssertionError):
            create_cache(tmp_path, make_header("int8"), ANNOTATIONS, files)
    assert files_below(tmp_path) == {}


def test_another_header_that_stands_there_stays(tmp_path, header):
    first = create_cache(tmp_path, header, ANNOTATIONS)
    other = replace(header, key=replace(header.key, threads=7))
    for name in first.other_files:
        if name != "zarr.json":  # it holds the id of its cache
            (tmp_path / name).unlink()
    assert create_cache(tmp_path, other, ANNOTATIONS) == first
    assert all((tmp_path / name).exists() for name in first.other_files)


@pytest.mark.parametrize("number", [0, 1, 5])
def test_a_shard_short_of_samples_is_refused(tmp_path, header, number):
    shard = header.layout.shards[0]
    with pytest.raises(ValueError, match=f"{number} of 6 samples"):
        write_samples(tmp_path, header, shard, islice(samples_of(header, shard), number))
    assert files_below(tmp_path) == {}


def test_samples_in_another_order_are_refused(tmp_path, header):
    shard = header.layout.shards[1]
    with pytest.raises(ValueError, match="in another order"):
        write_samples(tmp_path, header, shard, reversed(list(samples_of(header, shard))))
    assert files_below(tmp_path) == {}


def test_a_sample_needs_a_map_for_each_level(tmp_path, header):
    short = (entry_of(header, 10, 0), maps_of(header, 10, 0)[:1])
    with pytest.raises(ValueError, match="zip"):
        write_samples(tmp_path, header, header.layout.shards[0], [short])
    assert files_below(tmp_path) == {}


@pytest.mark.parametrize("number", [1, 3])
def test_a_sample_needs_a_frame_for_each_level(tmp_path, header, number):
    frames = [compress(maps_of(header, 10, 0)[0])] * number
    with (
        pytest.raises(ValueError, match="zip"),
        shard_writer(tmp_path, header, header.layout.shards[0]) as writer,
    ):
        writer.add_frames(entry_of(header, 10, 0), frames)
    assert files_below(tmp_path) == {}


@pytest.mark.parametrize(
    "change",
    [lambda x: x[1:], lambda x: x.astype(np.float64), lambda x: x.astype(">f4"), lambda x: x[None]],
)
def test_maps_of_another_shape_or_type_are_refused_with_their_level(tmp_path, header, change):
    first, second = maps_of(header, 10, 0)
    with pytest.raises(ValueError, match=r"level p4: expected \(5, 2, 2\) float32, got"):
        write_samples(
            tmp_path,
            header,
            header.layout.shards[0],
            [(entry_of(header, 10, 0), [first, change(second)])],
        )
    assert files_below(tmp_path) == {}


def test_more_samples_than_slots_are_refused(tmp_path, header):
    shard = header.layout.shards[0]
    with pytest.raises((IndexError, ValueError)):
        write_samples(tmp_path, header, shard, [*samples_of(header, shard)] * 2)
    assert files_below(tmp_path) == {}


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_block_that_raises_leaves_no_shard(tmp_path, header, error):
    shard = header.layout.shards[0]

    def failing():
        yield from islice(samples_of(header, shard), 5)
        raise error

    with pytest.raises(error):
        write_samples(tmp_path, header, shard, failing())
    assert written_record(tmp_path, header, shard.name) is None
    assert files_below(tmp_path) == {}


def test_dead_between_data_and_record_means_no_shard_and_a_second_try_finishes(
    tmp_path, header, monkeypatch
):
    root, shard = tmp_path / "a", header.layout.shards[0]
    header = create_cache(root, header, ANNOTATIONS)
    real = writer_file.publish_bytes

    def dies_at_the_record(path, data, **options):
        if path.parent.name == "commits":
            raise Killed
        real(path, data, **options)

    monkeypatch.setattr(writer_file, "publish_bytes", dies_at_the_record)
    with pytest.raises(Killed):
        write_shard(root, header, shard)
    monkeypatch.undo()
    data = {
        k: v for k, v in files_below(root).items() if k not in {"fdet.json", *header.other_files}
    }
    assert data.keys() == shard_data(header, shard)
    assert written_record(root, header, shard.name) is None
    with pytest.raises(IncompleteCache, match="shard 32x32-0 has not been written"):
        seal(root, header)
    write_shard(root, header, shard)
    assert data.items() <= files_below(root).items()
    assert written_record(root, header, shard.name).samples == 6


def test_a_killed_process_leaves_its_finished_shards_and_no_half_one(tmp_path, header, whole):
    root = tmp_path / "a"
    killed = subprocess.run([sys.executable, "-c", DYING, root, header.store], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert list(written_records(root, header)) == ["32x32-0"]
    assert make_cache(root, header).manifest == whole.manifest
    assert files_below(root) == files_below(whole.root)
    assert leftovers(root, aside=True) == []


def durable_steps(monkeypatch, dies_at: int, error: BaseException) -> list[str]:
    """Count the calls that make something durable; the one numbered `dies_at` raises instead."""
    steps: list[str] = []

    def counted(name, real):
        def step(*arguments, **options):
            steps.append(name)
            if len(steps) - 1 == dies_at:
                raise error
            return None if name == "fsync" else real(*arguments, **options)

        return step

    for name in ("fsync", "link", "rename"):
        monkeypatch.setattr(os, name, counted(name, getattr(os, name)))
    return steps


@pytest.mark.parametrize("error", [Killed(), OSError(errno.ENOSPC, "No space left on device")])
def test_stopped_at_any_durable_step_and_run_again_the_bytes_are_the_same(
    tmp_path, whole, monkeypatch, error
):
    header = whole.header
    with monkeypatch.context() as patch:
        steps = durable_steps(patch, -1, error)
        make_cache(tmp_path / "undisturbed", header)
        total = len(steps)
    assert total > 40
    for dies_at in range(0, total, 2 if isinstance(error, Killed) else 7):
        root = tmp_path / str(dies_at)
        with monkeypatch.context() as patch:
            durable_steps(patch, dies_at, error)
            with pytest.raises((Killed, StorageError)):
                make_cache(root, header)
        written = files_below(root)
        for shard in header.layout.shards:
            record = written_record(root, header, shard.name)
            assert record is None or record.files.keys() <= written.keys()
        with monkeypatch.context() as patch:
            durable_steps(patch, -1, error)
            make_cache(root, header)
        assert files_below(root) == files_below(whole.root), dies_at


def test_what_already_stands_there_with_other_bytes_is_set_aside(tmp_path, header, whole):
    root = tmp_path / "a"
    foreign = level_path(root, header, 0, "p3")
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"foreign")
    make_cache(root, header)
    assert files_below(root) == files_below(whole.root)
    assert [path.read_bytes() for path in foreign.parent.glob(".*")] == [b"foreign"]


def test_sealing_waits_for_every_shard(tmp_path, header):
    header = create_cache(tmp_path, header, ANNOTATIONS)
    for shard in header.layout.shards:
        with pytest.raises(IncompleteCache, match=f"shard {shard.name} has not been written"):
            seal(tmp_path, header)
        write_shard(tmp_path, header, shard)
    assert seal(tmp_path, header) == seal(tmp_path, header)
    assert seal(tmp_path, header) == FeatureCache.open(tmp_path).manifest


def test_sealing_refuses_a_damaged_record(tmp_path, header):
    header = make_cache(tmp_path, header).header
    (tmp_path / "manifest.json").unlink()
    path = tmp_path / record_name("32x32-0")
    path.write_bytes(path.read_bytes().replace(b'"samples":6', b'"samples":7'))
    with pytest.raises(CorruptCache, match=str(path)):
        seal(tmp_path, header)
    with pytest.raises(CorruptCache, match=str(path)):
        written_records(tmp_path, header)


def test_a_retracted_shard_is_gone_and_can_be_written_again(tmp_path, header, whole):
    cache = make_cache(tmp_path, header, failed={17})
    header = cache.header
    assert (cache.manifest.failed, cache.failed) == (2, {17: "the file is empty"})
    remove_shard(tmp_path, written_record(tmp_path, header, "32x32-0"))
    gone = files_below(whole.root).keys() - files_below(tmp_path).keys()
    assert gone == {*shard_file_names(header, header.layout.shards[0]), "manifest.json"}
    with pytest.raises(IncompleteCache, match="2 of 3 shards"):
        FeatureCache.open(tmp_path)
    write_shard(tmp_path, header, header.layout.shards[0])
    seal(tmp_path, header)
    assert files_below(tmp_path) == files_below(whole.root)


@pytest.mark.parametrize("dies_at", range(4))
def test_a_retraction_that_dies_leaves_no_cache_that_looks_whole(
    root, header, monkeypatch, dies_at
):
    steps = durable_steps(monkeypatch, dies_at, Killed())
    with pytest.raises(Killed):
        remove_shard(root, written_record(root, header, "32x32-0"))
    assert len(steps) == dies_at + 1
    with pytest.raises(IncompleteCache):
        FeatureCache.open(root)


def test_a_disk_that_refuses_is_a_storage_error(tmp_path, header):
    (tmp_path / "32x32").write_bytes(b"in the way")
    with pytest.raises(StorageError, match="cannot write"):
        write_shard(tmp_path, header, header.layout.shards[0])


def test_a_sample_without_maps_takes_no_room_and_stays_missing(tmp_path, header):
    ids = {image.id for image in header.layout.images}
    cache = make_cache(tmp_path, header, failed=ids)
    assert (len(cache), cache.manifest.failed) == (0, 14)
    assert set(cache.failed) == ids
    with pytest.raises(MissingSample):
        cache.sample(10)


def test_an_array_that_is_not_contiguous_is_stored_as_its_values(tmp_path, header):
    shard = header.layout.shards[0]
    plain, twisted = tmp_path / "plain", tmp_path / "twisted"
    write_shard(plain, header, shard)
    samples = samples_of(header, shard)
    write_samples(twisted, header, shard, ((e, [*map(np.asfortranarray, m)]) for e, m in samples))
    assert files_below(twisted) == files_below(plain)


def test_a_foreign_header_names_its_own_cache(tmp_path, header):
    make_cache(tmp_path, header)
    other = replace(header, key=replace(header.key, seed=1))
    assert other.id != header.id
    with pytest.raises(CorruptCache, match=f"of cache {other.id[:12]}, got .*{header.id[:12]}"):
        written_record(tmp_path, other, "32x32-0")


def finish_cache(root, header) -> FeatureCache:
    """What a command does that is given again: what has no record yet, and the manifest."""
    header = create_cache(root, header, ANNOTATIONS)
    for shard in header.layout.shards:
        if written_record(root, header, shard.name) is None:
            write_shard(root, header, shard)
    seal(root, header)
    return FeatureCache.open(root)


def test_a_full_disk_is_told_and_enlarged_bit_by_bit_the_cache_is_finished(
    small_disk, header, whole
):
    root, cache, told, recorded = small_disk / "a.fdet", None, [], [set()]
    while not isinstance(cache, FeatureCache):
        size = f"remount,size={8 + 8 * len(told)}k"
        subprocess.run(["mount", "-o", size, str(small_disk)], check=True)
        cache = attempt(finish_cache, root, header)
        assert isinstance(cache, FeatureCache | StorageError)
        told.append(str(cache))
        recorded.append(set(written_records(root, whole.header)))
        assert recorded[-2] <= recorded[-1], "what was finished is kept"
        assert leftovers(root, aside=True) == []
    assert len(told) > 5
    assert all("No space left on device" in one for one in told[:-1])
    assert files_below(root) == files_below(whole.root)
    for sample in all_samples(cache):
        assert_exact(cache, *sample)
