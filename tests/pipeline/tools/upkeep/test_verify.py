"""Verification behind a progress bar: every byte is read once, and what is wrong is told."""

import re
import shutil
from contextlib import contextmanager

import pytest

from fdet.cache import verify as verify_file
from fdet.cache.errors import InputError
from fdet.pipeline.extraction.extract import extract
from fdet.pipeline.machines.progress import progress_line
from fdet.pipeline.tools.upkeep import verify
from fdet.pipeline.tools.upkeep.verify import verify_cache

from ...quick import damage, flip_bit, quick, records, tree


@pytest.fixture
def root(whole, tmp_path):
    """A copy, to be damaged."""
    return shutil.copytree(whole, tmp_path / "c")


def test_a_sound_cache_is_read_to_the_last_byte(whole):
    result = verify_cache(whole)
    assert (result.damages, result.missing, result.leftovers) == ((), 0, ())
    # The header, the manifest and the records have been checked before the rest is read.
    read = {n: raw for n, raw in tree(whole).items() if not is_small(n)}
    assert result.bytes == sum(map(len, read.values()))


def is_small(name):
    return name in ("fdet.json", "manifest.json") or name.startswith("commits/")


def test_the_progress_ends_where_the_cache_ends(root, monkeypatch):
    lines = []

    @contextmanager
    def noted(title, total):
        with progress_line(title, total) as progress:
            lines.append(progress)
            yield progress

    monkeypatch.setattr(verify, "progress_line", noted)
    damage(root, 10)
    result = verify_cache(root)
    (progress,) = lines
    assert progress.done == progress.total == result.bytes
    assert re.fullmatch(r"[\d.]+ [kM]B/s", progress.text)


SMALL = ("fdet.json", "manifest.json", "annotations.json.zst")
OF_A_SHARD = ("commits/64x64-1.json", "samples/64x64-1.npy")
# One file of each kind, by store.
FILES = {
    "zarr": (*SMALL, *OF_A_SHARD, "64x64/c2/c.1.0.0.0", "64x64/c2/zarr.json", "zarr.json"),
    "hdf5": (*SMALL, *OF_A_SHARD, "64x64/1.h5"),
}
# Of the same kind where there is one: sound in itself, but of another place.
ANOTHER = {
    "64x64/c2/c.1.0.0.0": "64x64/c2/c.2.0.0.0",
    "64x64/1.h5": "64x64/2.h5",
    "commits/64x64-1.json": "commits/64x64-2.json",
    "samples/64x64-1.npy": "samples/64x64-2.npy",
}
ACCIDENTS = {
    "flipped": lambda path, other: flip_bit(path, path.stat().st_size // 2),
    "cut": lambda path, other: path.write_bytes(path.read_bytes()[:-1]),
    "longer": lambda path, other: path.write_bytes(path.read_bytes() + b"\0"),
    "emptied": lambda path, other: path.write_bytes(b""),
    "exchanged": lambda path, other: shutil.copy(other, path),
    "removed": lambda path, other: path.unlink(),
}


@pytest.mark.parametrize("accident", ACCIDENTS)
@pytest.mark.parametrize(("store", "name"), [(s, n) for s, names in FILES.items() for n in names])
def test_a_damaged_file_is_named(store, name, accident, root):
    ACCIDENTS[accident](root / name, root / ANOTHER.get(name, "samples/64x64-0.npy"))
    if (accident, name) == ("removed", "fdet.json"):
        with pytest.raises(InputError, match="is not a cache"):
            verify_cache(root)
        return
    result = verify_cache(root)
    if (accident, name) == ("removed", "manifest.json"):
        assert "repeat the command that made the cache" in result.damages[0].why
    assert not result.sound
    assert {damage.file for damage in result.damages} == {name}
    if "1" in name.partition("/")[2]:
        assert {damage.shard for damage in result.damages} == {"64x64-1"}


def test_shards_that_are_not_there_yet_are_counted(dataset, store, tmp_path):
    extract(quick(dataset, tmp_path / "c", store=store, rank=0, world=2))
    result = verify_cache(tmp_path / "c")
    assert (result.damages, result.missing, result.sound) == ((), 2, False)
    assert records(tmp_path / "c") == ["64x64-0", "64x64-2"]


def test_leftovers_are_told_and_strangers_are_damage(root):
    (root / "commits" / ".64x64-9.json.scratch").touch()
    (root / ".manifest.json.aside-1").touch()
    (root / "commits" / "notes.txt").touch()
    result = verify_cache(root)
    assert result.leftovers == (".manifest.json.aside-1", "commits/.64x64-9.json.scratch")
    assert [str(d) for d in result.damages] == ["commits/notes.txt: not a file of this cache"]


def test_a_file_that_is_being_written_meanwhile_is_no_damage(root, monkeypatch):
    """Another process began it after the look for leftovers."""
    monkeypatch.setattr(verify_file, "leftovers", lambda *_, **__: [])
    (root / "commits" / ".64x64-0.json.scratch").touch()
    assert verify_cache(root).damages == ()


def test_what_is_no_cache_is_refused(tmp_path):
    with pytest.raises(InputError, match="is not a cache"):
        verify_cache(tmp_path)
