"""Shards that are no shards of ours: bombs, and files that would lead a library elsewhere."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import zstandard

from ..cache.handmade import maps_of
from .cache_attempts import GOOD_HEADER, REFUSALS, cache_attempts, foreign_attempts
from .case import Attempts, Case, outside_of
from .forging import edit_table, forge_frame, forged, level_file, reseal

MAGIC = b"\x28\xb5\x2f\xfd"
SKIPPABLE = b"\x50\x2a\x4d\x18"
RAW = maps_of(GOOD_HEADER, 10, 0)[0].tobytes()


def compressed(data: bytes, **options: Any) -> bytes:
    return zstandard.ZstdCompressor(level=3, **options).compress(data)


def undeclared(data: bytes) -> bytes:
    return compressed(data, write_content_size=False)


def zeros(size: int, declare: bool = True) -> bytes:
    """Few bytes that become many."""
    compressor = zstandard.ZstdCompressor(level=3)
    stream = compressor.compressobj(size if declare else -1)
    block = bytes(2**20)
    parts = [stream.compress(block) for _ in range(size // len(block))]
    return b"".join([*parts, stream.flush()])


def declaring(size: int, frame: bytes = b"") -> bytes:
    """A frame whose header claims a size of eight bytes, with the blocks of another behind it."""
    blocks = frame[zstandard.frame_header_size(frame) :] if frame else b"\x01\x00\x00"
    return MAGIC + b"\xc0\x58" + size.to_bytes(8, "little") + blocks


def skippable(data: bytes) -> bytes:
    return SKIPPABLE + struct.pack("<I", len(data)) + data


def with_window(log: int) -> bytes:
    """Several segments, a window of 2**log bytes, no declared size."""
    return MAGIC + b"\x00" + bytes([(log - 10) << 3]) + b"\x01\x00\x00"


def dictionary_needed() -> bytes:
    samples = [RAW[k : k + 64] + bytes([k % 251]) * 16 for k in range(0, len(RAW) - 64, 3)]
    data = zstandard.ZstdCompressionDict(b"".join(samples)[:4096], zstandard.DICT_TYPE_RAWCONTENT)
    plain = zstandard.ZstdCompressor(level=3, dict_data=data).compress(RAW)
    # A raw dictionary has no id: give the frame one, so that it says what it needs.
    return plain[:4] + bytes([plain[4] | 1]) + plain[5:6] + b"\x07" + plain[6:]


def frame(
    name: str,
    *frames: bytes | Callable[[], bytes],
    attempts: Attempts = cache_attempts,
    refused: bool = True,
) -> Case:
    """The first sample's frame at the first level, in both stores, with its checksum and all digests."""

    def prepare(folder: Path) -> None:
        for k, given in enumerate(frames):
            data = given if isinstance(given, bytes) else given()
            for store in ("zarr", "hdf5"):
                forge_frame(forged(folder, store, f"{k}-{store}.fdet"), data)

    return Case(f"frame: {name}", prepare, attempts, REFUSALS, refused)


def shard(name: str, make: Callable[[Path, Path], object], refused: bool = True) -> Case:
    """An HDF5 shard made anew by `make(path, outside)`; all digests fit.

    Once as it is, and once with the good file behind it, where the table still finds every frame.
    """

    def prepare(folder: Path) -> None:
        for follow in (False, True):
            root = forged(folder, "hdf5", "followed.fdet" if follow else "alone.fdet")
            path, outside = level_file(root), outside_of(folder)
            good = path.read_bytes()
            path.unlink()
            (outside / "secret.bin").write_bytes(bytes(2**16))
            with h5py.File(outside / "secret.h5", "w") as file:
                file["p3"] = np.zeros((6, 3, 4, 4), "f4")
            make(path, outside)
            if follow:
                _append(root, path, good)
            reseal(root)

    return Case(f"HDF5 shard: {name}", prepare, cache_attempts, REFUSALS, refused)


def _append(root: Path, path: Path, good: bytes) -> None:
    offset = path.stat().st_size
    with path.open("ab") as file:
        file.write(good)

    def shift(rows: np.ndarray) -> None:
        rows["chunks"]["offset"] += np.uint64(offset)

    edit_table(root, shift)


def _external_link(path: Path, outside: Path) -> None:
    with h5py.File(path, "w") as file:
        file["p3"] = h5py.ExternalLink(str(outside / "secret.h5"), "/p3")
        file["p4"] = h5py.ExternalLink("../../outside/secret.h5", "/p3")


def _external_storage(path: Path, outside: Path) -> None:
    with h5py.File(path, "w") as file:
        for name, shape in (("p3", (6, 3, 4, 4)), ("p4", (6, 5, 2, 2))):
            file.create_dataset(
                name, shape, "f4", external=[(str(outside / "secret.bin"), 0, 2**14)]
            )


def _external_storage_of(target: str) -> Callable[[Path, Path], None]:
    def make(path: Path, outside: Path) -> None:
        with h5py.File(path, "w") as file:
            file.create_dataset("p3", (6, 3, 4, 4), "f4", external=[(target, 0, 2**14)])

    return make


def _virtual(path: Path, outside: Path) -> None:
    layout = h5py.VirtualLayout((6, 3, 4, 4), "f4")
    layout[:] = h5py.VirtualSource(str(outside / "secret.h5"), "p3", (6, 3, 4, 4))
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("p3", layout)


def _soft_links(path: Path, outside: Path) -> None:
    with h5py.File(path, "w") as file:
        file["p3"], file["p4"] = h5py.SoftLink("/p4"), h5py.SoftLink("/p3")
        file["up"] = h5py.SoftLink("/../../etc/passwd")


def _huge_shape(path: Path, outside: Path) -> None:
    with h5py.File(path, "w") as file:
        shape = (2**40, 2**10, 2**6, 2**6)
        file.create_dataset("p3", shape, "f4", chunks=(1, 2**10, 2**6, 2**6))
        file.create_dataset("p4", (2**62,), "u1", chunks=(2**31,))


def _bomb(path: Path, outside: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("p3", data=np.zeros(2**25, "u1"), chunks=(2**25,), **hdf5plugin.Zstd(3))


def _many_filters(path: Path, outside: Path) -> None:
    with h5py.File(path, "w") as file:
        made = file.create_dataset(
            "p3",
            (6, 3, 4, 4),
            "f4",
            chunks=(1, 3, 4, 4),
            compression="gzip",
            shuffle=True,
            fletcher32=True,
        )
        made[:] = 1


def _objects(path: Path, outside: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("p3", (6,), h5py.ref_dtype)
        file.create_dataset("p4", (6,), h5py.string_dtype())


def _named_type_and_groups(path: Path, outside: Path) -> None:
    with h5py.File(path, "w") as file:
        file["p3"] = np.dtype("f4")
        inner = file.create_group("p4")
        inner["p4"] = file["/"]


def _with(data: bytes) -> Callable[[Path, Path], object]:
    return lambda path, outside: path.write_bytes(data)


def metadata(
    name: str, *edits: Callable[[dict[str, Any]], object], file: str = "32x32/p3/zarr.json"
) -> Case:
    """Zarr's metadata, forged; our reader has no use for them, so every value must come out."""

    def prepare(folder: Path) -> None:
        for k, edit in enumerate(edits):
            root = forged(folder, "zarr", f"{k}.fdet")
            data = json.loads((root / file).read_bytes())
            edit(data)
            (root / file).write_text(json.dumps(data))
            reseal(root)

    return Case(f"{file}: {name}", prepare, cache_attempts, REFUSALS, refused=False)


def _set(**changes: Any) -> Callable[[dict[str, Any]], object]:
    return lambda data: data.update(changes)


def _chunk_shape(*shape: int) -> Callable[[dict[str, Any]], object]:
    return lambda data: data["chunk_grid"]["configuration"].update(chunk_shape=shape)


def _codecs(*codecs: dict[str, Any]) -> Callable[[dict[str, Any]], object]:
    return _set(codecs=list(codecs))


def _index(where: str, value: int) -> Callable[[Path], None]:
    """The shard's own index, which zarr-python goes by; all digests fit."""

    def prepare(folder: Path) -> None:
        root = forged(folder)
        path = level_file(root)
        raw = bytearray(path.read_bytes())
        at = len(raw) - 4 - 6 * 16 + (0 if where == "offset" else 8)
        raw[at : at + 8] = value.to_bytes(8, "little")
        path.write_bytes(raw)
        reseal(root)

    return prepare


GOOD = compressed(RAW)
OTHER = compressed(maps_of(GOOD_HEADER, 24, 0)[0].tobytes())

CASES = [
    # Frames.
    frame("declares 100 GB", declaring(100 * 10**9), declaring(100 * 10**9, GOOD)),
    frame(
        "declares all that 64 bits can",
        declaring(2**64 - 1),
        declaring(2**64 - 3),
        declaring(2**63),
    ),
    frame(
        "declares what is expected, holds less",
        compressed(RAW[:-1])[:5] + compressed(RAW)[5:7] + compressed(RAW[:-1])[7:],
        declaring(len(RAW)),
        declaring(len(RAW), compressed(RAW[:-4])),
    ),
    frame("declares what is expected, holds a gigabyte", lambda: declaring(len(RAW), zeros(2**30))),
    frame("declares a gigabyte and holds it", lambda: zeros(2**30)),
    frame("declares nothing and holds a gigabyte", lambda: zeros(2**30, declare=False)),
    frame("declares nothing", undeclared(RAW)),
    frame("too short, too long", compressed(RAW[:-1]), compressed(RAW + b"\0"), compressed(b"")),
    frame("two frames", GOOD + OTHER, GOOD + GOOD, refused=False),
    frame("two halves", compressed(RAW[:96]) + compressed(RAW[96:])),
    frame("something behind it", GOOD + b"\0" * 100, GOOD + declaring(2**40), refused=False),
    frame("a skippable frame first", skippable(b"x" * 10) + GOOD, skippable(b"") + GOOD),
    frame(
        "skippable frames alone", skippable(RAW), skippable(b""), SKIPPABLE + b"\xff\xff\xff\xff"
    ),
    frame("needs a dictionary", dictionary_needed),
    frame("a window of 2 TiB", with_window(41), with_window(31), with_window(10)),
    frame("hardly begun", b"", MAGIC, MAGIC + b"\x00", GOOD[:4], GOOD[:5], GOOD[:9], GOOD[:-1]),
    frame("a block of a reserved kind", declaring(len(RAW), GOOD)[:14] + b"\x07\x00\x00"),
    frame("a header of a reserved kind", MAGIC + b"\xff" * 32, MAGIC + b"\x08" + GOOD[5:]),
    frame(
        "another checksum within",
        (lambda data: data[:-1] + bytes([data[-1] ^ 1]))(compressed(RAW, write_checksum=True)),
    ),
    frame(
        "another format of compression",
        b"\x1f\x8b\x08" + bytes(20),
        b"BZh9" + bytes(20),
        b"\xfd7zXZ\x00" + bytes(20),
        b"PK\x03\x04" + bytes(20),
        b"\x27\xb5\x2f\xfd" + bytes(20),
    ),
    frame("not compressed", RAW, bytes(len(RAW)), b"\xff" * 64),
    frame(
        "runs of one byte",
        declaring(len(RAW))[:14] + b"\x03\x06\x00\x07",
        attempts=foreign_attempts,
        refused=False,
    ),
    frame("of another sample", OTHER, attempts=foreign_attempts, refused=False),
    frame(
        "NaN and infinity",
        compressed(np.full(len(RAW) // 4, np.nan, "<f4").tobytes()),
        attempts=foreign_attempts,
        refused=False,
    ),
    # HDF5.
    shard("external links", _external_link),
    shard("external storage", _external_storage),
    shard("external storage in /etc/passwd", _external_storage_of("/etc/passwd")),
    shard("external storage in /dev/zero", _external_storage_of("/dev/zero")),
    shard("a virtual dataset", _virtual),
    shard("soft links in a circle", _soft_links),
    shard("huge shapes", _huge_shape),
    shard("a chunk that grows", _bomb),
    shard("other filters", _many_filters),
    shard("references and strings", _objects),
    shard("no datasets", _named_type_and_groups),
    shard("not HDF5", _with(b"hello" * 1000)),
    shard("its signature alone", _with(b"\x89HDF\r\n\x1a\n")),
    shard("addresses beyond the file", _with(b"\x89HDF\r\n\x1a\n" + b"\xff" * 512)),
    # Zarr.
    metadata(
        "huge shapes",
        _set(shape=[2**62, 2**20, 2**20, 2**20]),
        _set(shape=[2**63, 1, 1, 1]),
        _set(shape=[10**4000] * 4),
    ),
    metadata(
        "huge chunks",
        _chunk_shape(2**40, 2**20, 2**20, 2**20),
        _chunk_shape(0, 0, 0, 0),
        _chunk_shape(-1, -1, -1, -1),
    ),
    metadata(
        "other types",
        _set(data_type="r8"),
        _set(data_type="object"),
        _set(data_type={"name": "numpy.void"}),
        _set(data_type=None),
    ),
    metadata(
        "codecs that know more",
        _codecs({"name": "numcodecs.pickle"}),
        _codecs({"name": "vlen-utf8"}),
        _codecs(),
        _codecs({"name": "../x"}),
    ),
    metadata(
        "storage transformers",
        _set(storage_transformers=[{"name": "x", "configuration": {"path": "/etc/passwd"}}]),
    ),
    metadata(
        "keys that leave",
        _set(chunk_key_encoding={"name": "../../x", "configuration": {"separator": "../"}}),
    ),
    metadata("no array", _set(node_type="group"), _set(node_type="x", zarr_format=2), dict.clear),
    metadata("deep attributes", _set(attributes={"a": json.loads("[" * 500 + "]" * 500)})),
    metadata(
        "everything elsewhere",
        _set(consolidated_metadata={"kind": "inline", "metadata": {"../../x": {}, "/etc": {}}}),
        file="zarr.json",
    ),
    *(
        Case(
            f"shard index: {where} {name}",
            _index(where, value),
            cache_attempts,
            REFUSALS,
            refused=False,
        )
        for where in ("offset", "length")
        for name, value in {
            "beyond the file": 2**40,
            "negative": 2**64 - 2,
            "absent": 2**64 - 1,
        }.items()
    ),
]
