"""Each head on the device against the same weights on the CPU, and each setting against plain fp32."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.ops import box_iou

from fdet.heads.types import Detections
from fdet.pipeline.machines.devices import autocast
from fdet.pipeline.machines.progress import progress_line
from fdet.pipeline.runs.config import RunConfig, load_config
from fdet.pipeline.runs.model import Model
from fdet.pipeline.sources.batches import Batch
from fdet.pipeline.sources.data import Data
from fdet.pipeline.training.auto import settled
from fdet.pipeline.training.probe import Trained, first_batches, fresh_model, train_steps

from .outcome import Check, Skipped, within
from .workload import Place, opened

CPU = torch.device("cpu")
# The losses of heads that choose among their own boxes may differ more: a last bit can decide a choice.
LOSSES, LOSSES_OF_CHOSEN = 1e-3, 2e-2
CHOOSING = ("tal", "faster-rcnn", "cascade-rcnn", "query")
# Of a head's best detections: how many may lack a partner with that IoU and nearly that score.
BEST, UNMATCHED, IOU, SCORE = 50, 0.04, 0.99, 0.005
COMPILED = "compiled"
# Settings of a step, and how much they may change the first loss, relative to plain fp32.
SETTINGS: Mapping[str, tuple[str, float]] = {
    "bf16": ("train.precision=bf16", 0.06),
    "fp16": ("train.precision=fp16", 0.03),
    "channels-last": ("train.channels_last=true", 0.02),
    COMPILED: ("train.compile=true", 0.02),
    "recomputed activations": ("train.checkpoint_activations=true", 0.02),
}
# The same, of detections in half precision.
HALF_UNMATCHED, HALF_IOU, HALF_SCORE = 0.25, 0.8, 0.1
# Later steps begin with other weights: the last one may differ so many times as much.
LATER, STEPS = 5, 3
# The number of RoIs is kept low for the CPU's sake, and all of them are sampled.
ALL = (
    "head.rpn_sampled=1048576",
    "head.sampled=1048576",
    "head.rpn_top_train=[300, 300]",
    "head.rpn_top_test=[300, 300]",
)


@dataclass
class Subject:
    """A head that was trained on the device for a few steps, and the data that it was trained on."""

    head: str
    place: Place
    cache: Path

    def config(self, data: Data, *more: str) -> RunConfig:
        """Return the settings of a run in fp32, changed by more of them."""
        scale = self.place.scale
        given = [
            f"neck.channels={scale.channels}",
            f"train.batch_size={scale.batch}",
            "train.precision=fp32",
            f"train.epochs={scale.trained}",
            "head.score_threshold=0.01",
            "schedule.warmup_steps=0",
            *more,
        ]
        config = load_config(head=self.head, assignments=given)
        return settled(config, data, self.place.device)

    @cached_property
    def data(self) -> Data:
        """The cache, opened for the device."""
        return opened(self.cache, self.place.device)

    @cached_property
    def weights(self) -> Mapping[str, Tensor]:
        """The weights after a training on the device, on the CPU."""
        return self.trained(self.place.scale.trained).weights

    @property
    def all_sampled(self) -> tuple[str, ...]:
        """The settings with which no draw decides the losses."""
        return ALL if self.head in ("faster-rcnn", "cascade-rcnn") else ()

    def trained(
        self, steps: int, *more: str, weights: Mapping[str, Tensor] | None = None
    ) -> Trained:
        """Train on the device for some steps, from fresh weights or from these."""
        config = self.config(self.data, *more)
        model = fresh_model(config, self.data, self.place.device)
        if weights is not None:
            model.load(weights)
        batches = first_batches(config, self.data, steps)
        with exact(), progress_line("", steps, shown=False) as line:
            return train_steps(config, model, self.data, batches, line)

    def loaded(self, device: torch.device) -> tuple[Model, Batch]:
        """Return the trained weights on a device, and the first batch there."""
        data = self.data if device == self.place.device else opened(self.cache, device)
        config = self.config(self.data, *self.all_sampled)
        model = fresh_model(config, data, device)
        model.load(self.weights)
        first = first_batches(config, data, 1)
        (batch,) = data.batches(first, device, config.train.min_visible)
        return model.eval(), batch


def exact() -> AbstractContextManager[Any]:
    """Compute convolutions in fp32 where fp32 is asked for; TF32 keeps ten bits of the mantissa."""
    return torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=False, allow_tf32=False
    )


def head_checks(place: Place, cache: Path) -> Iterator[Check]:
    """Yield the checks of every head."""
    for head in place.scale.heads:
        subject = Subject(head, place, cache)
        yield Check(f"{head}, losses on the device and the CPU", partial(same_losses, subject))
        yield Check(f"{head}, detections on both", partial(same_detections, subject))
        for name in SETTINGS:
            if name != COMPILED:
                yield Check(f"{head}, {name}", partial(same_with, subject, name))


def compiled_checks(place: Place, cache: Path) -> Iterator[Check]:
    """Yield the checks of compiled heads, which take longest."""
    for head in place.scale.heads:
        yield Check(
            f"{head}, {COMPILED}", partial(same_with, Subject(head, place, cache), COMPILED)
        )


def same_losses(subject: Subject) -> str:
    """Compare the losses of a batch, image by image."""
    ours, theirs = (losses(*subject.loaded(d)) for d in (subject.place.device, CPU))
    allowed = LOSSES_OF_CHOSEN if subject.head in CHOOSING else LOSSES
    return within(difference(ours, theirs), allowed, "relative difference")


def losses(model: Model, batch: Batch) -> Tensor:
    """Return the loss of each image, (B,), on the CPU."""
    seeds = list(range(len(batch.image_ids)))
    with torch.no_grad(), exact():
        named = model.detector.losses(batch.pyramid(), batch.placements, batch.targets, seeds)
    return torch.stack([of_images.cpu() for of_images in named.values()]).sum(dim=0)


def difference(ours: Tensor, theirs: Tensor) -> float:
    """Return the largest difference, relative to the mean of the others."""
    return float((ours - theirs).abs().max() / theirs.abs().mean())


def same_detections(subject: Subject) -> str:
    """Compare what both devices find in a batch."""
    ours, theirs = (detections(*subject.loaded(d)) for d in (subject.place.device, CPU))
    return matched(ours, theirs, UNMATCHED, IOU, SCORE)


def detections(model: Model, batch: Batch, precision: str = "fp32") -> list[Detections]:
    """Return what is found in each image, on the CPU."""
    device = next(model.parameters()).device
    with torch.no_grad(), exact(), autocast(device, precision):  # type: ignore[arg-type]
        found = model.detector.detections(batch.pyramid(), batch.placements)
    return [of_image.to(CPU) for of_image in found]


def matched(
    ours: Sequence[Detections],
    theirs: Sequence[Detections],
    allowed: float,
    iou: float,
    score: float,
) -> str:
    """Return the share of the best detections of either side that the other lacks."""
    pairs = [*zip(ours, theirs, strict=True), *zip(theirs, ours, strict=True)]
    lacking = [lacks(one[:BEST], other, iou, score) for one, other in pairs]
    count = sum(len(flags) for flags in lacking)
    assert count, "neither finds anything"
    share = sum(int(flags.sum()) for flags in lacking) / count
    what = f"unmatched at IoU {iou:g} and score {score:g}, of {count}:"
    return within(share, allowed, what)


def lacks(one: Detections, other: Detections, iou: float, score: float) -> Tensor:
    """Return (N,) bool, the detections that have no partner of their label in `other`."""
    alike = one.labels[:, None] == other.labels
    near = (one.scores[:, None] - other.scores).abs() <= score
    partners = alike & near & (box_iou(one.boxes, other.boxes) >= iou)
    return ~partners.any(dim=1)


def same_with(subject: Subject, name: str) -> str:
    """Compare a few steps with a setting against plain ones, from the same weights."""
    scale, (setting, allowed) = subject.place.scale, SETTINGS[name]
    if name == COMPILED and subject.head not in scale.compiled:
        named = " and ".join(scale.compiled) or "no head"
        raise Skipped(f"{named} is compiled here, as compiling takes long")
    runs = [
        subject.trained(STEPS, *subject.all_sampled, *more, weights=subject.weights)
        for more in ((setting,), ())
    ]
    sums = [[sum(step.values()) for step in run.losses] for run in runs]
    first, last = (abs(sums[0][k] / sums[1][k] - 1) for k in (0, -1))
    found = within(first, allowed, "first loss")
    found += "; " + within(last, LATER * allowed, f"that of step {STEPS}")
    if name in ("bf16", "fp16"):
        device = subject.place.device
        half = detections(*subject.loaded(device), precision=name)
        limits = (HALF_UNMATCHED, HALF_IOU, HALF_SCORE)
        found += "; " + matched(half, detections(*subject.loaded(device)), *limits)
    return found
