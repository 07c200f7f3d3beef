"""Caches of random maps, for benchmarks that need no images and no backbone."""

from pathlib import Path

import numpy as np

from fdet.cache.format.header import CacheHeader
from fdet.cache.format.records import OK, SampleEntry
from fdet.cache.key import CacheKey
from fdet.cache.layout import Bucket, ImageEntry, Layout
from fdet.cache.placement import Placement
from fdet.cache.pyramid import LevelSpec, PyramidSpec
from fdet.cache.reader import FeatureCache
from fdet.cache.writer import create_cache, seal, shard_writer

LITE0 = PyramidSpec((LevelSpec("c3", 8, 40), LevelSpec("c4", 16, 112), LevelSpec("c5", 32, 320)))


def make_cache(
    root: Path, levels: PyramidSpec, side: int, images: int, per_shard: int, store: str = "zarr"
) -> FeatureCache:
    """Make a cache of fp16 maps of canvases of side x side px, about as compressible as a backbone's."""
    header = make_header(levels, side, images, per_shard, store)
    header = create_cache(root, header, b'{"images":[],"annotations":[],"categories":[]}')
    rng = np.random.default_rng(0)
    # A few maps are used repeatedly, as making them all would take longer than writing them.
    shapes = [level.shape((side, side)) for level in levels.levels]
    pool = [[rng.standard_normal(s).astype(np.float16) for s in shapes] for _ in range(16)]
    place = Placement((side, side), (side, side), (side, side), (1.0, 1.0), (0.0, 0.0))
    for shard in header.layout.shards:
        with shard_writer(root, header, shard) as writer:
            for image in shard.images:
                writer.add(SampleEntry(image.id, 0, OK, place), pool[image.id % len(pool)])
    seal(root, header)
    return FeatureCache.open(root)


def make_header(
    levels: PyramidSpec, side: int, images: int, per_shard: int, store: str = "zarr"
) -> CacheHeader:
    key = CacheKey(
        backbone="none",
        weights_sha256="0" * 64,
        weights_origin="none",
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
        short=side,
        long=side,
        square=True,
        divisor=32,
        interpolation="none",
        levels=levels,
        precision="fp32",
        codec="fp16",
        views=("plain",),
        seed=0,
        batch_size=1,
        threads=1,
        device="cpu",
        torch="",
        torchvision="",
        timm="",
        pillow="",
        numpy="",
    )
    entries = tuple(ImageEntry(i, f"{i}.jpg", (side, side)) for i in range(images))
    bucket = Bucket((side, side), min(per_shard, images), entries)
    return CacheHeader(key, Layout(("plain",), (bucket,)), {"parameters": 0}, store)
