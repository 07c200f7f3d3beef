"""Manifests, records and samples tables of which every digest holds."""

import io
import os
import pickle
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np

from fdet.cache.format.manifest import MAX_BYTES as MANIFEST_BYTES
from fdet.cache.format.records import MAX_RECORD_BYTES, _prefix, samples_name, table_dtype

from .cache_attempts import REFUSALS, cache_attempts, foreign_attempts
from .case import Attempts, Case, outside_of
from .corpus_headers import ESCAPE, LEAVING, LONG, REPLACEMENTS, Place, put
from .forging import SHARD, Edit, both_forged, edit_table, forged, level_file, reseal, resealed

TABLE = samples_name(SHARD)
OTHER = samples_name("32x32-1")


def record(name: str, *edits: Edit, refused: bool = True) -> Case:
    """One cache for each edit of the first record; the manifest names the forged one."""

    def prepare(folder: Path) -> None:
        for k, edit in enumerate(edits):
            resealed(folder, "hdf5", f"{k}.fdet", record=edit)

    return Case(f"record: {name}", prepare, cache_attempts, REFUSALS, refused)


def rewritten(name: str, old: str, *new: str) -> Case:
    """The first record's text; its own seal is broken, the manifest's digest of it holds."""

    def prepare(folder: Path) -> None:
        for k, text in enumerate(new):
            swapped = partial(_swapped, old.encode(), text.encode())
            resealed(folder, "hdf5", f"{k}.fdet", rewrite=swapped)

    return Case(f"record: {name}", prepare, cache_attempts, REFUSALS)


def _swapped(old: bytes, new: bytes, raw: bytes) -> bytes:
    assert old in raw
    return raw.replace(old, new, 1)


def manifest(name: str, *edits: Edit, refused: bool = True) -> Case:
    def prepare(folder: Path) -> None:
        for k, edit in enumerate(edits):
            resealed(folder, "hdf5", f"{k}.fdet", manifest=edit)

    return Case(f"manifest: {name}", prepare, cache_attempts, REFUSALS, refused)


def table(
    name: str,
    *edits: Callable[[np.ndarray], object],
    refused: bool = True,
    attempts: Attempts = cache_attempts,
) -> Case:
    """Rows of the first shard's samples table, in both stores."""

    def prepare(folder: Path) -> None:
        for k, edit in enumerate(edits):
            for store in ("zarr", "hdf5"):
                root = forged(folder, store, f"{k}-{store}.fdet")
                edit_table(root, edit)
                reseal(root)

    return Case(f"table: {name}", prepare, attempts, REFUSALS, refused)


def table_file(name: str, make: Callable[[Path], bytes]) -> Case:
    """The samples table's bytes, made when the folder is known."""

    def prepare(folder: Path) -> None:
        for root in both_forged(folder):
            (root / TABLE).write_bytes(make(outside_of(folder)))
            reseal(root)

    return Case(f"table: {name}", prepare, cache_attempts, REFUSALS)


def raw(name: str, file: str, *contents: bytes) -> Case:
    def prepare(folder: Path) -> None:
        for k, given in enumerate(contents):
            (forged(folder, "hdf5", f"{k}.fdet") / file).write_bytes(given)

    return Case(f"{file}: {name}", prepare, cache_attempts, REFUSALS)


def sparse(name: str, file: str, size: int) -> Case:
    def prepare(folder: Path) -> None:
        path = forged(folder) / file
        path.write_bytes(b"")
        os.truncate(path, size)

    return Case(f"{file}: {name}", prepare, cache_attempts, REFUSALS)


def _replaced(kind: Callable[..., Case], place: Place) -> Case:
    edits = [put(place, value) for value in REPLACEMENTS]
    return kind(f"{'.'.join(map(str, place))} replaced", *edits, refused=False)


def at(field: str, *index: Any, value: Any) -> Callable[[np.ndarray], object]:
    def edit(rows: np.ndarray) -> None:
        rows[field][index] = value

    return edit


def chunk(**changes: int) -> Callable[[np.ndarray], object]:
    """Of the first sample at the first level."""

    def edit(rows: np.ndarray) -> None:
        for name, value in changes.items():
            rows["chunks"][name][0, 0] = value

    return edit


class _Payload:
    """Unpickled, it makes a file in the folder where nothing may happen."""

    def __init__(self, proof: Path) -> None:
        self.proof = str(proof)

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (self.proof, "w"))


def _pickled(outside: Path) -> bytes:
    buffer = io.BytesIO()
    rows = np.empty(2, object)
    rows[:] = [_Payload(outside / "executed"), 1]
    np.save(buffer, rows, allow_pickle=True)
    return buffer.getvalue()


def _only_pickle(outside: Path) -> bytes:
    return pickle.dumps(_Payload(outside / "executed"))


def _pickled_in_the_right_size(outside: Path) -> bytes:
    """Sized so that only its first bytes tell what it is."""
    size = len(_prefix(2, 6)) + 6 * table_dtype(2).itemsize
    return _pickled(outside).ljust(size, b"\0")


def _saved(rows: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, rows)
    return buffer.getvalue()


def _of_right_size(prefix: bytes) -> bytes:
    size = len(_prefix(2, 6)) + 6 * table_dtype(2).itemsize
    return prefix[:size].ljust(size, b"\0")


def _with_header(text: str, version: int = 1) -> bytes:
    """An .npy file of the right size with such a header."""
    header = text.encode() + b"\n"
    length = struct.pack("<H" if version == 1 else "<I", len(header))
    return _of_right_size(b"\x93NUMPY" + bytes([version, 0]) + length + header)


def _fortran(outside: Path) -> bytes:
    return _of_right_size(_prefix(2, 6).replace(b"False", b"True "))


def _exec_header(outside: Path) -> bytes:
    return _with_header("{'descr': __import__('os').system('touch " + str(outside / "x") + "')}")


def _large_chunk(folder: Path) -> None:
    """Zeros in a sparse file."""
    length, block, crc32c = 700 * 2**20, bytes(2**20), 0
    for _ in range(length // len(block)):
        crc32c = google_crc32c.extend(crc32c, block)
    root = forged(folder, "hdf5")
    offset = level_file(root).stat().st_size
    os.truncate(level_file(root), offset + length)
    edit_table(root, chunk(offset=offset, length=length, crc32c=crc32c))
    reseal(root)


def _another_digest(data: dict[str, Any]) -> None:
    """Of every level file: `verify` must then find out which samples that concerns."""
    for name, entry in data["files"].items():
        if not name.startswith("samples/"):
            entry["sha256"] = "ab" * 32


def _unsound_level(edit: Callable[[np.ndarray], object]) -> Callable[[Path], None]:
    def prepare(folder: Path) -> None:
        for root in both_forged(folder):
            edit_table(root, edit)
            reseal(root, record=_another_digest)

    return prepare


def _files(name: str, **changes: Any) -> Edit:
    return lambda data: data["files"].update({name: {"bytes": 1, "sha256": "ab" * 32, **changes}})


def _failures(found: dict[str, Any]) -> Edit:
    return put(("failures",), found)


def _exchange(rows: np.ndarray) -> None:
    rows[[0, 1]] = rows[[1, 0]]


def _share(rows: np.ndarray) -> None:
    rows["chunks"][1] = rows["chunks"][0]


FIELDS = ("image_hw", "canvas_hw", "content_hw", "scale", "shift")
NAN, INF = float("nan"), float("inf")

CASES = [
    # Records.
    record("paths that leave", *(_files(name) for name in LEAVING)),
    record(
        "file sizes",
        *(
            _files(TABLE, bytes=v)
            for v in (-1, 0, 2**70, 10**4000, 1.5, "1", None, [], True, 1e308)
        ),
    ),
    record("file digests", *(_files(TABLE, sha256=v) for v in (None, "", 5, [], LONG))),
    record("no files", put(("files",), {})),
    record(
        "5,000 files", put(("files",), {f"{k}": {"bytes": 1, "sha256": ""} for k in range(5_000)})
    ),
    record(
        "the table of another shard",
        lambda data: data["files"].update({OTHER: data["files"].pop(TABLE)}),
    ),
    record("names the header and itself", _files("fdet.json"), _files(f"commits/{SHARD}.json")),
    record(
        "of another cache", put(("cache",), "0" * 64), put(("cache",), None), put(("cache",), LONG)
    ),
    record(
        "of another shard",
        put(("shard",), "32x32-1"),
        put(("shard",), "../x"),
        put(("shard",), LONG),
        put(("shard",), ESCAPE),
    ),
    record(
        "samples: strange",
        *(put(("samples",), v) for v in (0, -1, 2**70, 1.5, "6", None, [], True, 1e308)),
        refused=False,
    ),
    record(
        "failures: of slots that are not there",
        *(_failures({k: "why"}) for k in ("6", "99", "-1", "-7", str(2**70))),
    ),
    record(
        "failures: no slots",
        *(_failures({k: "why"}) for k in ("", "x", "1.5", "1e3", "\u0663", " 1", "1_0")),
    ),
    record("failures: of a sound sample", _failures({"0": "why"}), refused=False),
    record("failures: a megabyte", _failures({"2": LONG, "3": LONG}), refused=False),
    record(
        "failures: tell the terminal what to do",
        _failures({"2": ESCAPE, "3": "\ud800\n"}),
        refused=False,
    ),
    record(
        "failures: no strings",
        *(_failures({"2": v}) for v in (None, 5, [], {}, {"a": [LONG]})),
        refused=False,
    ),
    record("a field more", put(("extra",), 1), put((LONG,), 1), refused=False),
    *(
        _replaced(record, place)
        for place in [
            ("cache",),
            ("shard",),
            ("files",),
            ("samples",),
            ("failures",),
            ("files", TABLE),
            ("files", TABLE, "bytes"),
            ("files", TABLE, "sha256"),
            ("failures", "2"),
        ]
    ),
    rewritten(
        "numbers that no machine has",
        '"bytes":',
        *(f'"bytes":{v},"x":' for v in ("1e999", "-1e999", "NaN", "1e308")),
    ),
    rewritten(
        "counts that no machine has", '"samples":', '"samples":1e999,"x":', '"samples":NaN,"x":'
    ),
    rewritten(
        "nested deep", '"cache":', f'"x":{"[" * 900}{"]" * 900},"cache":', '"x":' + "[" * 10**5
    ),
    rewritten("the same name twice", '"cache":', '"cache":"x","cache":5,"y":'),
    rewritten("no record", "{", "[", "", "null#", '"'),
    raw(
        "not what it should be",
        f"commits/{SHARD}.json",
        b"",
        b"[]",
        b"{}",
        b"null",
        b'{"sha256":1}',
        b"\xff",
        b"[" * 100_000,
    ),
    sparse("as long as it may be, of zeros", f"commits/{SHARD}.json", MAX_RECORD_BYTES),
    sparse("a byte longer than it may be", f"commits/{SHARD}.json", MAX_RECORD_BYTES + 1),
    # Manifests.
    manifest("of another header", put(("header",), "0" * 64), put(("header",), LONG)),
    manifest(
        "records: others",
        put(("records",), {}),
        put(("records", "../x"), "ab"),
        put(("records", ESCAPE), "ab"),
    ),
    manifest(
        "records: of another kind",
        *(put(("records",), v) for v in ([], [["a", "b"]], ["ab"], [[[], 1]], "ab", 5)),
    ),
    manifest(
        "records: no digests", *(put(("records", SHARD), v) for v in ("x", LONG, 5, ["ab"], True))
    ),
    manifest(
        "records: an empty digest",
        put(("records", SHARD), ""),
        put(("records", SHARD), None),
        refused=False,
    ),
    manifest(
        "counts",
        *(
            put((name,), v)
            for name in ("samples", "failed", "bytes")
            for v in (-1, 2**70, 10**4000, 1.5, "1", 1e308, True)
        ),
        refused=False,
    ),
    manifest("none failed, the records say", put(("failed",), 0), refused=False),
    *(
        _replaced(manifest, place)
        for place in [
            ("header",),
            ("records",),
            ("samples",),
            ("failed",),
            ("bytes",),
            ("records", SHARD),
        ]
    ),
    raw(
        "not what it should be",
        "manifest.json",
        b"",
        b"[]",
        b"{}",
        b"null",
        b'{"sha256":1}',
        b"\xff",
        b"[" * 100_000,
    ),
    sparse("as long as it may be, of zeros", "manifest.json", MANIFEST_BYTES),
    sparse("a byte longer than it may be", "manifest.json", MANIFEST_BYTES + 1),
    # Samples tables: the file.
    table_file("a pickled array", _pickled),
    table_file("a pickle", _only_pickle),
    table_file("a pickled array of the right size", _pickled_in_the_right_size),
    table_file("a header that is a program", _exec_header),
    table_file("another dtype", lambda _: _of_right_size(_saved(np.zeros(200, "<f8")))),
    table_file("Fortran order", _fortran),
    table_file(
        "a huge shape",
        lambda _: _with_header(
            "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,)}"
        ),
    ),
    table_file(
        "a negative shape",
        lambda _: _with_header("{'descr': '|O', 'fortran_order': False, 'shape': (-1,)}"),
    ),
    table_file(
        "version 2 of the format",
        lambda _: _with_header("{'descr': '<f8', 'fortran_order': False, 'shape': (1,)}", 2),
    ),
    table_file(
        "a header longer than the file", lambda _: _of_right_size(b"\x93NUMPY\x01\x00\xff\xff")
    ),
    table_file("a header nested deep", lambda _: _with_header("(" * 900)),
    table_file("of another number of rows", lambda _: _saved(np.zeros(5, table_dtype(2)))),
    table_file("of another number of levels", lambda _: _saved(np.zeros(6, table_dtype(3)))),
    table_file("empty", lambda _: b""),
    table_file("JSON", lambda _: b"{}"),
    # Samples tables: where the frames lie.
    table("offsets beyond the file", chunk(offset=2**20), chunk(offset=2**40), chunk(offset=2**62)),
    table(
        "offsets that are no file positions",
        chunk(offset=2**63 - 1),
        chunk(offset=2**63),
        chunk(offset=2**64 - 1),
    ),
    table("lengths beyond the file", chunk(length=2**20), chunk(length=2**28)),
    table(
        "lengths that no memory has",
        chunk(length=2**40),
        chunk(length=2**62),
        chunk(length=2**63 - 1),
    ),
    table(
        "lengths that are none",
        chunk(length=0),
        chunk(length=0, crc32c=0),
        chunk(length=2**63),
        chunk(length=2**64 - 1),
    ),
    table("negative numbers, as unsigned", chunk(offset=2**64 - 16, length=2**64 - 16)),
    table("another checksum", chunk(crc32c=0), chunk(crc32c=2**32 - 1)),
    table("the whole file", chunk(offset=0, length=2**16)),
    Case("table: a chunk of 700 MiB, its checksum holds", _large_chunk, cache_attempts, REFUSALS),
    *(
        Case(
            f"table: a {name} in a file of another digest",
            _unsound_level(edit),
            cache_attempts,
            REFUSALS,
        )
        for name, edit in {
            "length that no memory has": chunk(length=2**40),
            "length that is none": chunk(length=2**64 - 1),
            "negative offset": chunk(offset=2**64 - 1),
            "length of 2 GiB": chunk(length=2**31),
        }.items()
    ),
    # Samples tables: whose they are, and how their images became canvases.
    table(
        "ids of others",
        at("image_id", 0, value=999),
        at("image_id", 0, value=-1),
        at("image_id", 0, value=2**63 - 1),
    ),
    table(
        "views of others",
        at("view", 0, value=1),
        at("view", 0, value=-1),
        at("view", 0, value=2**31 - 1),
    ),
    table("two samples exchanged", _exchange),
    table("two samples share a frame", _share, attempts=foreign_attempts, refused=False),
    table("neither failed nor sound", at("ok", 0, value=2), at("ok", 0, value=255), refused=False),
    table("all failed", at("ok", slice(None), value=0), refused=False),
    table("a failed one is sound", at("ok", slice(None), value=1)),
    *(
        table(f"{field}: {name}", *(at(field, 0, axis, value=value) for axis in (0, 1)))
        for field in ("scale", "shift")
        for name, value in {"NaN": NAN, "infinite": INF, "minus infinity": -INF}.items()
    ),
    table(
        "scale: none",
        *(at("scale", 0, axis, value=v) for axis in (0, 1) for v in (0.0, -0.0, -1.0)),
    ),
    table(
        "scale: hardly any, or vast",
        *(at("scale", 0, 0, value=v) for v in (5e-324, 1e-300, 1.7e308)),
        refused=False,
        attempts=foreign_attempts,
    ),
    table(
        "shift: vast",
        at("shift", 0, 0, value=1e308),
        at("shift", 0, 1, value=-1e308),
        refused=False,
        attempts=foreign_attempts,
    ),
    *(
        table(f"{field}: {name}", *(at(field, 0, axis, value=value) for axis in (0, 1)))
        for field in ("image_hw", "canvas_hw", "content_hw")
        for name, value in {"none": 0, "negative": -1, "vast": 2**31 - 1}.items()
    ),
    table("canvas_hw: of another bucket", at("canvas_hw", 0, value=(48, 64))),
    table("image_hw: another than the header's", at("image_hw", 0, value=(300, 320))),
    table(
        "flip: neither yes nor no",
        at("flip", 0, 0, value=2),
        refused=False,
        attempts=foreign_attempts,
    ),
]
