"""Training steps as in `fdet train-heads`, with pyramids from memory, a cache or a backbone in the loop."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from fdet.cache.format.header import CacheHeader
from fdet.cache.pyramid import FeaturePyramid
from fdet.cache.sampler import SampleId, Sampler
from fdet.pipeline.backbones.frozen import FrozenBackbone
from fdet.pipeline.backbones.loading import load_backbone_of
from fdet.pipeline.backbones.trained import TrainedBackbone
from fdet.pipeline.machines.processes import Processes
from fdet.pipeline.machines.world import World
from fdet.pipeline.runs.config import RunConfig
from fdet.pipeline.runs.model import Model, OwnBackbone, fresh_detector
from fdet.pipeline.sources.batches import Batch
from fdet.pipeline.sources.data import open_cached, open_live
from fdet.pipeline.training.auto import settled
from fdet.pipeline.training.data import trained_backbone
from fdet.pipeline.training.optimiser import make_optimiser
from fdet.pipeline.training.options import TrainOptions
from fdet.pipeline.training.step import Stepper

# memory: the head's step alone, on maps that are already in memory.
MODES = ("memory", "cached", "online", "finetune")
TAIL = "tail"
CPU = torch.device("cpu")


class Training:
    """A training in one of MODES, or on a tail, ready for its first step.

    A tail and finetune train the backbone from `backbone.train_from` on.
    """

    def __init__(
        self, mode: str, cache: Path, images: Path, config: RunConfig, device: torch.device = CPU
    ) -> None:
        train, self.device = config.train, device
        header = CacheHeader.read(cache)
        backbone: OwnBackbone | FrozenBackbone | None = None
        if mode in ("online", "finetune"):
            frozen = load_backbone_of(header.key, device)
            canvases = [bucket.canvas_hw for bucket in header.layout.buckets]
            backbone = frozen
            if mode == "finetune":
                start = config.backbone.train_from
                backbone = TrainedBackbone(frozen, start, canvases=canvases)
            self.data = open_live(cache, None, images, backbone, train.workers)
        else:
            ahead = {"workers": train.workers, "prefetch": train.prefetch}
            self.data = open_cached([cache], None, device, **ahead)
            if mode == TAIL:
                options = TrainOptions(cache=cache, out=Path(), source=mode)
                backbone = trained_backbone(config, options, header, device)
        trained = None if isinstance(backbone, FrozenBackbone) else backbone
        levels = header.key.levels if trained is None else trained.spec
        self.config = config = settled(config, self.data, device, levels)
        classes = len(self.data.annotations.class_ids)
        model = Model(fresh_detector(config, levels, classes), trained).to(device)
        optimiser = make_optimiser(model, config.optim)
        self.stepper = Stepper(config, model, optimiser, Processes(World(0, 1), device))
        self.order: Sequence[Sequence[SampleId]] = Sampler(
            header.layout, self.data.image_ids, train.batch_size, 0, epochs=1
        ).batches(0)
        self.waited = 0.0

    def batches(self, count: int) -> Iterator[Batch]:
        """Return `count` batches of the epoch, which is repeated as needed."""
        order = [self.order[k % len(self.order)] for k in range(count)]
        return self.data.batches(order, self.device, self.config.train.min_visible)

    def held(self, count: int) -> list[Batch]:
        """Return the same batches with their maps computed and kept."""
        return [replace(b, pyramid=kept(b.pyramid())) for b in self.batches(count)]

    def seconds(self, batches: Iterable[Batch], count: int) -> float:
        """Return the seconds of one step, the mean over all but the first, which starts the readers."""
        coming, self.waited = iter(batches), 0.0
        started = time.monotonic()
        for number in range(count):
            if number == 1:
                self.wait()
                started, self.waited = time.monotonic(), 0.0
            asked = time.monotonic()
            batch = next(coming)
            self.waited += time.monotonic() - asked
            self.stepper.step([batch], len(batch.image_ids), number, count)
        self.wait()
        self.waited /= count - 1
        return (time.monotonic() - started) / (count - 1)

    def wait(self) -> None:
        """Wait until the device has done its work."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def kept(pyramid: FeaturePyramid):
    return lambda: pyramid
