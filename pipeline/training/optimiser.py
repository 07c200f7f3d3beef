"""The optimiser, with a group of parameters for each learning rate and weight decay."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import nn

from ..backbones.adapted import AdaptedBackbone
from ..backbones.tail import AdaptedTail
from ..runs.config import OptimSettings
from ..runs.model import Model

Optimiser = torch.optim.AdamW | torch.optim.SGD


def make_optimiser(model: Model, settings: OptimSettings) -> Optimiser:
    """Make the optimiser, with weight decay for weights alone, not for biases and the scales of norms.

    Each group states by what `factor` its learning rate differs from the schedule's, which `set_rate` sets
    before each step.
    """
    groups = [group for group in _groups(model, settings) if group["params"]]
    if settings.name == "sgd":
        return torch.optim.SGD(groups, momentum=settings.momentum)
    return torch.optim.AdamW(groups)


def set_rate(optimiser: Optimiser, rate: float) -> None:
    """Set the learning rate of the next step, before each group's factor."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group["factor"]


def _groups(model: Model, settings: OptimSettings) -> Iterator[dict[str, object]]:
    detector = model.detector
    # These are all of the detector, as the heads of two-stage detectors do not contain the neck.
    refiner = [] if detector.refiner is None else list(detector.refiner.parameters())
    parts: list[tuple[float, Sequence[nn.Parameter]]] = [
        (settings.neck_factor, list(detector.neck.parameters())),
        (settings.head_factor, [*detector.head.parameters(), *refiner]),
    ]
    if isinstance(model.backbone, AdaptedBackbone | AdaptedTail):
        parts.append((settings.adapter_factor, list(model.backbone.parameters())))
    elif model.backbone is not None:
        stages = model.backbone.stages
        for depth, stage in enumerate(reversed(stages)):
            parts.append((settings.backbone_factor * settings.layer_decay**depth, stage))
    for factor, parameters in parts:
        trained = [p for p in parameters if p.requires_grad]
        weights = [p for p in trained if p.ndim > 1]
        others = [p for p in trained if p.ndim <= 1]
        yield {"params": weights, "weight_decay": settings.weight_decay, "factor": factor}
        yield {"params": others, "weight_decay": 0.0, "factor": factor}
