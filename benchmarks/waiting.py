"""How long a training loop waits for data when a step only sleeps.

    python benchmarks/waiting.py

The maps are those of EfficientNet-Lite0 at 512 px (0.72 MB per sample in fp16), eight per batch; a step of
10 ms stands in for an accelerator, so the loader has the processor to itself.
"""

import argparse
import tempfile
import time
from pathlib import Path

import torch
from synthetic import LITE0, make_cache

from fdet.cache.loader import BatchReader, load_batches
from fdet.cache.reader import FeatureCache
from fdet.cache.resident import ResidentSamples
from fdet.cache.sampler import Sampler


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--step-ms", type=float, default=10.0)
    parser.add_argument("--epochs", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        for store in ("zarr", "hdf5"):
            cache = make_cache(Path(folder) / store, LITE0, 512, arguments.images, 100, store)
            for workers in (1, 2, 3):
                report(f"{store}, {workers} threads", BatchReader(cache), workers, arguments)
        kept = ResidentSamples(cache.header, torch.device("cpu"))
        report("kept in memory, 1 thread", BatchReader(cache, resident=kept), 1, arguments)


def report(name: str, reader: BatchReader, workers: int, arguments: argparse.Namespace) -> None:
    """Print the figures of the last epoch, when files are open and resident samples have been read."""
    cache = reader.cache
    assert isinstance(cache, FeatureCache)
    layout, epochs = cache.header.layout, arguments.epochs
    sampler = Sampler(layout, cache.image_ids, arguments.batch, 0, epochs)
    for epoch in range(epochs):
        loaded = load_batches(reader, sampler.batches(epoch), workers=workers)
        began, waited, steps = time.monotonic(), 0.0, 0
        while True:
            asked = time.monotonic()
            batch = next(loaded, None)
            if batch is None:
                break
            waited += time.monotonic() - asked
            time.sleep(arguments.step_ms / 1000)
            steps += 1
        seconds = time.monotonic() - began
    print(f"{name:28} waiting {waited / seconds:6.1%}  {seconds / steps * 1e3:5.1f} ms a step")


if __name__ == "__main__":
    main()
