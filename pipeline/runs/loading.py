"""What a run has trained, ready to detect."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from ...cache.errors import InputError
from ...heads.detector import Detector
from ..backbones.loading import random_backbone_of
from ..backbones.taps import HW
from ..backbones.trained import TrainedBackbone
from .checkpoint import load_weights
from .info import RunInfo
from .model import Model


def load_run(
    run: Path, checkpoint: str = "best", device: torch.device | str = "cpu"
) -> tuple[RunInfo, Detector]:
    """A trained detector, in eval mode; checkpoint: "best" or "last".

    Raises InputError for a run that trained its backbone: `load_model` gives both.
    """
    info = RunInfo.read(run)
    if info.trains_backbone:
        raise InputError(
            f"{run} was trained with --source {info.source}: its detector belongs to a backbone of "
            "its own, and cached features are of another; give --images"
        )
    path = run / f"{checkpoint}.safetensors"
    info.check_size(path)
    model = Model(info.fresh_detector())
    load_weights(path, model)
    return info, model.detector.to(device).eval()


def load_model(
    run: Path, checkpoint: str, device: torch.device, canvases: Sequence[HW]
) -> tuple[RunInfo, Model]:
    """As load_run, and the run's own backbone where it trained one; canvases: all that will come."""
    info = RunInfo.read(run)
    if not info.trains_backbone:
        return info, Model(load_run(run, checkpoint, device)[1])
    path = run / f"{checkpoint}.safetensors"
    info.check_size(path)
    # All weights come from the run, whatever these are.
    backbone = random_backbone_of(info.key, device, info.config.train.seed)
    model = Model(info.fresh_detector(), TrainedBackbone(backbone, canvases=canvases))
    load_weights(path, model)
    return info, model.to(device).eval()
