"""One step of the optimiser, which moves the weights by a batch of micro-batches, in all processes at once.

The loss of a step is the mean over the images of its whole batch, wherever each of them is processed: the
gradient of every part is divided by the size of the whole batch, and then summed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from ...cache.pyramid import FeaturePyramid
from ...cache.sampler import SampleId
from ...heads.feature_augment import augmented
from ..machines.devices import autocast
from ..machines.processes import Processes
from ..runs.config import RunConfig, fixed
from ..runs.model import Model
from ..sources.batches import Batch
from .averaging import MovingAverage
from .optimiser import Optimiser, set_rate
from .schedule import lr_factor


def parts_of(
    batch: Sequence[SampleId], processes: int, rank: int, accumulate: int
) -> list[list[SampleId]]:
    """Return the parts of a batch that one process works on, in order; none is empty.

    Two processes have the parts that one process has with twice the accumulation.
    """
    count = processes * accumulate
    parts = [list(batch[k * processes + rank :: count]) for k in range(accumulate)]
    return [part for part in parts if part]


class Samples(Protocol):
    """B samples that a step processes at once: a Batch, or whatever else a run's `losses` take.

    B is 0 where all samples were skipped.
    """

    @property
    def image_ids(self) -> tuple[int, ...]:
        """The image id of each sample."""
        ...


Losses = Callable[[Any, Sequence[int]], Mapping[str, Tensor]]


class Done(NamedTuple):
    """This process's share of a step.

    moved: whether the weights were moved; they are not where every sample was skipped.
    """

    losses: Mapping[str, Tensor]
    images: int
    moved: bool


@dataclass
class Stepper:
    """An object that moves the weights; its state beyond the model's and the optimiser's is the loss scale.

    losses: a function of samples, with a seed for each, that returns losses (B,) by name. None stands for
    the detector's losses, of a Batch.
    """

    config: RunConfig
    model: Model
    optimiser: Optimiser
    processes: Processes
    average: MovingAverage | None = None
    may_skip: bool = False
    losses: Losses | None = None
    scaler: torch.amp.GradScaler = field(init=False)
    _trained: list[nn.Parameter] = field(init=False)

    def __post_init__(self) -> None:
        half = self.config.train.precision == "fp16"
        self.scaler = torch.amp.GradScaler(self.processes.device.type, enabled=half)
        # The scaler sets up its scale at the first loss, and a process may have no image in its first step.
        self.scaler.scale(torch.zeros((), device=self.processes.device))
        self._trained = [p for group in self.optimiser.param_groups for p in group["params"]]

    def step(self, batches: Iterable[Samples], size: int, number: int, total: int) -> Done:
        """Do step `number` of `total`, over this process's parts of a batch of `size` images."""
        settings = self.config.train
        set_rate(self.optimiser, self.rate(number, total))
        self.optimiser.zero_grad(set_to_none=True)
        losses: dict[str, Tensor] = {}
        images = parts = 0
        for batch in batches:
            parts += 1
            if not batch.image_ids:
                self._accompany()
                continue
            # A trained backbone may draw random numbers (stochastic depth): each part has its own seed.
            torch.manual_seed(image_seed(settings.seed, number, batch.image_ids[0]))
            images += len(batch.image_ids)
            for name, loss in self._backward(batch, size, number).items():
                losses[name] = losses[name] + loss if name in losses else loss
        for _ in range(settings.accumulate - parts):
            self._accompany()
        if self.may_skip and not self.processes.any(images > 0):
            return Done({}, 0, moved=False)
        self._move(number)
        return Done(losses, images, moved=True)

    def rate(self, number: int, total: int) -> float:
        """Return the learning rate of a step, before the factors of neck, head and backbone."""
        return fixed(self.config.optim.lr) * lr_factor(self.config.schedule, number, total)

    @property
    def loss_scale(self) -> tuple[float, int]:
        """The loss scale of fp16, and the number of steps that it has held; (0, 0) in other precisions."""
        state = self.scaler.state_dict()
        return (state["scale"], state["_growth_tracker"]) if state else (0.0, 0)

    @loss_scale.setter
    def loss_scale(self, value: tuple[float, int]) -> None:
        if self.scaler.is_enabled() and value[0]:
            own = self.scaler.state_dict()
            self.scaler.load_state_dict({**own, "scale": value[0], "_growth_tracker": value[1]})

    def through_detector(self, batch: Batch, seeds: Sequence[int]) -> Mapping[str, Tensor]:
        """Return the losses of the detector on a batch's maps."""
        pyramid = batch.pyramid()
        if self.config.train.channels_last:
            pyramid = _channels_last(pyramid)
        pyramid = augmented(pyramid, self.config.augment, seeds)
        return self.model.detector.losses(pyramid, batch.placements, batch.targets, seeds)

    def _backward(self, batch: Samples, size: int, number: int) -> Mapping[str, Tensor]:
        """Add to the gradients; return these images' losses, divided by the size of the whole batch."""
        settings = self.config.train
        losses_of: Losses = self.losses or self.through_detector
        seeds = [image_seed(settings.seed, number, image_id) for image_id in batch.image_ids]
        with autocast(self.processes.device, settings.precision):
            each = losses_of(batch, seeds)
        shares = {name: loss.sum() / size for name, loss in each.items()}
        total = torch.stack(list(shares.values())).sum()
        self.scaler.scale(total).backward()  # type: ignore[no-untyped-call]
        return {name: share.detach() for name, share in shares.items()}

    def _accompany(self) -> None:
        """Take part in the synchronised norms, which wait for this process, in place of an empty part."""
        if self.processes.world.size > 1 and self.model.detector.synchronised:
            with autocast(self.processes.device, self.config.train.precision):
                self.model.detector.accompany()

    def _move(self, number: int) -> None:
        self.processes.sum_gradients(self._trained)
        self.scaler.unscale_(self.optimiser)
        if self.config.train.clip_norm:
            torch.nn.utils.clip_grad_norm_(self._trained, self.config.train.clip_norm)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        if self.average is not None:
            self.average.update(number)


def _channels_last(pyramid: FeaturePyramid) -> FeaturePyramid:
    maps = tuple(x.contiguous(memory_format=torch.channels_last) for x in pyramid.maps)
    return replace(pyramid, maps=maps)


_MASK = 2**64 - 1


def image_seed(seed: int, step: int, image_id: int) -> int:
    """Return the seed of an image at a step; its neighbours and their number play no part."""
    mixed = (seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9 + image_id) & _MASK
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = ((mixed ^ (mixed >> shift)) * factor) & _MASK
    return (mixed ^ (mixed >> 31)) >> 1
