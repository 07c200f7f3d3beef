"""Removing: what belongs to the cache and is meant, and never anything else."""

import fcntl
import os
import shutil
import signal
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from fdet.cache.disk import publish
from fdet.cache.disk.publish import only_writer
from fdet.cache.errors import CorruptCache, InputError, StorageError
from fdet.pipeline.extraction.extract import extract
from fdet.pipeline.tools.upkeep.rm import remove_cache, remove_damaged, remove_scratch_files

from ...command_server import Moment
from ...quick import flip_bit, quick, records, tree


@pytest.fixture
def root(whole, tmp_path):
    """A copy of a whole cache."""
    return shutil.copytree(whole, tmp_path / "c")


@contextmanager
def held(path):
    """A scratch file that a living process is writing."""
    with path.open("w") as file:
        file.write("at work")
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def test_a_cache_goes_with_all_that_is_its_own(root):
    (root / "commits" / ".64x64-0.json.scratch").write_bytes(b"half")
    (root / "64x64" / ".1.h5.aside-1").write_bytes(b"set aside")
    files = tree(root)
    assert remove_cache(root) == (len(files), sum(map(len, files.values())))
    assert not root.exists()


def test_an_unfinished_cache_goes_too(dataset, store, tmp_path):
    extract(quick(dataset, tmp_path / "c", store=store, rank=1, world=2))
    remove_cache(tmp_path / "c")
    assert not (tmp_path / "c").exists()


class Killed(BaseException):
    """In place of a system call."""


@contextmanager
def killed_before(monkeypatch, number):
    """The n-th removal of a file or a folder."""
    seen = 0
    with monkeypatch.context() as patch:
        for name in ("unlink", "rmdir"):
            real = getattr(Path, name)

            def counting(path, *arguments, real=real, **more):
                nonlocal seen
                # What is held is let go by a death too.
                mine = not path.name.endswith(publish.SCRATCH)
                seen += mine
                if mine and seen == number:
                    raise Killed
                return real(path, *arguments, **more)

            patch.setattr(Path, name, counting)
        yield


@pytest.mark.parametrize("codec", ["fp32", "int5"])
@pytest.mark.parametrize("after", ["rm", "extract"])
def test_killed_anywhere_the_place_can_be_used(after, codec, dataset, store, tmp_path, monkeypatch):
    """By the same command, and by the one that made the cache."""
    options = {"store": store, "codec": codec, "shard_mb": 1}
    extract(quick(dataset, tmp_path / "whole", **options))
    expected, number = tree(tmp_path / "whole"), 0
    while True:
        number += 1
        root = shutil.copytree(tmp_path / "whole", tmp_path / "c", copy_function=os.link)
        with killed_before(monkeypatch, number):
            try:
                remove_cache(root)
                break
            except Killed:
                pass
        if after == "rm" and root.exists() and any(root.iterdir()):
            remove_cache(root)
        if after == "extract" and number % 3 == 0:
            extract(quick(dataset, root, **options))
            assert tree(root) == expected, number
        shutil.rmtree(root, ignore_errors=True)
    assert number > len(expected)
    assert tree(tmp_path / "whole") == expected


FOREIGN = ("notes.txt", "commits/notes.txt", "64x64/c1/c.9.0.0.0", "thesis/64x64/0.h5", ".hidden")


def test_files_of_others_stay_and_are_told(root):
    for name in FOREIGN:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("mine")
    with pytest.raises(InputError, match="the cache is gone; the other files there do not belong"):
        remove_cache(root)
    assert tree(root) == dict.fromkeys(FOREIGN, b"mine")


def test_links_of_others_stay_too(root, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (root / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="the cache is gone; the other files there do not belong"):
        remove_cache(root)
    assert [path.name for path in root.iterdir()] == ["link"]


def test_a_cache_behind_a_link_goes_and_the_link_may_stay(root, tmp_path):
    (tmp_path / "link").symlink_to(root)
    remove_cache(tmp_path / "link")
    assert not root.exists()


@pytest.mark.parametrize("remove", [remove_cache, remove_damaged, remove_scratch_files])
def test_what_is_no_cache_is_left_alone(remove, tmp_path):
    (tmp_path / "manifest.json").write_text("mine")
    (tmp_path / ".x.scratch").write_text("mine")
    with pytest.raises(InputError, match="is not a cache"):
        remove(tmp_path)
    assert len(tree(tmp_path)) == 2


@pytest.mark.parametrize("remove", [remove_cache, remove_damaged, remove_scratch_files])
def test_a_damaged_header_says_nothing_about_what_is_its_own(remove, root):
    flip_bit(root / "fdet.json", 100)
    before = tree(root)
    with pytest.raises(CorruptCache, match=r"fdet\.json"):
        remove(root)
    assert tree(root) == before


@pytest.mark.parametrize("role", ["rank-0-of-1", "rank-1-of-4"])
@pytest.mark.parametrize("remove", [remove_cache, remove_damaged])
def test_a_cache_that_is_being_written_is_left_alone(remove, role, root):
    flip_bit(root / "samples" / "64x64-0.npy", 900)
    before = tree(root)
    with only_writer(root, role), pytest.raises(StorageError, match="another fdet process"):
        remove(root)
    assert tree(root) == before


@pytest.mark.parametrize("remove", [remove_cache, remove_damaged])
@pytest.mark.parametrize("link", ["commits", "64x64", "samples"])
def test_a_linked_folder_is_not_followed(link, remove, root, tmp_path):
    """What lies behind a link is not the cache's, whatever the header says."""
    elsewhere = tmp_path / "elsewhere"
    (root / link).rename(elsewhere)
    (root / link).symlink_to(elsewhere)
    before = tree(elsewhere)
    with suppress(InputError, CorruptCache):
        remove(root)
    assert tree(elsewhere) == before


def test_only_what_the_dead_left_is_removed(root, whole):
    dead = {
        ".fdet.json.scratch": b"",
        "commits/.64x64-7.json.scratch": b"half",
        ".rank-3-of-8.scratch": b"",
        "samples/.64x64-0.npy.aside-1": b"other bytes",
    }
    for name, raw in dead.items():
        (root / name).write_bytes(raw)
    with held(root / "64x64" / ".0.h5.scratch"), only_writer(root, "rank-5-of-8"):
        assert remove_scratch_files(root) == (4, 15)
        left = tree(root)
        assert left.pop("64x64/.0.h5.scratch") == b"at work"
        assert left.pop(".rank-5-of-8.scratch") == b""
        assert left == tree(whole)


def test_files_of_others_with_a_dot_are_not_taken_for_leftovers(root):
    names = (".DS_Store", ".scratch.txt", "commits/.nfs0001", "commits/x.scratch")
    for name in names:
        (root / name).write_text("mine")
    assert remove_scratch_files(root) == (0, 0)
    assert set(names) < set(tree(root))


def test_a_scratch_file_that_goes_by_itself_is_no_error(root, monkeypatch):
    """The process that wrote it ends between the listing and the look at it."""
    listed = publish.leftovers

    def and_one_gone(folder, **options):
        return [folder / ".manifest.json.scratch", *listed(folder, **options)]

    monkeypatch.setattr(publish, "leftovers", and_one_gone)
    (root / ".fdet.json.scratch").write_bytes(b"half")
    assert remove_scratch_files(root) == (1, 4)


def test_nothing_is_removed_from_a_sound_cache(root, whole):
    assert remove_damaged(root) == (0, 0)
    assert tree(root) == tree(whole)


def a_file_of_each_kind(store):
    maps = {
        "zarr": ("64x64/c1/c.2.0.0.0", "zarr.json", "64x64/c2/zarr.json"),
        "hdf5": ("64x64/2.h5",),
    }
    return (*maps[store], "samples/64x64-2.npy", "commits/64x64-2.json", "annotations.json.zst")


@pytest.mark.parametrize(
    ("store", "name"), [(s, n) for s in ("zarr", "hdf5") for n in a_file_of_each_kind(s)]
)
@pytest.mark.parametrize("accident", ["flipped", "removed"])
def test_damage_is_taken_out_and_made_again_alone(
    store, name, accident, root, whole, dataset, passes
):
    if accident == "flipped":
        flip_bit(root / name, 70)
    else:
        (root / name).unlink()
    of_a_shard = "2" in name.partition("/")[2] and "zarr" not in name
    stamps = {p: p.stat().st_mtime_ns for p in (root / "commits").iterdir()}
    count, size = remove_damaged(root)
    gone = {n: raw for n, raw in tree(whole).items() if n not in tree(root)}
    assert "manifest.json" in gone
    assert (count, size) == (len(gone) - (accident == "removed"), sum_of(gone, name, accident))
    assert records(root) == [f"64x64-{k}" for k in range(4) if k != 2 or not of_a_shard]
    summary = extract(quick(dataset, root, store=store))
    assert summary.written == passes["samples"] == (6 if of_a_shard else 0)
    assert tree(root) == tree(whole)
    for path, stamp in stamps.items():
        assert path.stat().st_mtime_ns == stamp or (of_a_shard and path.stem == "64x64-2")


def sum_of(gone, name, accident):
    return sum(len(raw) for n, raw in gone.items() if (n, accident) != (name, "removed"))


def test_several_damaged_shards_and_a_manifest(root, whole, store, dataset, passes):
    flip_bit(root / "samples" / "64x64-0.npy", 900)
    flip_bit(root / "samples" / "64x64-3.npy", 900)
    remove_damaged(root)
    assert records(root) == ["64x64-1", "64x64-2"]
    assert extract(quick(dataset, root, store=store)).written == 12
    flip_bit(root / "manifest.json", 50)
    assert remove_damaged(root)[0] == 1
    assert extract(quick(dataset, root, store=store)).written == 0
    assert tree(root) == tree(whole)


def test_a_stranger_costs_the_cache_nothing(root):
    (root / "notes.txt").write_text("mine")
    before = tree(root)
    assert remove_damaged(root) == (0, 0)
    assert tree(root) == before


@pytest.mark.slow
@pytest.mark.parametrize("nth", [1, 2, 3, 5])
def test_killed_while_it_takes_damage_out(nth, commands, root, whole, store, dataset):
    flip_bit(root / "samples" / "64x64-1.npy", 900)
    flip_bit(root / "samples" / "64x64-2.npy", 900)
    moment = Moment("os.remove", r"/(manifest\.json|64x64-[12]\.(json|npy))$", nth)
    assert commands.run(["cache", "rm", "--damaged", root], moment) == -signal.SIGKILL
    assert commands.run(["cache", "rm", "--damaged", root]) == 0
    extract(quick(dataset, root, store=store))
    # Without its record a damaged file cannot be told from one half done: it was set aside.
    remove_scratch_files(root)
    assert tree(root) == tree(whole)


@pytest.mark.slow
@pytest.mark.parametrize("nth", [1, 2, 5, 9])
def test_killed_while_it_removes_a_cache_the_command_is_repeated(nth, commands, root):
    words = ["cache", "rm", root, "--yes"]
    assert commands.run(words, Moment("os.remove", r"/c/[^.]", nth)) == -signal.SIGKILL
    assert (root / "fdet.json").exists()
    assert commands.run(words) == 0
    assert not root.exists()
