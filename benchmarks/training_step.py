"""A training step from the cache, on maps already in memory, and with the backbone in the loop.

    python benchmarks/training_step.py CACHE IMAGES --head retinanet

The three run in turn in this process; peak memory is taken from a process of its own each. Needs an
extraction of at least `--steps` batches.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from fdet.cache.annotation_copy import read_annotations
from fdet.cache.loader import BatchReader
from fdet.cache.reader import FeatureCache
from fdet.cache.sampler import SampleId, epoch_batches
from fdet.heads.build import build_detector
from fdet.pipeline.annotations import Annotations, parse_annotations
from fdet.pipeline.backbones import load_backbone_of
from fdet.pipeline.config import RunConfig, load_config
from fdet.pipeline.devices import peak_memory_mb
from fdet.pipeline.sources import Batch, CachedSource, OnlineSource, batches_from
from fdet.pipeline.training.optimiser import make_optimiser

MODES = ("memory", "cached", "online")
CPU = torch.device("cpu")


class Trial:
    """The same data and the same detector for each mode."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.cache = FeatureCache.open(arguments.cache)
        self.config: RunConfig = load_config(
            head=arguments.head,
            assignments=[
                f"neck.channels={arguments.channels}",
                f"train.batch_size={arguments.batch_size}",
            ],
        )
        raw = read_annotations(arguments.cache, self.cache.header)
        boxes = parse_annotations(raw, "the cache's annotations")
        self.annotations: Annotations = boxes
        header = self.cache.header
        torch.manual_seed(0)
        self.detector = build_detector(
            header.key.levels, len(boxes.class_ids), self.config.neck, self.config.head
        )
        self.optimiser = make_optimiser(self.detector, self.config.optim)
        order = epoch_batches(header.layout, self.cache.image_ids, arguments.batch_size, 0, 0)
        self.order: Sequence[Sequence[SampleId]] = order[: arguments.steps]
        self.images = arguments.images
        self._online: OnlineSource | None = None

    def batches(self, mode: str) -> Iterator[Batch]:
        if mode == "online":
            if self._online is None:
                backbone = load_backbone_of(self.cache.header.key, CPU)
                self._online = OnlineSource(self.cache.header, self.images, backbone)
            source = self._online
        else:
            source = CachedSource(BatchReader(self.cache), CPU)
        return batches_from(source, self.order, self.annotations, CPU, 0.3)

    def seconds(self, batches: Iterator[Batch]) -> float:
        """Of one step, in the mean over all batches but the first."""
        count, started = 0, 0.0
        for batch in batches:
            if count == 1:
                started = time.monotonic()
            losses = self.detector.losses(batch.pyramid, batch.placements, batch.targets)
            self.optimiser.zero_grad(set_to_none=True)
            torch.stack(list(losses.values())).sum().backward()
            self.optimiser.step()
            count += 1
        return (time.monotonic() - started) / (count - 1)


def main() -> None:
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    trial = Trial(arguments)
    if arguments.peak_of:
        first = list(trial.batches("cached")) if arguments.peak_of == "memory" else None
        trial.seconds(iter(first) if first else trial.batches(arguments.peak_of))
        print(round(peak_memory_mb(CPU)))
        return
    held = list(trial.batches("memory"))
    seconds: dict[str, list[float]] = {mode: [] for mode in MODES}
    for _ in range(arguments.rounds + 1):
        for mode in MODES:
            batches = iter(held) if mode == "memory" else trial.batches(mode)
            seconds[mode].append(trial.seconds(batches))
    for mode in MODES:
        pairs = list(zip(seconds[mode], seconds["memory"], strict=True))[1:]
        ratios = [ours / memory for ours, memory in pairs]
        print(
            f"{mode:<7} {statistics.median(seconds[mode][1:]):7.3f} s a step, "
            f"{statistics.median(ratios):.3f} x memory ({min(ratios):.3f} to {max(ratios):.3f}), "
            f"peak {peak(mode)} MiB"
        )


def peak(mode: str) -> int:
    """Peak resident MiB of a process that does only this."""
    command = [sys.executable, *sys.argv, "--peak-of", mode]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cache", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--head", default="retinanet")
    parser.add_argument("--channels", type=int, default=96)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--peak-of", choices=MODES, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
