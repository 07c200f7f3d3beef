import itertools
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from fdet.cache.codecs.calibration import calibration_digest
from fdet.cache.disk.files import FileEntry
from fdet.cache.disk.publish import SCRATCH, publish_bytes
from fdet.cache.errors import CorruptCache, IncompleteCache, InputError
from fdet.cache.format import manifest as manifest_file
from fdet.cache.format.annotation_copy import read_annotations
from fdet.cache.format.chunks import Chunk
from fdet.cache.format.header import CacheHeader
from fdet.cache.format.records import read_record, record_name, samples_name, samples_to_bytes
from fdet.cache.layout import Layout
from fdet.cache.reader import FeatureCache
from fdet.cache.stores import STORES
from fdet.cache.verify import Damage, file_names, shard_file_names, verify
from fdet.cache.writer import create_cache, remove_shard, seal, written_record

from .handmade import (
    ANNOTATIONS,
    assert_exact,
    attempt,
    ends_within,
    files_below,
    flipped_in,
    learnt,
    make_cache,
    make_header,
    tiny_header,
    write_shard,
)


@pytest.fixture(scope="module")
def tiny(store, tmp_path_factory) -> Path:
    """Two shards, two views, two levels; read only."""
    return make_cache(tmp_path_factory.mktemp("tiny") / "a.fdet", tiny_header(store)).root


@pytest.fixture(scope="module")
def other(store, tmp_path_factory) -> Path:
    """The same images and levels with another seed, so other values; read only."""
    return make_cache(tmp_path_factory.mktemp("other") / "a.fdet", tiny_header(store, seed=1)).root


@pytest.fixture(scope="module")
def older(store, tmp_path_factory) -> Path:
    """The tiny cache as it was when image 5 had failed; read only."""
    folder = tmp_path_factory.mktemp("older") / "a.fdet"
    return make_cache(folder, tiny_header(store), failed={5}).root


@pytest.fixture
def root(tiny, tmp_path) -> Path:
    """A copy of the tiny cache, to be damaged."""
    return Path(shutil.copytree(tiny, tmp_path / "a.fdet"))


def damages_of(root: Path) -> list[Damage]:
    """What is wrong; a header that is none at all is damage to its file."""
    result = attempt(verify, root)
    if isinstance(result, InputError):
        return [Damage("fdet.json", str(result))]
    assert result.sound == (not result.damages and not result.missing)
    return list(result.damages)


def assert_found(root: Path, *names: str) -> None:
    """Verification names these files and no others, and no read gives a wrong value."""
    assert {damage.file for damage in damages_of(root)} == set(names)
    assert_nothing_wrong_is_read(root)


def assert_nothing_wrong_is_read(root: Path) -> None:
    cache = attempt(FeatureCache.open, root)
    if not isinstance(cache, FeatureCache):
        assert isinstance(cache, CorruptCache | InputError | IncompleteCache)
        return
    found = attempt(read_annotations, root, cache.header)
    assert found == ANNOTATIONS or isinstance(found, CorruptCache)
    for shard in cache.header.layout.shards:
        for sample in cache.header.layout.samples(shard):
            error = attempt(assert_exact, cache, *sample)
            assert error is None or isinstance(error, CorruptCache)


def frames_of(root: Path) -> dict[str, list[tuple[range, Damage]]]:
    """By level file: where each frame lies, and what a flipped bit there is to be called."""
    cache, why = FeatureCache.open(root), "its checksum does not hold"
    found: dict[str, list[tuple[range, Damage]]] = {}
    for shard in cache.header.layout.shards:
        for number, level in enumerate(cache.header.key.levels.names):
            name = STORES[cache.header.store].level_file(shard, level)
            for sample in cache.header.layout.samples(shard):
                chunk = cache.entry(*sample).chunks[number]
                place = range(chunk.offset, chunk.offset + chunk.length)
                damage = Damage(name, why, shard.name, level, *sample)
                found.setdefault(name, []).append((place, damage))
    return found


def shard_of(root: Path, name: str) -> str:
    """The name of the shard that a file belongs to, or "" """
    header = CacheHeader.read(root)
    shards = [s.name for s in header.layout.shards if name in shard_file_names(header, s)]
    return shards[0] if shards else ""


def test_a_whole_cache_is_sound(tiny, whole):
    for root in (tiny, whole.root):
        result = verify(root)
        assert result.sound
        assert (result.damages, result.missing, result.leftovers) == ((), 0, ())
        assert result.bytes == sum(
            len(data)
            for name, data in files_below(root).items()
            if not name.startswith("commits/") and name not in {"fdet.json", "manifest.json"}
        )


def test_failed_samples_are_no_damage(older):
    assert verify(older).sound


def test_the_names_of_all_files_are_known(tiny):
    header = CacheHeader.read(tiny)
    expected = {"fdet.json", "manifest.json", *header.other_files, *file_names(header)}
    assert set(files_below(tiny)) == expected
    assert len(file_names(header)) == len(set(file_names(header)))


class OneThread:
    """In place of a pool of threads: to start them takes longer than to read a few bytes."""

    def __init__(self, threads: int) -> None:
        self.map = map

    def __enter__(self) -> "OneThread":
        return self

    def __exit__(self, *error: object) -> None:
        pass


@pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.slow), 23])
def test_every_flipped_bit_of_every_file_is_found_and_named(store, tmp_path, monkeypatch, step):
    """Of bytes that only one checksum of a whole file covers, every third."""
    monkeypatch.setattr("fdet.cache.verify.ThreadPoolExecutor", OneThread)
    header = tiny_header(store)
    (bucket,) = header.layout.buckets
    layout = Layout(header.layout.views, (replace(bucket, images=bucket.images[:2]),))
    made = make_cache(tmp_path, replace(header, layout=layout))
    root, beside = made.root, made.header.other_files
    frames, count = frames_of(root), 0
    for name in files_below(root):
        shard, hashed = shard_of(root, name), name in frames or name in beside
        for position in flipped_in(root / name):
            hit = [damage for place, damage in frames.get(name, ()) if position in place]
            if position % step or (hashed and not hit and position % 3):
                continue
            found = damages_of(root)
            assert {(d.file, d.shard) for d in found} == {(name, shard)}, (name, position)
            assert not hit or found == hit, (name, position)
            assert_nothing_wrong_is_read(root)
            count += 1
    assert count >= sum(len(raw) // step for raw in files_below(root).values()) // 3
    assert verify(root).sound


def all_names(root: Path) -> list[str]:
    return list(files_below(root))


def test_a_file_cut_at_any_length_is_found(root):
    for name in all_names(root):
        raw = (root / name).read_bytes()
        for length in sorted({0, 1, len(raw) - 1, *range(0, len(raw), len(raw) // 12 + 1)}):
            (root / name).write_bytes(raw[:length])
            assert_found(root, name)
        (root / name).write_bytes(raw)
    assert verify(root).sound


@pytest.mark.parametrize("more", [b"\0", b"\n", bytes(4096)])
def test_bytes_behind_a_file_are_found(root, more):
    for name in all_names(root):
        raw = (root / name).read_bytes()
        (root / name).write_bytes(raw + more)
        assert_found(root, name)
        (root / name).write_bytes(raw)


def test_a_deleted_file_is_found(root):
    for name in all_names(root):
        (root / name).rename(root.parent / "kept")
        assert_found(root, name)
        (root.parent / "kept").rename(root / name)


def kind_of(name: str) -> str:
    """Files of one kind could be taken for each other."""
    path = Path(name)
    if path.parent.name in {"commits", "samples", "vectors"}:
        return path.parent.name
    return "level" if path.suffix in {".h5", ".0"} else path.name


def test_any_two_files_of_a_kind_swapped_are_found(root):
    count = 0
    for one, other in itertools.combinations(all_names(root), 2):
        first, second = (root / one).read_bytes(), (root / other).read_bytes()
        if kind_of(one) != kind_of(other) or first == second:
            continue
        (root / one).write_bytes(second)
        (root / other).write_bytes(first)
        assert_found(root, one, other)
        (root / one).write_bytes(first)
        (root / other).write_bytes(second)
        count += 1
    assert count >= 3


@pytest.mark.parametrize("source", ["other", "older"])
def test_a_file_of_another_cache_or_of_an_older_state_is_found(root, request, source):
    source, replaced = request.getfixturevalue(source), []
    for name, foreign in files_below(source).items():
        raw = (root / name).read_bytes()
        if raw == foreign:
            continue
        (root / name).write_bytes(foreign)
        # Of a header or a manifest and what it names, either may be the stranger.
        found = damages_of(root)
        assert found and all(name.removesuffix(".json") in str(damage) for damage in found)
        assert_nothing_wrong_is_read(root)
        (root / name).write_bytes(raw)
        replaced.append(name)
    header = CacheHeader.read(root)
    assert {"manifest.json", *shard_file_names(header, header.layout.shards[0])} <= set(replaced)


@pytest.mark.parametrize("source", ["other", "older"])
@pytest.mark.parametrize("kept", ["record", "data"])
def test_a_shard_of_which_a_part_is_foreign_is_found(root, request, source, kept):
    source, header = request.getfixturevalue(source), CacheHeader.read(root)
    shard = header.layout.shards[0]
    record, samples, *levels = shard_file_names(header, shard)
    taken = [samples, *levels] if kept == "record" else [record]
    for name in taken:
        shutil.copy(source / name, root / name)
    assert_found(root, *taken)


@pytest.mark.parametrize("source", ["other", "older"])
def test_a_whole_shard_that_is_foreign_is_found(root, request, source):
    source, header = request.getfixturevalue(source), CacheHeader.read(root)
    for name in shard_file_names(header, header.layout.shards[0]):
        shutil.copy(source / name, root / name)
    assert_found(root, record_name(header.layout.shards[0].name))


def test_a_cache_that_was_mended_is_not_its_older_state(older, tmp_path, tiny):
    root = Path(shutil.copytree(older, tmp_path / "a.fdet"))
    header = CacheHeader.read(root)
    first = header.layout.shards[0]
    remove_shard(root, written_record(root, header, first.name))
    write_shard(root, header, first)
    seal(root, header)
    assert files_below(root) == files_below(tiny)
    for name in (*shard_file_names(header, first), "manifest.json"):
        kept = (root / name).read_bytes()
        shutil.copy(older / name, root / name)
        assert damages_of(root)
        assert_nothing_wrong_is_read(root)
        (root / name).write_bytes(kept)


@pytest.mark.parametrize("name", ["notes.txt", "samples/more.npy", "16x24/x.h5", "new/folder/x"])
def test_an_unknown_file_is_found(root, name):
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(b"x")
    assert damages_of(root) == [Damage(name, "not a file of this cache")]
    assert_nothing_wrong_is_read(root)


def test_an_unknown_link_to_a_folder_is_found_and_not_followed(root, tiny):
    (root / "loop").symlink_to(root)
    (root / "samples" / "away").symlink_to(tiny)
    assert_found(root, "loop", "samples/away")


def test_an_empty_folder_is_no_damage(root):
    (root / "8x8" / "p3").mkdir(parents=True)
    assert verify(root).sound


@pytest.mark.parametrize("stands_there", ["link", "dangling link", "folder", "pipe"])
def test_what_is_no_file_in_place_of_one_is_found(root, stands_there):
    for name in all_names(root):
        path, kept = root / name, root.parent / "kept"
        path.rename(kept)
        if stands_there == "folder":
            path.mkdir()
        elif stands_there == "pipe":
            os.mkfifo(path)
        else:
            path.symlink_to(kept if stands_there == "link" else root / "nowhere")
        ends_within(20, lambda name=name: assert_found(root, name))
        path.rmdir() if stands_there == "folder" else path.unlink()
        kept.rename(path)
    assert verify(root).sound


def test_a_link_in_place_of_a_folder_is_found(root):
    for folder in [path for path in sorted(root.rglob("*")) if path.is_dir()]:
        kept = root.parent / "kept"
        folder.rename(kept)
        folder.symlink_to(kept)
        found = {damage.file for damage in damages_of(root)}
        assert folder.relative_to(root).as_posix() in found
        assert_nothing_wrong_is_read(root)
        folder.unlink()
        kept.rename(folder)


def test_all_damages_are_named_at_once(root):
    header, frames = CacheHeader.read(root), frames_of(root)
    expected = []
    for name, places in frames.items():
        raw = bytearray((root / name).read_bytes())
        for place, damage in places[::2]:
            raw[place[0]] ^= 1
            expected.append(damage)
        (root / name).write_bytes(raw)
    (root / samples_name(header.layout.shards[0].name)).unlink()
    found = damages_of(root)
    lost = header.layout.shards[0].name
    assert {d for d in expected if d.shard != lost} <= set(found)
    assert {d.file for d in found} == {*frames, samples_name(lost)}
    assert len(found) == len(set(found))


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (Damage("zarr.json", "gone"), "zarr.json: gone"),
        (Damage("a/1", "gone", "a-1"), "a/1: gone (shard a-1)"),
        (
            Damage("a/1", "its checksum does not hold", "a-1", "p3", 7, 1),
            "a/1: its checksum does not hold (shard a-1, level p3, image 7, view 1)",
        ),
    ],
)
def test_a_damage_is_one_line(damage, text):
    assert str(damage) == text


def unfinished(root: Path) -> CacheHeader:
    """Only the first shard is left, as if the extraction had been stopped."""
    header = CacheHeader.read(root)
    (root / manifest_file.NAME).unlink()
    for name in shard_file_names(header, header.layout.shards[1]):
        (root / name).unlink()
    return header


def test_of_an_unfinished_cache_the_sound_part_and_what_is_missing_are_told(root):
    unfinished(root)
    result = verify(root)
    assert (result.damages, result.missing, result.sound) == ((), 1, False)


def test_data_without_a_record_is_no_damage(root):
    header = CacheHeader.read(root)
    (root / manifest_file.NAME).unlink()
    (root / record_name(header.layout.shards[1].name)).unlink()
    result = verify(root)
    assert (result.damages, result.missing, result.sound) == ((), 1, False)


def test_a_cache_of_which_only_the_header_is_there_misses_every_shard(root):
    header = CacheHeader.read(root)
    for name in ["manifest.json", *file_names(header)]:
        (root / name).unlink()
    assert (verify(root).damages, verify(root).missing) == ((), 2)


def test_damage_to_an_unfinished_cache_is_found(root):
    header = unfinished(root)
    for name in (*shard_file_names(header, header.layout.shards[0]), *header.other_files):
        raw = (root / name).read_bytes()
        (root / name).write_bytes(raw[: len(raw) // 2])
        assert name in {damage.file for damage in damages_of(root)}
        (root / name).write_bytes(raw)


def test_a_manifest_that_was_never_written_is_told_with_the_way_out(root):
    (root / manifest_file.NAME).unlink()
    (damage,) = damages_of(root)
    assert damage.file == "manifest.json"
    assert "repeat the command that made the cache" in damage.why
    seal(root, CacheHeader.read(root))
    assert verify(root).sound


def test_leftovers_are_told_and_are_no_damage(root):
    (root / f".fdet.json{SCRATCH}").write_bytes(b"half")
    publish_bytes(root / "16x24" / "x", b"one")
    publish_bytes(root / "16x24" / "x", b"two")
    (root / "16x24" / "x").unlink()
    result = verify(root)
    assert result.sound
    assert result.leftovers == (f".fdet.json{SCRATCH}", "16x24/.x.aside-1")


def test_progress_goes_to_the_end(root):
    told = []
    result = verify(root, lambda done, total: told.append((done, total)))
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert {total for _, total in told} == {result.bytes} == {told[-1][0]}


@pytest.mark.parametrize("codec", ["int5", "fp16+pca3"])
def test_damage_to_a_codecs_files_is_found(tmp_path, codec, store):
    root = make_cache(tmp_path / "a.fdet", make_header(codec, store)).root
    assert verify(root).sound
    for name in learnt(codec):
        raw = (root / name).read_bytes()
        for damaged in (raw[:-1], raw + b"\0", raw[:-1] + bytes([raw[-1] ^ 1]), b""):
            (root / name).write_bytes(damaged)
            assert {damage.file for damage in verify(root).damages} == {name}
        (root / name).unlink()
        assert {damage.file for damage in verify(root).damages} == {name}
        (root / name).write_bytes(raw)
    (root / "codec" / "p3" / "more.npy").write_bytes(b"")
    assert [damage.file for damage in verify(root).damages] == ["codec/p3/more.npy"]


def test_a_codecs_files_that_no_codec_has_are_found_though_their_digests_hold(tmp_path):
    files, name = dict(learnt("int8")), "codec/p4/step.npy"
    files[name] = files[name][:-4] + bytes(4)
    header = make_header("int8")
    key = replace(header.key, calibration=calibration_digest(files))
    create_cache(tmp_path, replace(header, key=key), ANNOTATIONS, files)
    assert verify(tmp_path).damages == (Damage(name, "no step has such values"),)


def test_a_codecs_files_that_are_not_the_keys_are_found(tmp_path):
    header = create_cache(tmp_path, make_header("int8"), ANNOTATIONS, learnt("int8"))
    key = replace(header.key, calibration="ab" * 32)
    (tmp_path / "fdet.json").write_bytes(replace(header, key=key).to_bytes())
    why = "its files are not those that the key names"
    assert verify(tmp_path).damages == (Damage("codec", why),)


def test_no_cache_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="is not a cache"):
        verify(tmp_path)


def test_an_unknown_store_is_told(root):
    header = replace(CacheHeader.read(root), store="papyrus")
    (root / "fdet.json").write_bytes(header.to_bytes())
    (damage,) = damages_of(root)
    assert damage.file == "fdet.json"
    assert "unknown store 'papyrus'" in damage.why


@pytest.mark.parametrize("place", [(0, 2**50), (0, 2**64 - 1), (2**63, 20), (2**64 - 1, 20)])
def test_a_table_that_points_nowhere_is_told(root, place):
    cache = FeatureCache.open(root)
    header, shard = cache.header, cache.header.layout.shards[0]
    record, samples, *levels = shard_file_names(header, shard)
    entries = [cache.entry(*sample) for sample in header.layout.samples(shard)]
    entries[1] = replace(entries[1], chunks=(Chunk(*place, 0), entries[1].chunks[1]))
    raw = samples_to_bytes(entries, 2)
    found = read_record(root, header.id, shard.name)
    files = {**found.files, samples: FileEntry.of(raw), levels[0]: FileEntry(1, "ab" * 32)}
    (root / samples).write_bytes(raw)
    (root / record).write_bytes(replace(found, files=files).to_bytes())
    (root / manifest_file.NAME).unlink()
    seal(root, header)
    told = [d for d in damages_of(root) if d.level]
    assert [(d.file, d.level, d.image_id, d.view) for d in told] == [(levels[0], "p3", 5, 1)]


def test_a_cache_is_verified_by_a_relative_path_too(root, monkeypatch):
    monkeypatch.chdir(root)
    (root / "annotations.json.zst").write_bytes(b"")
    assert {damage.file for damage in damages_of(Path())} == {"annotations.json.zst"}
    # A damaged manifest hides nothing else that is wrong.
    (root / "manifest.json").write_bytes(b"")
    damaged = {"annotations.json.zst", "manifest.json"}
    assert {damage.file for damage in damages_of(Path())} == damaged
