"""What a codec needs, forged: its files and the fields that name them; every digest made to fit."""

import io
import os
import pickle
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fdet.cache.codecs.calibration import calibration_digest
from fdet.cache.codecs.codec import codec_of
from fdet.cache.loader import load_batch
from fdet.cache.reader import FeatureCache

from ..cache.handmade import make_cache, make_header
from .cache_attempts import REFUSALS, SAMPLES, foreign_attempts, roots
from .case import Case, Thunk, outside_of
from .corpus_headers import ESCAPE, LEVEL, LONG, Place, put
from .forging import Edit, nothing, reseal

Spoil = Callable[[Path], object]

CODEC = "int5+pca3"
STEP = "codec/p3/step.npy"
ARRAYS = ("step", "shift", "mean", "deviation", "basis")
BLOCKS = "q1.5"
BLOCK_ARRAYS = ("step", "bits", "mean", "deviation", "basis")


def attempts(folder: Path) -> Iterator[tuple[str, Thunk]]:
    """All that is tried on any cache, and to decode it."""
    yield from foreign_attempts(folder)
    for root in roots(folder):
        yield f"decode {root.name}", partial(_decoded, root)


def _decoded(root: Path) -> None:
    cache = FeatureCache.open(root)
    codec = codec_of(root, cache.header.key)
    for image_id in cache.image_ids[:SAMPLES]:
        load_batch(cache, [(image_id, 0)]).decode(codec, "cpu")


def _fitting(root: Path, edit: Edit = nothing) -> None:
    """Seal all anew; the key names the codec's files as they stand, unless the edit says otherwise."""
    paths = sorted((root / "codec").rglob("*.npy"))
    small = [path for path in paths if path.is_file() and path.stat().st_size < 2**26]
    files = {path.relative_to(root).as_posix(): path.read_bytes() for path in small}

    def header(data: dict[str, Any]) -> None:
        data["key"]["calibration"] = calibration_digest(files)
        edit(data)

    reseal(root, header=header)


def forged(name: str, *spoils: Spoil, codec: str = CODEC, refused: bool = True) -> Case:
    """A cache for each way to spoil one."""

    def prepare(folder: Path) -> None:
        sys.setrecursionlimit(10_000)
        for k, spoil in enumerate(spoils):
            root = folder / f"{k}.fdet"
            make_cache(root, make_header(codec, "hdf5"), failed={17})
            spoil(root)

    return Case(f"codec: {name}", prepare, attempts, REFUSALS, refused)


def header(name: str, *edits: Edit, codec: str = CODEC, refused: bool = True) -> Case:
    spoils = [partial(_fitting, edit=edit) for edit in edits]
    return forged(name, *spoils, codec=codec, refused=refused)


def values(name: str, place: Place, *given: Any, codec: str = CODEC, refused: bool = True) -> Case:
    return header(name, *(put(place, value) for value in given), codec=codec, refused=refused)


def written(*contents: bytes, path: str = STEP) -> list[Spoil]:
    """A file with these bytes in its place."""

    def spoil(root: Path, raw: bytes) -> None:
        (root / path).write_bytes(raw)
        _fitting(root)

    return [partial(spoil, raw=raw) for raw in contents]


def numbers(*given: float, arrays: tuple[str, ...] = ARRAYS) -> list[Spoil]:
    """The last number of each array in turn."""

    def spoil(root: Path, array: str, value: float) -> None:
        path = root / f"codec/p4/{array}.npy"
        path.write_bytes(path.read_bytes()[:-4] + np.array(value, "<f4").tobytes())
        _fitting(root)

    return [partial(spoil, array=array, value=value) for array in arrays for value in given]


def saved(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _head(text: str, size: int = 12) -> bytes:
    """A file of numpy's with any words for its head."""
    padded = text.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded.encode() + bytes(size)


class _Bomb:
    """Unpickling it would be told of: it opens a file outside."""

    def __reduce__(self) -> tuple[Any, ...]:
        return open, ("/etc/passwd",)


def _pickled() -> bytes:
    head = "{'descr': '|O', 'fortran_order': False, 'shape': (3,), }"
    return _head(head, 0) + pickle.dumps(_Bomb())


def replaced(how: Callable[[Path, Path], object], path: str = STEP) -> Spoil:
    """how: puts something else where a file (or folder) was; the digests are the old ones."""

    def spoil(root: Path) -> None:
        kept = outside_of(root.parent) / "kept"
        (root / path).rename(kept)
        how(root / path, kept)

    return spoil


def _gigabyte(root: Path) -> None:
    os.truncate(root / STEP, 2**30)
    _fitting(root)


def _terabyte(root: Path) -> None:
    """Which no digest can be made to fit in time."""
    os.truncate(root / STEP, 2**40)


def _absent(root: Path) -> None:
    """Nobody names it any more."""
    (root / STEP).unlink()
    _fitting(root, lambda data: data["beside"].pop(STEP))


def _none_at_all(root: Path) -> None:
    for path in (root / "codec").rglob("*.npy"):
        path.unlink()

    def edit(data: dict[str, Any]) -> None:
        data["beside"] = {n: x for n, x in data["beside"].items() if not n.startswith("codec/")}
        data["key"]["calibration"] = "0" * 64

    _fitting(root, edit)


def _swapped(root: Path) -> None:
    one, other = root / STEP, root / "codec/p3/shift.npy"
    raw = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(raw)
    _fitting(root)


def _bits(*given: float) -> list[Spoil]:
    """All bits the same, and steps as large as they come."""

    def spoil(root: Path, value: float) -> None:
        for name, number in (("bits", value), ("step", 1e30)):
            path = root / f"codec/p4/{name}.npy"
            path.write_bytes(saved(np.full_like(np.load(path), number)))
        _fitting(root)

    return [partial(spoil, value=value) for value in given]


def coded(codec: str, dtype: str, calibration: str = "") -> Edit:
    """Another codec for what is stored."""

    def edit(data: dict[str, Any]) -> None:
        data["dtype"] = dtype
        data["key"].update(codec=codec, calibration=calibration or data["key"]["calibration"])
        if not calibration and "int" not in codec and "+" not in codec:
            data["key"]["calibration"] = ""

    return edit


def wide(channels: int, codec: str) -> Edit:
    """Hardly anything is stored of very many channels."""

    def edit(data: dict[str, Any]) -> None:
        for level in data["key"]["levels"]:
            level["channels"] = channels
        data["key"]["codec"] = codec

    return edit


def _nested(depth: int) -> Any:
    value: Any = "fp16"
    for _ in range(depth):
        value = [value]
    return value


KEY: Place = ("key",)
NAMES: tuple[str, ...] = ("codec", "calibration", "converted")

CASES = [
    # Files.
    forged("a file: empty, cut, longer", *written(b"", saved(np.ones(3, "f4"))[:-1])),
    forged("a file: longer", *written(saved(np.ones(3, "f4")) + b"\0", bytes(2**20))),
    forged(
        "a file: of other types", *written(*(saved(np.ones(3, t)) for t in ("f8", ">f4", "i4")))
    ),
    forged(
        "a file: of other shapes",
        *written(*(saved(np.ones(s, "f4")) for s in ((1,), (5,), (3, 1), (1, 3), (), (0,)))),
    ),
    forged(
        "a file: heads that lie",
        *written(
            _head("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }"),
            _head("{'descr': '<f4', 'fortran_order': False, 'shape': (-3,), }"),
            _head("{'descr': '<f4', 'fortran_order': True, 'shape': (3,), }"),
            _head("{'descr': '|O', 'fortran_order': False, 'shape': (3,), }"),
            _head("__import__('os').system('true')"),
            _head("(" * 100),
        ),
    ),
    forged("a file: a pickle", *written(pickle.dumps(_Bomb()), _pickled())),
    forged("a file: a gigabyte, or a terabyte, of zeros", _gigabyte, _terabyte),
    forged("a file: absent, and not named", _absent),
    forged("files: none, and none is named", _none_at_all),
    forged("files: two swapped", _swapped),
    forged("files: more than there are", *written(b"more", path="codec/p3/more.npy")),
    forged("a file: a link", replaced(lambda path, kept: path.symlink_to(kept))),
    forged("a file: a pipe", replaced(lambda path, _: os.mkfifo(path))),
    forged("a file: a folder", replaced(lambda path, _: path.mkdir())),
    forged("a file: a device", replaced(lambda path, _: path.symlink_to("/dev/zero"))),
    forged("its folder: a link", replaced(lambda path, kept: path.symlink_to(kept), "codec")),
    forged("a level's folder: a link", replaced(lambda p, kept: p.symlink_to(kept), "codec/p4")),
    forged("numbers: not finite", *numbers(np.nan, np.inf, -np.inf), codec="int8+pca"),
    forged("numbers: zero and less", *numbers(0.0, -0.0, -1.0), refused=True),
    forged("numbers: huge and tiny", *numbers(3e38, 1e-45, 1e-38), refused=False),
    # Of blocks of cells, whose number of components only their files say.
    forged(
        "blocks: numbers not finite", *numbers(np.nan, np.inf, arrays=BLOCK_ARRAYS), codec=BLOCKS
    ),
    forged(
        "blocks: steps of zero", *numbers(0.0, -1.0, arrays=("step", "deviation")), codec=BLOCKS
    ),
    forged(
        "blocks: bits that no code has",
        *numbers(3.0, 0.5, -1.0, 16.0, 255.0, 1e30, arrays=("bits",)),
        codec=BLOCKS,
    ),
    forged(
        "blocks: steps of another shape",
        *written(
            *(saved(np.ones(s, "f4")) for s in ((4, 0), (4, 2), (4, 6), (3, 4), (16,), (4, 3, 1))),
            b"",
            bytes(2**20),
            path="codec/p4/step.npy",
        ),
        codec=BLOCKS,
    ),
    forged(
        "blocks: more components than channels",
        *written(saved(np.ones((4, 9), "f4")), path="codec/p3/step.npy"),
        codec=BLOCKS,
    ),
    forged("blocks: no bits at all", *_bits(0.0), codec=BLOCKS, refused=False),
    forged("blocks: other bits, huge steps", *_bits(8.0, 1.0), codec=BLOCKS, refused=False),
    values(
        "blocks: another name", ("key", "codec"), "q1+pca", "q1.50", "q", "q9", "q1.5+pca3", "q-1"
    ),
    values("blocks: of another step", ("key", "codec"), "q1", codec=BLOCKS, refused=False),
    header(
        "blocks: channels, a great many",
        *(wide(channels, BLOCKS) for channels in (2**14, 2**20, 2**28, 2**63)),
        codec=BLOCKS,
    ),
    # Fields.
    *(
        values(
            f"{name}: of another type",
            (*KEY, name),
            *(None, 5, -1, True, {}, [[]], [None], [5], {"fp16": 1}, 1e308, 2**70),
        )
        for name in NAMES
    ),
    *(values(f"{name}: a megabyte", (*KEY, name), LONG, [LONG], [ESCAPE]) for name in NAMES),
    *(
        values(
            f"{name}: nested", (*KEY, name), *(_nested(k) for k in (2, 500, *range(900, 990, 7)))
        )
        for name in NAMES
    ),
    values("dtype: nested", ("dtype",), *(_nested(k) for k in (1, 500, *range(900, 990, 7)))),
    values("codec: empty list", ("key", "codec"), [], "", ESCAPE),
    values(
        "codec: no codec",
        ("key", "codec"),
        *("int7", "int5+", "int5+pca0", "int5+pca03", "int5+pca-1", "int5+pca1e3", "int5+pca 3"),
        *("int5+pca9999999", "int5+pca" + "9" * 900, "int5+pca٣", "int5+pca3\n", "int5+pca3+pca3"),
        *("+pca", "../int5", "int5+pca3\0"),
    ),
    values("codec: more components than channels", ("key", "codec"), "int5+pca999999", "int5+pca4"),
    values("codec: fewer components", ("key", "codec"), "int5+pca1", "int5+pca2"),
    values("codec: of the same type", ("key", "codec"), "int4", "int8", "int6+pca", "int8+pca6"),
    values("codec: another step, of the same files", ("key", "codec"), "int4+pca3", refused=False),
    header(
        "codec and dtype: others",
        coded("fp32", "float32"),
        coded("fp16", "float16"),
        coded("bf16", "int16"),
        coded("fp16+pca3", "float16"),
        coded("fp32+pca", "float32"),
    ),
    header("codec and dtype: that disagree", coded("int5+pca3", "int8"), coded("fp32", "uint8")),
    header("dtype: of an integer codec", *(put(("dtype",), t) for t in ("int8", "bool", "|u1"))),
    header(
        "a codec that needs a calibration, without one",
        coded("int8", "uint8", "0" * 64),
        coded("int8+pca", "uint8", "0" * 64),
        put(("key", "calibration"), ""),
        codec="fp32",
    ),
    values(
        "calibration: for a codec that has none", ("key", "calibration"), "0" * 64, codec="fp16"
    ),
    values("calibration: of another", ("key", "calibration"), "0" * 64, "x", "\x00", ESCAPE),
    values("converted: no codecs", ("key", "converted"), ["fp61"], [""], ["int5+pca0"], "fp16"),
    values("converted: 100,000 times", ("key", "converted"), ["fp16"] * 100_000, refused=False),
    values("converted: in odd orders", ("key", "converted"), ["int4", "fp32"], refused=False),
    header(
        "channels: a great many, of which little is stored",
        *(wide(channels, "int5+pca1") for channels in (2**26, 2**28, 2**31 - 1, 2**31, 2**63)),
    ),
    header(
        "channels: more than any calibration has",
        *(wide(channels, codec) for channels in (2**14, 2**20) for codec in ("int5+pca", CODEC)),
    ),
    values("channels: others than the files'", (*LEVEL, "channels"), 1, 2, 4, 1000),
    values("level names: others than the files'", (*LEVEL, "name"), "p5", "codec", "step.npy"),
]
