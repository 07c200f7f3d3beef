"""Headers of which every digest holds and no word can be trusted; and headers that are hardly JSON."""

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from fdet.cache.format.records import _prefix, table_dtype

from .cache_attempts import GOOD_HEADER, REFUSALS, cache_attempts, online_attempts
from .case import Case, outside_of
from .forging import Edit, forged, reseal, resealed

# What stands in for each field in turn.
REPLACEMENTS: tuple[Any, ...] = (None, [], {}, "", -1)

Place = tuple[str | int, ...]


def put(place: Place, value: Any) -> Edit:
    """An edit that sets what stands at a place: ("key", "levels", 0, "name")."""

    def edit(data: dict[str, Any]) -> None:
        inner: Any = data
        for step in place[:-1]:
            inner = inner[step]
        inner[place[-1]] = value

    return edit


def places_in(data: Any, above: Place = ()) -> list[Place]:
    """Every place of a JSON value; of a list only the first entry."""
    if isinstance(data, dict):
        steps: list[str | int] = list(data)
    else:
        steps = [0] if isinstance(data, list) and data else []
    found = []
    for step in steps:
        found += [(*above, step), *places_in(data[step], (*above, step))]
    return found


def named(place: Place) -> str:
    return ".".join(map(str, place))


def edited(name: str, *edits: Edit, refused: bool = True, store: str = "hdf5") -> Case:
    """One cache for each edit, every digest made to fit."""

    def prepare(folder: Path) -> None:
        sys.setrecursionlimit(10_000)
        for k, edit in enumerate(edits):
            resealed(folder, store, f"{k}.fdet", header=edit)

    return Case(f"header: {name}", prepare, cache_attempts, REFUSALS, refused)


def values(name: str, place: Place, *given: Any, refused: bool = True, store: str = "hdf5") -> Case:
    return edited(name, *(put(place, value) for value in given), refused=refused, store=store)


def views(name: str, *given: Any, refused: bool = True) -> Case:
    """Of the key and of the layout."""

    def both(value: Any) -> Edit:
        def edit(data: dict[str, Any]) -> None:
            data["key"]["views"] = data["layout"]["views"] = value

        return edit

    return edited(f"views: {name}", *map(both, given), refused=refused)


def raw(name: str, *contents: bytes | Callable[[], bytes]) -> Case:
    """fdet.json with these bytes."""

    def prepare(folder: Path) -> None:
        for k, given in enumerate(contents):
            path = forged(folder, "zarr", f"{k}.fdet") / "fdet.json"
            path.write_bytes(given if isinstance(given, bytes) else given())

    return Case(f"fdet.json: {name}", prepare, cache_attempts, REFUSALS)


def level_names(name: str, *given: Any) -> Case:
    """Of the first level; in the Zarr store it names a folder."""
    edits = [put((*LEVEL, "name"), value) for value in given]
    return edited(f"level names: {name}", *edits, store="zarr")


def _replaced(place: Place) -> Case:
    edits = [put(place, value) for value in REPLACEMENTS]
    return edited(f"{named(place)} replaced", *edits, refused=False)


def sparse(name: str, size: int) -> Case:
    def prepare(folder: Path) -> None:
        os.truncate(forged(folder) / "fdet.json", size)
        path = forged(folder, "zarr", "b.fdet") / "fdet.json"
        path.write_bytes(b"")
        os.truncate(path, size)

    return Case(f"fdet.json: {name}", prepare, cache_attempts, REFUSALS)


def _nested(depth: int, opening: bytes = b"[", closing: bytes = b"]") -> bytes:
    return opening * depth + closing * depth


def _object(name: str, value: bytes) -> bytes:
    return b'{"' + name.encode() + b'":' + value + b"}"


def _deep_value(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def _near_the_limit_of_recursion() -> Case:
    """What one function can still take apart, the next one down cannot."""
    depths = range(920, 980, 3)

    def prepare(folder: Path) -> None:
        for depth in depths:
            root = forged(folder, "hdf5", f"{depth}.fdet")
            (root / "fdet.json").write_bytes(_object("format", _nested(depth)))

    return Case("fdet.json: format nested 920 to 980 deep", prepare, cache_attempts, REFUSALS)


def _of_every_image(column: str, value: Any) -> Edit:
    def edit(data: dict[str, Any]) -> None:
        for bucket in data["layout"]["buckets"]:
            bucket[column] = [value for _ in bucket[column]]

    return edit


def _many_samples(data: dict[str, Any]) -> None:
    """20,000 images under 20,000 views: a header of a megabyte, four hundred million samples."""
    data["key"]["views"] = data["layout"]["views"] = ["plain"] * 20_000
    ids = list(range(20_000))
    first = data["layout"]["buckets"][0]
    first.update(image_ids=ids, file_names=["a"] * 20_000, image_hw=[[30, 32]] * 20_000)
    first["images_per_shard"] = 20_000
    data["layout"]["buckets"] = [first]


def _many_samples_cache(folder: Path) -> None:
    """Its samples table has the size that the header makes of it; nothing stands in it."""
    root = forged(folder, "hdf5")
    rows = 20_000 * 20_000
    prefix = _prefix(2, rows)
    size = len(prefix) + rows * table_dtype(2).itemsize
    for path in [*(root / "commits").iterdir(), *(root / "samples").iterdir()]:
        if path.stem != "32x32-0":
            path.unlink()
    table = root / "samples" / "32x32-0.npy"
    table.write_bytes(prefix)
    os.truncate(table, size)

    def record(data: dict[str, Any]) -> None:
        data["files"]["samples/32x32-0.npy"]["bytes"] = size
        data["samples"] = rows

    reseal(root, header=_many_samples, record=record)


def file_names(name: str, *given: Any) -> Case:
    """The first image's file name; "{}" stands for the folder outside, which has such an image."""

    def prepare(folder: Path) -> None:
        for image in GOOD_HEADER.layout.images:
            path = folder / "images" / image.file_name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", image.hw[::-1]).save(path)
        shutil.copy(folder / "images" / "0.png", outside_of(folder) / "0.png")
        (folder / "images" / "away").symlink_to(outside_of(folder))
        for k, value in enumerate(given):
            if isinstance(value, str):
                value = value.replace("{}", str(outside_of(folder)))
            edit = put((*BUCKET, "file_names", 0), value)
            resealed(folder, "hdf5", f"{k}.fdet", header=edit)

    return Case(f"header: file names: {name}", prepare, online_attempts, REFUSALS)


def _drop(place: Place) -> Edit:
    def edit(data: dict[str, Any]) -> None:
        inner: Any = data
        for step in place[:-1]:
            inner = inner[step]
        del inner[place[-1]]

    return edit


def _beside(name: str, **changes: Any) -> Edit:
    entry = {"bytes": 1, "sha256": "ab" * 32, **changes}
    return lambda data: data["beside"].update({name: entry})


BUCKET: Place = ("layout", "buckets", 0)
LEVEL: Place = ("key", "levels", 0)
LONG = "x" * 2**20
ESCAPE = "\x1b[2J\x07"


def _good_places() -> list[Place]:
    """Of the header that cache_attempts makes; the files beside the shards differ from store to store."""
    data = json.loads(GOOD_HEADER.to_bytes())
    del data["sha256"]
    return places_in(data)


LEAVING = (
    "../x",
    "/etc/passwd",
    "a/../../x",
    "",
    ".",
    "..",
    "a\0b",
    "x" * 5000,
    "/dev/zero",
    "\ud800",
)

CASES = [
    # Hardly JSON.
    raw("nested 100,000 deep", _nested(100_000), _object("format", _nested(100_000))),
    raw("objects nested 100,000 deep", _nested(100_000, b'{"a":', b"}")),
    _near_the_limit_of_recursion(),
    sparse("as long as it may be, of zeros", 2**29),
    sparse("a byte longer than it may be", 2**29 + 1),
    raw("16 MiB of spaces", lambda: b" " * 2**24, lambda: b"{}" + b" " * 2**24),
    raw("12 million empty lists", lambda: _object("a", b"[" + b"[]," * 12_000_000 + b"[]]")),
    raw("a number beyond floats", _object("format", b"1e999"), _object("a", b"-1e999")),
    raw("a number of 5,000 digits", _object("format", b"1" + b"0" * 5000)),
    raw("a number of 4,200 digits", _object("format", b"1" + b"0" * 4200)),
    raw("the same name twice", b'{"format":2,"format":3}', b'{"format":3,"format":3}'),
    raw("NaN and infinity", _object("format", b"NaN"), b'{"format":3,"a":NaN,"b":-Infinity}'),
    raw("not UTF-8", b"\xff\xfe\xfd", b'{"format":"\xff"}', b"\x00\x00\xfe\xff"),
    raw(
        "UTF-16, UTF-32, a mark",
        *(b'{"format":3}'.decode().encode(c) for c in ("utf-16", "utf-32", "utf-8-sig")),
    ),
    raw("another type", b"[]", b"[3]", b'"format"', b"3", b"null", b"true", b"NaN"),
    raw("an unended string", b'{"format":"', b'{"' + b"a" * 2**20),
    raw(
        "format: odd",
        *(
            _object("format", v)
            for v in (b"2", b"4", b"null", b'"3"', b"[]", b"{}", b"true", b"3.5")
        ),
    ),
    raw("format: a megabyte", _object("format", b'"' + b"x" * 2**20 + b'"')),
    raw("format: tells the terminal what to do", _object("format", rb'"\u001b[2J"')),
    values("format: 3.0", ("format",), 3.0, refused=False),
    # Counts and sizes.
    values("channels: huge", (*LEVEL, "channels"), 2**40, 2**63, 2**70, 10**4000),
    values("channels: none", (*LEVEL, "channels"), 0, -1),
    values("channels: no integer", (*LEVEL, "channels"), 3.0, 1.5, "3", 1e308, [3]),
    values("channels: true", (*LEVEL, "channels"), True, False),
    values("stride: none", (*LEVEL, "stride"), 0, -1, -8),
    values("stride: huge", (*LEVEL, "stride"), 2**63, 2**70, 1e308),
    values("stride: no integer", (*LEVEL, "stride"), 8.0, 8.5, "8", True),
    values("canvas: huge", (*BUCKET, "canvas_hw"), [2**31, 2**31], [32, 2**40], [2**63, 2**63]),
    values("canvas: huge, and empty", (*BUCKET, "canvas_hw"), [0, 2**70], [10**4000, 0]),
    values("canvas: as large as may be", (*BUCKET, "canvas_hw"), [8192, 8192]),
    values("canvas: none", (*BUCKET, "canvas_hw"), [0, 0], [-32, -32], [-32, 32]),
    values(
        "canvas: no integers",
        (*BUCKET, "canvas_hw"),
        [32.0, 32.0],
        ["32", "32"],
        [True, True],
        "32",
    ),
    values("canvas: too few or too many", (*BUCKET, "canvas_hw"), [32], [], [32, 32, 32]),
    values("canvas: of another bucket", (*BUCKET, "canvas_hw"), [16, 48]),
    values("images a shard: huge", (*BUCKET, "images_per_shard"), 2**62, 2**70),
    values("images a shard: more than there are", (*BUCKET, "images_per_shard"), 6, 20_000),
    values("images a shard: none", (*BUCKET, "images_per_shard"), 0, -1, -(2**70)),
    values("images a shard: no integer", (*BUCKET, "images_per_shard"), 1.5, 3.0, "3", True),
    values("facts of a backbone: 12 MiB", ("backbone", "about"), "\u0600" * 2**21),
    values("format: 12 MiB that no terminal shows", ("format",), "\ud800" * 2**21),
    views("50,000", ["plain"] * 50_000),
    views("strange", "ab", [None], [5], [[]], {"plain": 1, "b": 2}),
    views("twice the same", ["plain", "plain"], refused=False),
    views("a megabyte each", [LONG, LONG], refused=False),
    views("tell the terminal what to do", [ESCAPE, "\ud800"]),
    edited("four hundred million samples", _many_samples),
    Case(
        "header: four hundred million samples, and a table",
        _many_samples_cache,
        cache_attempts,
        REFUSALS,
    ),
    # Images.
    edited("ids: one for all", _of_every_image("image_ids", 10)),
    values(
        "ids: of other types",
        (*BUCKET, "image_ids"),
        *([v, *range(20, 24)] for v in ("10", True, 10.5, None, [], {}, 2**70, -1)),
    ),
    values("ids: a float that equals one", (*BUCKET, "image_ids", 0), 10.0),
    values("ids: more than names", (*BUCKET, "image_ids"), list(range(100)), []),
    values("ids: no list", (*BUCKET, "image_ids"), "01234", {str(k): 1 for k in range(5)}, 5),
    values(
        "image sizes: strange",
        (*BUCKET, "image_hw"),
        *([v] * 5 for v in ([], [1], ["a", "b"], [0, 0], [-1, -1], [1e308, 1], None, "ab")),
    ),
    file_names(
        "that leave", "../outside/0.png", "{}/0.png", "sub/../../outside/0.png", "..\\outside"
    ),
    file_names("that no file has", "", ".", "..", "/", "a\0.png", LONG, ESCAPE, "\ud800"),
    file_names("that are no strings", None, 5, [], {}, True),
    # Words.
    level_names("that leaves", "..", ".", "a/b", "/etc", "../../x", "", ".x"),
    level_names("no file can have", "p\0", "x" * 300, LONG, "\ud800"),
    level_names("that is no string", 5, None, ["p3"], {}, True),
    level_names("that tells the terminal what to do", ESCAPE, "a\nb\r"),
    level_names("twice the same", "p4"),
    level_names("others", "c.0.0.0.0", "zarr.json", "p3\\..\\x"),
    values(
        "levels: none, too many",
        ("key", "levels"),
        [],
        [{"name": f"p{k}", "stride": 8, "channels": 1} for k in range(1_000)],
    ),
    values("store: unknown", ("store",), "tar", "", "../zarr", LONG, ESCAPE),
    values("store: no string", ("store",), None, [], {}, 5, True, ["zarr"]),
    values("store: the other one", ("store",), "zarr"),
    values("dtype: objects", ("dtype",), "object", "O", "O8", "|O"),
    values(
        "dtype: of other kinds", ("dtype",), "V4", "U1", "S4", "datetime64", "m8[s]", "V0", "U10"
    ),
    values("dtype: of the same size", ("dtype",), ">f4", "int32", "<u4", "complex64"),
    values(
        "dtype: structures",
        ("dtype",),
        "f2,f2",
        [["a", "<f4"]],
        {"names": ["a"], "formats": ["<f4"]},
    ),
    values(
        "dtype: strange",
        ("dtype",),
        None,
        [],
        {},
        "",
        LONG,
        "f4" * 10**5,
        5,
        "(2,)f2",
        "(1000000,)f4",
    ),
    values("bits: of no pixels", ("key", "bits"), 1, 7, 16, 32, -12, 2**70, "12", 12.5, [], True),
    # Structure.
    values("buckets: none", ("layout", "buckets"), [], {}, "", None, [[]], [{}]),
    edited(
        "buckets: the same twice",
        lambda data: data["layout"]["buckets"].append(data["layout"]["buckets"][0]),
    ),
    edited(
        "key: a field more",
        put(("key", "extra"), 1),
        put(("key", LONG), 1),
        put(("key", ESCAPE), 1),
    ),
    edited(
        "a field less",
        *(
            _drop(place)
            for place in [
                ("key",),
                ("layout",),
                ("dtype",),
                ("store",),
                ("id",),
                ("beside",),
                ("backbone",),
                ("key", "codec"),
                ("key", "levels"),
            ]
        ),
    ),
    edited("a field more", put(("extra",), 1), put(("extra",), _deep_value(500)), refused=False),
    edited(
        "backbone: nested",
        *(put(("backbone", "x"), _deep_value(depth)) for depth in range(900, 990, 5)),
    ),
    values(
        "backbone: strange",
        ("backbone",),
        "x",
        5,
        [["a", 1]],
        ["ab"],
        {"parameters": None},
        refused=False,
    ),
    values("id: of another", ("id",), "0" * 64, "", None, 5, LONG),
    edited("beside: paths that leave", *(_beside(name) for name in LEAVING)),
    edited(
        "beside: sizes",
        *(
            _beside("zarr.json", bytes=v)
            for v in (-1, 2**70, 10**4000, 1.5, "12", None, [], True, 1e308)
        ),
    ),
    edited("beside: digests", *(_beside("zarr.json", sha256=v) for v in (None, "", 5, [], LONG))),
    edited(
        "beside: names the cache's own files",
        _beside("fdet.json"),
        _beside("manifest.json"),
        _beside("commits/32x32-0.json"),
    ),
    edited(
        "beside: 5,000 files",
        put(("beside",), {f"{k}": {"bytes": 1, "sha256": ""} for k in range(5_000)}),
    ),
    # Every field in turn.
    *(_replaced(place) for place in _good_places()),
]
