"""Verified random reads against the bare cost of pread + checksum + decompress of the same bytes.

    python benchmarks/random_read.py

There is one process, one thread and a warm page cache; the readers run in turn, in the same random order.
Times are CPU time of all threads: nothing waits here, and other programs do not count. The figures to quote
are the ratios to the bare cost, as the median over the rounds.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import google_crc32c
import h5py
import hdf5plugin  # noqa: F401  (registers the zstd filter)
import numpy as np
import zarr
import zstandard
from synthetic import make_cache

from fdet.cache.pyramid import LevelSpec, PyramidSpec
from fdet.cache.reader import FeatureCache

SIDE = 1024
CHUNKS = {"12 KiB": 6, "156 KiB": 78}  # channels of a map of 32x32 float16 values
SHARD = 200
Reader = Callable[[list[int]], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    for name, channels in CHUNKS.items():
        levels = PyramidSpec((LevelSpec("c5", 32, channels),))
        with tempfile.TemporaryDirectory() as folder:
            readers = make_readers(Path(folder), levels, arguments.samples)
            seconds = measure(readers, arguments)
            bare = seconds["bare"]
            print(f"{name} chunks, batches of {arguments.batch}")
            for reader, rounds in seconds.items():
                ratios = [a / b for a, b in zip(rounds, bare, strict=True)]
                each = statistics.median(rounds) / arguments.samples * 1e6
                spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
                print(f"  {reader:32} {each:8.1f} us  {statistics.median(ratios):6.2f} ({spread})")


def measure(readers: dict[str, Reader], arguments: argparse.Namespace) -> dict[str, list[float]]:
    """Return the CPU seconds of each round for each reader, with the readers in turn."""
    rng = np.random.default_rng(0)
    seconds: dict[str, list[float]] = {name: [] for name in readers}
    for number in range(arguments.rounds + 1):
        order = rng.permutation(arguments.samples).tolist()
        steps = range(0, len(order), arguments.batch)
        for name, read in readers.items():
            started = time.process_time()
            for k in steps:
                read(order[k : k + arguments.batch])
            if number:  # the first round opens the files
                seconds[name].append(time.process_time() - started)
    return seconds


def make_readers(folder: Path, levels: PyramidSpec, samples: int) -> dict[str, Reader]:
    zarr_cache = make_cache(folder / "z", levels, SIDE, samples, SHARD)
    hdf5_cache = make_cache(folder / "h", levels, SIDE, samples, SHARD, "hdf5")
    plain = make_memmap(folder / "plain.npy", zarr_cache, samples)
    readers: dict[str, Reader] = {
        "bare": bare_reader(zarr_cache, samples),
        "fdet, Zarr": fdet_reader(zarr_cache),
        "fdet, HDF5": fdet_reader(hdf5_cache),
        "h5py": h5py_reader(hdf5_cache),
        "zarr-python": zarr_reader(zarr_cache),
    }
    try:
        import zarrs  # noqa: F401
    except ImportError:
        print("zarrs is not installed (pip install zarrs): left out")
    else:
        readers["zarrs"] = zarr_reader(zarr_cache, "zarrs.ZarrsCodecPipeline")
    readers["numpy memmap, unchecked"] = lambda batch: np.stack([plain[i] for i in batch])
    return readers


def fdet_reader(cache: FeatureCache) -> Reader:
    def read(batch: list[int]) -> object:
        maps = cache.empty_maps(batch[0], len(batch))
        cache.read_into([(i, 0) for i in batch], maps)
        return maps

    return read


def bare_reader(cache: FeatureCache, samples: int) -> Reader:
    """Return a reader with only the calls that a verified read needs; the location of each frame is known."""
    places = []
    for i in range(samples):
        cache.sample(i)
        shard = cache._lookup.shard(cache._lookup.here(), i)
        places.append(shard.found[i, 0].chunks[0])
    decompressor = zstandard.ZstdDecompressor()

    def read(batch: list[int]) -> object:
        for i in batch:
            file, offset, length, checksum = places[i]
            data = os.pread(file, length, offset)
            if google_crc32c.value(data) != checksum:
                raise ValueError(i)
            decompressor.decompress(data)
        return None

    return read


def h5py_reader(cache: FeatureCache) -> Reader:
    shards = cache.header.layout.shards
    # h5py's cache of decompressed chunks is off, so that it has to read as all others do.
    paths = [cache.root / f"{s.bucket.name}/{s.index}.h5" for s in shards]
    files = [h5py.File(path, rdcc_nbytes=0) for path in paths]
    datasets = [file["c5"] for file in files]

    def read(batch: list[int]) -> object:
        return np.stack([datasets[i // SHARD][i % SHARD] for i in batch])

    return read


def zarr_reader(cache: FeatureCache, pipeline: str | None = None) -> Reader:
    bucket = cache.header.layout.buckets[0].name
    name = pipeline or "zarr.core.codec_pipeline.BatchedCodecPipeline"
    with zarr.config.set({"codec_pipeline.path": name}):
        array = zarr.open_array(str(cache.root / bucket / "c5"), mode="r")

    def read(batch: list[int]) -> object:
        return np.stack([array[i] for i in batch])

    return read


def make_memmap(path: Path, cache: FeatureCache, samples: int) -> np.ndarray:
    shape = (samples, *cache.sample(0).stored[0].shape)
    plain = np.lib.format.open_memmap(path, "w+", np.float16, shape)
    for i in range(samples):
        plain[i] = cache.sample(i).stored[0]
    plain.flush()
    return np.load(path, mmap_mode="r")


if __name__ == "__main__":
    main()
