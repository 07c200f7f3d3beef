"""docs/cache-format.md says what fdet writes, and its programs read it."""

import ast
import io
import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import google_crc32c
import h5py
import hdf5plugin
import numpy as np
import pytest
import torch
import zarr
import zstandard
from zarr.codecs import Crc32cCodec, ZstdCodec

from fdet.cache.codecs.calibration import MAX_FILE_BYTES, calibration_digest
from fdet.cache.codecs.codec import codec_of
from fdet.cache.codecs.form import NUMBERS, parse_form
from fdet.cache.disk.publish import only_writer, publish_bytes, published
from fdet.cache.format import annotation_copy
from fdet.cache.format import header as header_file
from fdet.cache.format import manifest as manifest_file
from fdet.cache.format.chunks import MAX_SAMPLE_BYTES
from fdet.cache.format.header import CacheHeader
from fdet.cache.format.records import MAX_RECORD_BYTES, OK, SampleEntry, samples_to_bytes
from fdet.cache.format.vectors import MAX_BYTES as MAX_VECTORS_BYTES
from fdet.cache.placement import Placement
from fdet.cache.pyramid import PREFIX_TOKENS
from fdet.cache.reader import FeatureCache
from fdet.cache.stores import STORES
from fdet.cache.verify import verify
from fdet.pipeline.backbones.taps import AVERAGE_POOL, CLASS_TOKEN, OWN_POOL

from .cache.handmade import (
    ANNOTATIONS,
    CODECS,
    FEW_CODECS,
    VECTOR,
    all_samples,
    assert_exact,
    entry_of,
    files_below,
    learnt,
    level_path,
    make_cache,
    make_header,
    maps_of,
    vector_of,
)

DOCUMENT = (Path(__file__).parent.parent / "docs" / "cache-format.md").read_text()
READER, DECODER, FRAME, CHAIN, BOXES = (
    "A reader in twenty lines",
    "From stored values to floats",
    "A frame by itself",
    "Checking a cache",
    "Placement",
)
VECTORS = "vectors/<shard>.npy"
BLOCKS = "Blocks of cells"
CODEC_FILES = "codec/<level>/<name>.npy"
FAILED = 17
WITH_VECTORS = ("fp16", "int5")
# Objects whose keys are data: the document names the key by what it is.
OPEN = {
    "beside": "<path>",
    "files": "<path>",
    "records": "<shard>",
    "failures": "<slot>",
    "flops": "<bucket>",
}


def section(title: str) -> str:
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", plain(), re.M | re.S)
    assert found, f"no section {title!r}"
    return found[1]


def plain() -> str:
    return DOCUMENT.replace("\\<", "<")


def code(title: str, language: str = "python") -> str:
    (block,) = re.findall(rf"```{language}\n(.*?)```", section(title), flags=re.S)
    return block


def program(title: str) -> dict:
    names: dict = {}
    exec(compile(code(title), f"cache-format.md, {title}", "exec"), names)
    return names


def table_rows(title: str) -> list[list[str]]:
    """The cells of the rows that begin with a name in code font."""
    lines = [line for line in section(title).splitlines() if line.startswith("| `")]
    return [[cell.strip().strip("`") for cell in line.split("|")[1:-1]] for line in lines]


def fields(value, path: str = "") -> Iterator[str]:
    """The dotted paths of all leaves of a JSON object."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from fields(inner, f"{path}.{OPEN.get(path.rpartition('.')[2], name)}")
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for inner in value:
            yield from fields(inner, f"{path}[]")
    else:
        yield path.removeprefix(".")


@pytest.fixture(scope="module", params=STORES)
def store(request) -> str:
    return request.param


@pytest.fixture(scope="module", params=FEW_CODECS)
def cache(store, request, tmp_path_factory) -> FeatureCache:
    """Two buckets, two views, one failed image."""
    root = tmp_path_factory.mktemp("format") / "a.fdet"
    vector = VECTOR if request.param in WITH_VECTORS else None
    return make_cache(root, make_header(request.param, store, image_vector=vector), failed={FAILED})


def all_shards(cache: FeatureCache) -> list[str]:
    return [shard.name for shard in cache.header.layout.shards]


READING = {"json", "pathlib", "Path", "numpy"}


@pytest.mark.parametrize(
    ("title", "libraries"),
    [(READER, READING | {"zarr", "h5py", "hdf5plugin"}), (DECODER, READING)],
)
def test_the_reader_has_at_most_twenty_lines_and_needs_no_fdet(title, libraries):
    lines = [line for line in code(title).splitlines() if line.split("#")[0].strip()]
    assert len(lines) <= 20
    imported = {
        module.split(".")[0]
        for node in ast.walk(ast.parse(code(title)))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for module in [getattr(node, "module", None), *(a.name for a in node.names)]
        if module
    }
    assert imported == libraries


def test_the_reader_gives_the_maps_and_the_placement_of_every_sample(cache):
    read_sample = program(READER)["read_sample"]
    assert {cache.header.layout.bucket_of(i) for i in cache.image_ids} == {0, 1}
    for image_id, view in all_samples(cache):
        maps, row = read_sample(cache.root, image_id, view)
        assert list(maps) == ["p3", "p4"]
        for found, written in zip(
            maps.values(), maps_of(cache.header, image_id, view), strict=True
        ):
            np.testing.assert_array_equal(found, written, strict=True)
        placement = cache.sample(image_id, view).placement
        for name in ("image_hw", "canvas_hw", "content_hw", "scale", "shift", "flip"):
            assert tuple(row[name].tolist()) == getattr(placement, name)


@pytest.mark.parametrize("codec", CODECS)
def test_the_programs_give_the_floats_of_every_codec(codec, store, tmp_path):
    cache = make_cache(tmp_path / "a.fdet", make_header(codec, store))
    read_sample, decoded = program(READER)["read_sample"], program(DECODER)["decoded"]
    if parse_form(codec).blocks:
        decoded = program(BLOCKS)["decoded_blocks"]
    ours = codec_of(cache.root, cache.header.key)
    for image_id, view in all_samples(cache):
        maps, row = read_sample(cache.root, image_id, view)
        stored = [torch.from_numpy(x)[None] for x in maps.values()]
        expected = ours.decode(stored, tuple(row["canvas_hw"].tolist())).maps
        for (level, x), y in zip(maps.items(), expected, strict=True):
            found = decoded(cache.root, level, x, y.shape[-1])
            assert found.dtype == np.float32 and found.shape == y.shape[1:]
            if "+" in codec or parse_form(codec).blocks:
                largest = float(y.abs().max())
                np.testing.assert_allclose(found, y[0].numpy(), rtol=0, atol=1e-6 * largest)
            else:
                assert found.tobytes() == y.numpy().tobytes()


@pytest.mark.parametrize("view", [0, 1])
def test_the_reader_gives_fill_values_for_a_failed_sample(cache, view):
    maps, row = program(READER)["read_sample"](cache.root, FAILED, view)
    assert not row["ok"] and tuple(row["image_hw"]) == (30, 32)
    numbers, *_ = cache.header.key.codec.partition("+")
    (fill,) = {float(row[2]) for row in number_rows() if row[0] == numbers}
    for x in maps.values():
        expected = np.full_like(x, np.array(fill, cache.header.dtype))
        assert x.size and x.tobytes() == expected.tobytes()


def test_a_frame_is_read_by_the_table_alone(cache):
    read_map = program(FRAME)["read_map"]
    for shard in cache.header.layout.shards:
        for slot, (image_id, view) in enumerate(cache.header.layout.samples(shard)):
            for level, written in enumerate(maps_of(cache.header, image_id, view)):
                if image_id == FAILED:
                    with pytest.raises(LookupError, match="failed"):
                        read_map(cache.root, shard.name, slot, level)
                else:
                    found = read_map(cache.root, shard.name, slot, level)
                    np.testing.assert_array_equal(found, written, strict=True)


def test_a_vector_is_read_by_numpy_alone(cache):
    if cache.header.key.image_vector is None:
        assert not (cache.root / "vectors").exists()
        return
    read_vector = program(VECTORS)["read_vector"]
    for shard in cache.header.layout.shards:
        for slot, (image_id, view) in enumerate(cache.header.layout.samples(shard)):
            if image_id == FAILED:
                with pytest.raises(LookupError, match="failed"):
                    read_vector(cache.root, shard.name, slot)
            else:
                found = read_vector(cache.root, shard.name, slot)
                assert found.dtype == np.float32
                assert found.tobytes() == vector_of(cache.header, image_id, view)


def test_a_head_without_vectors_lacks_their_fields_and_no_others():
    mine, theirs = make_header("int8"), make_header("int8", image_vector=VECTOR)
    lacking = set(fields(json.loads(theirs.to_bytes()))) - set(fields(json.loads(mine.to_bytes())))
    assert lacking == {row[0] for row in table_rows("fdet.json") if "image_vector" in row[0]}
    assert len(lacking) == 2


def test_a_head_that_read_16_bits_lacks_the_field_that_says_so_and_no_other():
    mine, theirs = (make_header("int8", bits=bits) for bits in (0, 12))
    lacking = set(fields(json.loads(theirs.to_bytes()))) - set(fields(json.loads(mine.to_bytes())))
    assert lacking == {"key.bits"}


def test_the_kinds_of_vectors_are_documented():
    kinds = {CLASS_TOKEN, AVERAGE_POOL, OWN_POOL, PREFIX_TOKENS}
    assert {row[0] for row in table_rows(VECTORS)} == kinds


def test_a_damaged_frame_is_refused(store, tmp_path):
    cache = make_cache(tmp_path / "a.fdet", make_header(store=store))
    chunk = cache.entry(10, 1).chunks[1]
    path = level_path(cache.root, cache.header, 0, "p4")
    raw = bytearray(path.read_bytes())
    raw[chunk.offset + chunk.length - 1] ^= 1
    path.write_bytes(raw)
    with pytest.raises(ValueError, match="slot 1 of 32x32-0, level 1: damaged"):
        program(FRAME)["read_map"](cache.root, "32x32-0", 1, 1)


def test_the_trailer_is_the_checksum_that_the_document_names(cache):
    for shard in cache.header.layout.shards:
        for image_id, view in cache.header.layout.samples(shard):
            for level, chunk in enumerate(cache.entry(image_id, view).chunks):
                name = cache.header.key.levels.names[level]
                raw = level_path(cache.root, cache.header, shard.number, name).read_bytes()
                end = chunk.offset + chunk.length
                trailer = int.from_bytes(raw[end : end + 4], "little")
                frame = raw[chunk.offset : end]
                crc32c = google_crc32c.value(frame)
                assert chunk.crc32c == crc32c
                expected = {"zarr": crc32c, "hdf5": plain_fletcher32(frame)}
                assert trailer == expected[cache.header.store]


def plain_fletcher32(frame: bytes) -> int:
    """The document's sentence, word by word."""
    a = b = 0
    for k in range(0, len(frame), 2):
        a += int.from_bytes(frame[k : k + 2].ljust(2, b"\0"), "big")
        b += a
    a, b = ((x % 65535 or 65535) if x else 0 for x in (a, b))
    return b << 16 | a


def test_the_chain_holds_for_every_shard(cache):
    check_shard = program(CHAIN)["check_shard"]
    for shard in all_shards(cache):
        check_shard(cache.root, shard)


def test_the_chain_finds_a_bit_in_any_file_of_a_shard(store, tmp_path):
    cache = make_cache(tmp_path / "a.fdet", make_header(store=store))
    check_shard = program(CHAIN)["check_shard"]
    record = "commits/32x32-0.json"
    own = json.loads((cache.root / record).read_bytes())["files"]
    for name in [*cache.header.other_files, *own, record, "fdet.json", "manifest.json"]:
        path = cache.root / name
        raw = path.read_bytes()
        middle = len(raw) // 2
        path.write_bytes(raw[:middle] + bytes([raw[middle] ^ 1]) + raw[middle + 1 :])
        with pytest.raises((ValueError, KeyError)):
            check_shard(cache.root, "32x32-0")
        path.write_bytes(raw)
    check_shard(cache.root, "32x32-0")


def test_the_chain_finds_sound_files_of_another_state(store, tmp_path):
    header = make_header(store=store)
    root = make_cache(tmp_path / "a.fdet", header).root
    other = make_cache(tmp_path / "b.fdet", replace(header, backbone={}), failed={FAILED}).root
    check_shard = program(CHAIN)["check_shard"]
    record = "commits/32x32-0.json"
    own = json.loads((root / record).read_bytes())["files"]
    for names in (["fdet.json"], ["manifest.json"], [record, *own]):
        before = {name: (root / name).read_bytes() for name in names}
        for name in names:
            (root / name).write_bytes((other / name).read_bytes())
        with pytest.raises(ValueError, match="32x32-0: "):
            check_shard(root, "32x32-0")
        for name, raw in before.items():
            (root / name).write_bytes(raw)
    check_shard(root, "32x32-0")


@pytest.mark.parametrize("flip", [(False, False), (True, False), (False, True), (True, True)])
def test_boxes_move_as_the_document_says(flip):
    shift = tuple(40.0 + 7 * axis if flip[axis] else -3.0 for axis in (0, 1))
    placement = Placement((30, 50), (64, 64), (47, 40), (1.25, 0.75), shift, flip)
    entry = SampleEntry(1, 0, OK, placement, "", ())
    (row,) = np.load(io.BytesIO(samples_to_bytes([entry], levels=0)))
    boxes = np.random.default_rng(0).uniform(-10, 70, (50, 2, 2))
    boxes = np.sort(boxes, axis=1).reshape(-1, 4)
    moved = program(BOXES)["moved"]
    for to_canvas, move in ((True, placement.to_canvas), (False, placement.to_image)):
        expected = move(torch.from_numpy(boxes)).numpy()
        np.testing.assert_allclose(moved(row, boxes, to_canvas), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("title", ["fdet.json", "commits/<shard>.json", "manifest.json"])
def test_every_json_field_is_documented_and_no_other(title, tmp_path):
    found = set()
    for store in STORES:
        header = make_header("int8", store, converted=("fp16",), image_vector=VECTOR, bits=12)
        root = make_cache(tmp_path / f"{store}.fdet", header, failed={FAILED}).root
        for path in root.glob(title.replace("<shard>", "*")):
            found |= set(fields(json.loads(path.read_bytes())))
    assert found == {row[0] for row in table_rows(title)}


def documented_columns(levels: int) -> np.dtype:
    """The type of a row, made from the document's table."""
    columns: list = []
    chunk: list = []
    for name, kind, shape, *_ in table_rows("samples/<shard>.npy"):
        if name.startswith("chunks."):
            chunk.append((name.removeprefix("chunks."), kind))
        else:
            columns.append((name, kind, ast.literal_eval(shape) if shape else ()))
    return np.dtype([*columns, ("chunks", chunk, (levels,))])


def test_every_column_is_documented_with_its_type(cache):
    for shard in all_shards(cache):
        assert np.load(cache.root / f"samples/{shard}.npy").dtype == documented_columns(2)
    for levels in (1, 5):
        assert documented_columns(levels).itemsize == 103 + 20 * levels


def test_the_head_of_a_table_is_the_documented_one(cache):
    raw = (cache.root / "samples" / "32x32-0.npy").read_bytes()
    size = int.from_bytes(raw[8:10], "little")
    assert raw[:8] == b"\x93NUMPY\x01\x00" and (10 + size) % 64 == 0
    assert raw[10 : 10 + size].decode().split() == code("samples/<shard>.npy", "text").split()
    saved = io.BytesIO()
    np.save(saved, np.load(cache.root / "samples" / "32x32-0.npy"))
    assert saved.getvalue() == raw


def test_every_file_of_a_cache_has_a_documented_name(cache):
    patterns = []
    for row in table_rows("The folder"):
        for name in row[0].split("`, `"):
            pattern = re.escape(name).replace("<bucket>", r"\d+x\d+").replace("<level>", "p[34]")
            pattern = pattern.replace("<index>", r"\d+").replace("<shard>", r"\d+x\d+-\d+")
            patterns.append(pattern.replace("<name>", "[a-z]+"))
    names = files_below(cache.root)
    assert len(patterns) == 12
    assert [n for n in names if not any(re.fullmatch(p, n) for p in patterns)] == []


def test_the_zarr_metadata_is_as_documented(tmp_path):
    root = make_cache(tmp_path / "a.fdet", make_header(store="zarr")).root
    written = json.loads((root / "32x32" / "p3" / "zarr.json").read_bytes())
    documented = json.loads(code("Zarr", "json"))
    assert {name: written[name] for name in documented} == documented


def number_rows() -> list[list[str]]:
    """Of the table of numbers: name, type, fill value, stored shape, value."""
    return [row for row in table_rows(DECODER) if len(row) == 5]


def test_every_codec_and_store_is_documented():
    assert [row[0] for row in number_rows()] == list(NUMBERS)
    for name, dtype, fill, shape, value in number_rows():
        numbers = NUMBERS[name]
        assert (dtype, str(float(fill))) == (numbers.dtype, str(float(numbers.fill)))
        for kept, columns in ((3, 7), (5, 2)):
            names = {"C": 5, "K": kept, "W": columns, "ceil": math.ceil}
            form = parse_form(name if numbers.rate else f"{name}+pca{kept}")
            for rows in (4, 3):
                assert eval(shape, {**names, "H": rows}) == form.shape((5, rows, columns))
        codes = re.search(r"code 0 to (\d+)", value)
        last = {"int6": 254}.get(name, int(codes[1]) if codes else -1)
        assert numbers.rate is None or name == f"q{numbers.rate:g}"
        assert last == numbers.codes - 1
    assert {row[0] for row in table_rows("Frames")} == {*STORES, "crc32c"}


def test_the_names_of_codecs_are_documented():
    for name, _, kept in (row for row in table_rows(DECODER) if len(row) == 3):
        for channels in (5, 100):
            expected = eval(kept, {"C": channels, "min": min})
            assert parse_form(name).stored_channels(channels) == expected


@pytest.mark.parametrize("codec", CODECS)
def test_a_codecs_files_are_documented(codec, tmp_path):
    root = make_cache(tmp_path / "a.fdet", make_header(codec)).root
    numbers, components, _ = codec.partition("+")
    blocks = parse_form(codec).blocks
    needs = {"integers": numbers.startswith("int"), "+pca": bool(components), "blocks": blocks}
    expected = {
        name: shape
        for name, shape, of, _ in table_rows(CODEC_FILES)
        if any(needs.get(kind.strip("`")) for kind in of.split(", "))
    }
    for level in make_header().key.levels.levels:
        kept = parse_form(codec).stored_channels(level.channels)
        found = {path.stem: np.load(path) for path in (root / "codec" / level.name).glob("*")}
        if blocks:
            kept = found["step"].shape[1]
        assert set(found) == set(expected)
        for name, array in found.items():
            assert array.shape == eval(expected[name], {"C": level.channels, "K": kept})
            saved = io.BytesIO()
            np.save(saved, array)
            assert array.dtype == np.dtype("<f4")
            assert saved.getvalue() == (root / f"codec/{level.name}/{name}.npy").read_bytes()


def test_the_digest_of_a_codecs_files_is_documented():
    files, sha256 = learnt("int8+pca3"), program(CHAIN)["sha256"]
    line = code(CODEC_FILES, "text").replace("<level>/<name>.npy", "{}")
    line = line.replace("codec/{}", "{1}").replace("<sha256 of the file, hex>", "{0}")
    lines = [line.format(sha256(files[path]), path) for path in sorted(files)]
    assert sha256("".join(lines).encode()) == calibration_digest(files)


@pytest.mark.parametrize(
    ("title", "limits"),
    [
        ("fdet.json", [header_file.MAX_BYTES, MAX_SAMPLE_BYTES]),
        ("commits/<shard>.json", [MAX_RECORD_BYTES]),
        ("manifest.json", [manifest_file.MAX_BYTES]),
        ("annotations.json.zst", [annotation_copy.MAX_BYTES]),
        (CODEC_FILES, [MAX_FILE_BYTES]),
        (VECTORS, [MAX_VECTORS_BYTES]),
    ],
)
def test_limits_are_as_documented(title, limits):
    numbers = [2 ** int(power) for power in re.findall(r"2\^(\d+)\s+bytes", section(title))]
    assert numbers == limits


def test_hidden_files_are_named_as_documented(tmp_path):
    documented = [row[0] for row in table_rows("Names that begin with a dot")]
    publish_bytes(tmp_path / "a", b"old")
    with only_writer(tmp_path, "rank-0-of-1"), published(tmp_path / "a") as file:
        file.write(b"new")
        seen = {path.name for path in tmp_path.iterdir()}
    seen |= {path.name for path in tmp_path.iterdir()}
    patterns = [
        re.sub(r"<[kw]\w*>|<rank>", "1", name).replace("<name>", "a") for name in documented
    ]
    assert {".a.scratch", ".rank-0-of-1.scratch", ".a.aside-1", "a"} == seen
    assert patterns == [".a.scratch", ".rank-1-of-1.scratch", ".a.aside-1"]


def write_by_the_document(root: Path, like: CacheHeader) -> None:
    """A cache with `like`'s key and layout, made with zarr or h5py, and the document's program."""
    names = program(CHAIN)
    sealed, sha256, canonical = names["sealed"], names["sha256"], names["canonical"]

    def publish(name: str, raw: bytes) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(raw)

    def entries(files: Iterable[str]) -> dict:
        raw = {name: (root / name).read_bytes() for name in files}
        return {name: {"bytes": len(data), "sha256": sha256(data)} for name, data in raw.items()}

    content = json.loads(like.to_bytes())
    identity = {name: content[name] for name in ("dtype", "format", "key", "layout", "store")}
    cache_id = sha256(canonical(identity))
    publish("annotations.json.zst", zstandard.compress(ANNOTATIONS))
    for name, raw in learnt(like.key.codec).items():
        publish(name, raw)
    write = {"zarr": write_zarr, "hdf5": write_hdf5}[like.store]
    shards = [
        shard for bucket in content["layout"]["buckets"] for shard in write(root, bucket, like)
    ]
    own = (".zst", "zarr.json")
    other_files = [n for n in files_below(root) if n.endswith(own) or n.startswith("codec/")]
    header = {**identity, "id": cache_id, "beside": entries(other_files), "backbone": {}}
    publish("fdet.json", sealed(header))
    manifest = {"header": sha256(canonical(header)), "records": {}}
    manifest |= {"samples": 0, "failed": 0, "bytes": 0}
    for shard, rows, files in shards:
        table = io.BytesIO()
        np.save(table, rows)
        publish(f"samples/{shard}.npy", table.getvalue())
        loose = [f"samples/{shard}.npy"]
        if "image_vector" in content["key"]:
            samples = zip(rows["image_id"].tolist(), rows["view"].tolist(), strict=True)
            vectors = [np.frombuffer(vector_of(like, *sample), "<f4") for sample in samples]
            table = io.BytesIO()
            np.save(table, np.stack(vectors))
            loose.append(f"vectors/{shard}.npy")
            publish(loose[-1], table.getvalue())
        named = entries([*files, *loose])
        record = {"cache": cache_id, "shard": shard, "files": named}
        publish(f"commits/{shard}.json", sealed({**record, "samples": len(rows), "failures": {}}))
        manifest["records"][shard] = sha256((root / f"commits/{shard}.json").read_bytes())
        manifest["samples"] += len(rows)
        manifest["bytes"] += sum(file["bytes"] for file in named.values())
    publish("manifest.json", sealed(manifest))


def samples_of(
    bucket: dict, like: CacheHeader
) -> Iterator[tuple[int, str, np.ndarray, list[list[np.ndarray]]]]:
    """Index and name of each shard of a bucket, its table still without chunks, maps by level."""
    n = bucket["images_per_shard"]
    for index in range(-(-len(bucket["image_ids"]) // n)):
        ids = bucket["image_ids"][index * n : (index + 1) * n]
        samples = [(image_id, view) for image_id in ids for view in (0, 1)]
        rows = np.zeros(len(samples), documented_columns(2))
        for row, (image_id, view) in zip(rows, samples, strict=True):
            row["image_id"], row["view"], row["ok"] = image_id, view, 1
            for name, value in entry_of(like, image_id, view).placement.to_json().items():
                row[name] = value
        maps = zip(*(maps_of(like, *sample) for sample in samples), strict=True)
        yield index, "{}x{}-{}".format(*bucket["canvas_hw"], index), rows, [*map(np.stack, maps)]


def fill_chunks(rows: np.ndarray, level: int, raw: bytes, places: Iterable) -> None:
    """places: offset, and length with trailer, as both libraries tell them."""
    for row, (offset, length) in zip(rows, places, strict=True):
        frame = raw[offset : offset + length - 4]
        row["chunks"][level] = (offset, len(frame), google_crc32c.value(frame))


def write_zarr(
    root: Path, bucket: dict, like: CacheHeader
) -> Iterator[tuple[str, np.ndarray, list[str]]]:
    name, slots = "{}x{}".format(*bucket["canvas_hw"]), bucket["images_per_shard"] * 2
    group, fill = zarr.open_group(root, mode="a"), like.form.numbers.fill
    for index, shard, rows, maps in samples_of(bucket, like):
        files = [f"{name}/{level}/c.{index}.0.0.0" for level in ("p3", "p4")]
        for level, file in enumerate(files):
            path, shape = file.rpartition("/")[0], maps[level].shape[1:]
            if index == 0:
                group.create_array(
                    path,
                    shape=(len(bucket["image_ids"]) * 2, *shape),
                    shards=(slots, *shape),
                    chunks=(1, *shape),
                    dtype=like.dtype,
                    compressors=[ZstdCodec(level=1), Crc32cCodec()],
                    fill_value=fill,
                    chunk_key_encoding={"name": "default", "separator": "."},
                )
            group[path][index * slots : index * slots + len(rows)] = maps[level]
            raw = (root / file).read_bytes()
            table = np.frombuffer(raw[-slots * 16 - 4 : -4], "<u8").reshape(slots, 2)
            fill_chunks(rows, level, raw, table[: len(rows)].tolist())
        yield shard, rows, files


def write_hdf5(
    root: Path, bucket: dict, like: CacheHeader
) -> Iterator[tuple[str, np.ndarray, list[str]]]:
    name = "{}x{}".format(*bucket["canvas_hw"])
    (root / name).mkdir()
    fill = like.form.numbers.fill
    for index, shard, rows, maps in samples_of(bucket, like):
        path, places = root / name / f"{index}.h5", []
        with h5py.File(path, "w", libver=("v110", "v110")) as file:
            for level, data in zip(("p3", "p4"), maps, strict=True):
                filters = {"fletcher32": True, **hdf5plugin.Zstd(clevel=1)}
                chunks = (1, *data.shape[1:])
                made = file.create_dataset(
                    level, data=data, chunks=chunks, fillvalue=fill, **filters
                )
                found = [made.id.get_chunk_info_by_coord((k, 0, 0, 0)) for k in range(len(rows))]
                places.append([(chunk.byte_offset, chunk.size) for chunk in found])
        for level, table in enumerate(places):
            fill_chunks(rows, level, path.read_bytes(), table)
        yield shard, rows, [f"{name}/{index}.h5"]


@pytest.mark.parametrize("codec", FEW_CODECS)
def test_a_cache_made_by_the_document_alone_is_a_cache(codec, store, tmp_path):
    like = make_header(codec, store, image_vector=VECTOR if codec in WITH_VECTORS else None)
    write_by_the_document(tmp_path / "a.fdet", like)
    cache = FeatureCache.open(tmp_path / "a.fdet")
    assert len(cache) == 7
    for sample in all_samples(cache):
        assert_exact(cache, *sample)
    assert verify(cache.root).damages == ()
