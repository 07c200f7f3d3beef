"""Image vectors, forged: their file, and the key's field that tells of them; every digest made to fit."""

import os
import pickle
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fdet.cache.format.vectors import vectors_name
from fdet.cache.reader import FeatureCache

from ..cache.handmade import VECTOR, make_cache, make_header
from .cache_attempts import REFUSALS, SAMPLES, foreign_attempts, roots
from .case import Case, Thunk, outside_of
from .corpus_codecs import Spoil, _Bomb, _head, _nested, _pickled, saved
from .corpus_headers import ESCAPE, LONG, Place, put
from .forging import SHARD, Edit, nothing, reseal

NAME = vectors_name(SHARD)
FIELD: Place = ("key", "image_vector")
SLOTS = 6


def attempts(folder: Path) -> Iterator[tuple[str, Thunk]]:
    """All that is tried on any cache, and to read vectors."""
    yield from foreign_attempts(folder)
    for root in roots(folder):
        yield f"vectors {root.name}", partial(_read, root)


def _read(root: Path) -> None:
    cache = FeatureCache.open(root)
    spec = cache.header.key.image_vector
    for image_id in cache.image_ids[:SAMPLES]:
        vector = cache.vector(image_id)
        assert spec is not None and vector.shape == (spec.channels,) and vector.dtype == np.float32
        assert np.isfinite(vector).all()


def forged(name: str, *spoils: Spoil, refused: bool = True) -> Case:
    """A cache for each way to spoil one."""

    def prepare(folder: Path) -> None:
        sys.setrecursionlimit(10_000)
        for k, spoil in enumerate(spoils):
            root = folder / f"{k}.fdet"
            make_cache(root, make_header(store="hdf5", image_vector=VECTOR), failed={17})
            spoil(root)

    return Case(f"vectors: {name}", prepare, attempts, REFUSALS, refused)


def written(*contents: bytes) -> list[Spoil]:
    """A file with these bytes in its place."""

    def spoil(root: Path, raw: bytes) -> None:
        (root / NAME).write_bytes(raw)
        reseal(root)

    return [partial(spoil, raw=raw) for raw in contents]


def changed(*changes: Callable[[np.ndarray], np.ndarray]) -> list[Spoil]:
    """What becomes of the rows that were written."""

    def spoil(root: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
        (root / NAME).write_bytes(saved(change(np.load(root / NAME))))
        reseal(root)

    return [partial(spoil, change=change) for change in changes]


def replaced(how: Callable[[Path, Path], object], path: str = NAME) -> Spoil:
    """how: puts something else where a file (or folder) was; the digests are the old ones."""

    def spoil(root: Path) -> None:
        kept = outside_of(root.parent) / "kept"
        (root / path).rename(kept)
        how(root / path, kept)

    return spoil


def sized(size: int) -> Spoil:
    """A file of so many zeros."""

    def spoil(root: Path) -> None:
        os.truncate(root / NAME, size)
        reseal(root)

    return spoil


def unnamed(root: Path) -> None:
    """The record tells of no such file, which still lies there."""
    reseal(root, record=lambda data: data["files"].pop(NAME))


def absent(root: Path) -> None:
    """Nobody names it any more, and it is gone."""
    (root / NAME).unlink()
    reseal(root, record=lambda data: data["files"].pop(NAME))


def named_elsewhere(name: str) -> Spoil:
    """The record names another file in its place."""

    def edit(data: dict[str, Any]) -> None:
        data["files"][name] = data["files"].pop(NAME)

    return lambda root: reseal(root, record=edit)


def header(name: str, *edits: Edit, refused: bool = True) -> Case:
    return forged(name, *(partial(reseal, header=edit) for edit in edits), refused=refused)


def values(name: str, place: Place, *given: Any, refused: bool = True) -> Case:
    return header(name, *(put(place, value) for value in given), refused=refused)


def without_field(data: dict[str, Any]) -> None:
    del data["key"]["image_vector"]


def _filled(value: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda rows: np.full_like(rows, value)


def _of_text(text: str) -> bytes:
    return _head(text, SLOTS * VECTOR.nbytes)


CASES = [
    forged("as they were written", partial(reseal, header=nothing), refused=False),
    forged("a file: empty, cut, longer", *written(b"", b"\x93NUMPY"), *changed(lambda x: x[:-1])),
    forged("a file: of other shapes", *changed(lambda x: x.T, np.ravel, lambda x: x[None])),
    forged(
        "a file: of other types",
        *changed(*(lambda x, t=t: x.astype(t) for t in ("f8", ">f4", "f2", "i4", "c8"))),
    ),
    forged("a file: in Fortran's order", *changed(np.asfortranarray)),
    forged("a file: a pickle", *written(pickle.dumps(_Bomb()), _pickled())),
    forged(
        "a file: of objects",
        *written(_of_text("{'descr': '|O', 'fortran_order': False, 'shape': (6, 3), }")),
    ),
    forged(
        "a file: heads that lie",
        *written(
            _of_text("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 3), }"),
            _of_text("{'descr': '<f4', 'fortran_order': False, 'shape': (-6, 3), }"),
            _of_text("{'descr': '<f4', 'fortran_order': True, 'shape': (6, 3), }"),
            _of_text("__import__('os').system('true')"),
            _of_text("(" * 100),
            b"\x93NUMPY\x02\x00" + (2**32 - 1).to_bytes(4, "little") + bytes(200),
            b"\x93NUMPY\x01\x00\xff\xff" + b" " * 65535,
        ),
    ),
    forged("a file: a gigabyte, or a terabyte, of zeros", sized(2**30), sized(2**40)),
    forged("a file: absent, or not named", absent, unnamed),
    forged(
        "a file: named elsewhere",
        *map(named_elsewhere, ("vectors/more.npy", "vectors/32x32-1.npy", "samples/x.npy")),
    ),
    forged(
        "a file: named outside", *map(named_elsewhere, ("../x.npy", "/etc/passwd", "vectors//x"))
    ),
    forged("a file: a link", replaced(lambda path, kept: path.symlink_to(kept))),
    forged("a file: a pipe", replaced(lambda path, _: os.mkfifo(path))),
    forged("a file: a folder", replaced(lambda path, _: path.mkdir())),
    forged("a file: a device", replaced(lambda path, _: path.symlink_to("/dev/zero"))),
    forged("the folder: a link", replaced(lambda path, kept: path.symlink_to(kept), "vectors")),
    forged("numbers: none", *changed(*map(_filled, (np.nan, np.inf, -np.inf)))),
    forged("numbers: of a sample that failed", *changed(np.nan_to_num, _filled(0), _filled(1e38))),
    # Fields.
    values("the field: of another type", FIELD, None, 5, True, "class-token", [], [[]], {}),
    values("the field: more in it", (*FIELD, "colour"), "red"),
    values(
        "kind: of another type", (*FIELD, "kind"), None, 5, True, [], {}, "", LONG, ESCAPE, "\n"
    ),
    values("kind: one that nobody knows", (*FIELD, "kind"), "soul", refused=False),
    values(
        "length: of another type",
        (*FIELD, "channels"),
        *(None, "3", 3.0, True, [], {}, -1, 0, 2**31, 2**63, 1e308),
    ),
    values("length: another than the files'", (*FIELD, "channels"), 1, 2, 4, 1000),
    values("length: more than memory", (*FIELD, "channels"), 2**26, 2**31 - 1, 2**40),
    values("nested", (*FIELD, "kind"), *(_nested(k) for k in (2, 500, *range(900, 990, 7)))),
    header("the field: gone, its files left", without_field),
]
