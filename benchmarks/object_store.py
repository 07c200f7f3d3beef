"""Batches per second from an S3 server on this machine against the same cache on the local disk.

    python benchmarks/object_store.py

This needs the test extra (obstore, moto). moto is written in Python and limits the rate long before obstore
does, so the figures say what fdet adds, not what a store can deliver. --delay: the seconds that each answer
is held back, as a distant store's would be, which shows the benefit of reading many at once.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from synthetic import LITE0, make_cache

from fdet.cache.disk.nearby import FOLDER
from fdet.cache.disk.objects import located
from fdet.cache.loader import BatchReader, load_batches
from fdet.cache.reader import FeatureCache
from fdet.pipeline.tools.upkeep.copy import Part, copy

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from object_server import BUCKET, SETTINGS, Proxy, proxy_before, s3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--side", type=int, default=320)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--delay", type=float, default=0.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, s3() as port, proxy_before(port) as proxy:
        os.environ.update(SETTINGS, AWS_ENDPOINT_URL=proxy.url)
        make_cache(Path(folder) / "c", LITE0, arguments.side, arguments.images, 32)
        place = located(f"s3://{BUCKET}/c")
        copy(Path(folder) / "c", place, Part())
        proxy.fault = lambda request: time.sleep(arguments.delay)
        report("local disk", rates(FeatureCache.open(Path(folder) / "c"), arguments, None))
        report("object store", rates(FeatureCache.open(place), arguments, proxy))
        os.environ[FOLDER] = f"{folder}/nearby"
        report("kept nearby", rates(FeatureCache.open(place), arguments, proxy))


def rates(
    cache: FeatureCache, arguments: argparse.Namespace, proxy: Proxy | None
) -> list[tuple[float, float]]:
    """Return samples per second, and requests per sample and level, of each round after the first."""
    rng, found = np.random.default_rng(0), []
    reads = arguments.images * len(cache.header.key.levels.levels)
    for number in range(arguments.rounds + 1):
        order = [(int(i), 0) for i in rng.permutation(arguments.images)]
        batches = chunks(order, arguments)
        before, started = len(proxy.requests) if proxy else 0, time.monotonic()
        for _ in load_batches(BatchReader(cache), batches, workers=2):
            pass
        if number:
            asked = len(proxy.requests) - before if proxy else 0
            found.append((arguments.images / (time.monotonic() - started), asked / reads))
    return found


def chunks(
    order: list[tuple[int, int]], arguments: argparse.Namespace
) -> list[list[tuple[int, int]]]:
    return [order[k : k + arguments.batch] for k in range(0, len(order), arguments.batch)]


def report(name: str, found: list[tuple[float, float]]) -> None:
    each, asked = zip(*found, strict=True)
    spread = f"{min(each):.0f} to {max(each):.0f}"
    print(f"{name:14} {np.median(each):8.0f} samples/s ({spread}), {max(asked):.2f} requests each")


if __name__ == "__main__":
    main()
