"""What a run trains: a detector, and the backbone below it where that is trained too."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ...cache.pyramid import PyramidSpec
from ...heads.build import build_detector
from ...heads.detector import Detector
from ..backbones.trained import TrainedBackbone
from .config import RunConfig

_BACKBONE = "backbone."


class Model(nn.Module):
    """backbone: None where it is frozen, and then not here at all."""

    def __init__(self, detector: Detector, backbone: TrainedBackbone | None = None) -> None:
        super().__init__()
        self.detector = detector
        self.backbone = backbone

    def tensors(self) -> dict[str, Tensor]:
        """Everything to keep, as views: the detector's names (neck..., head...), and backbone..."""
        own = self.detector.state_dict()
        if self.backbone is None:
            return own
        return {**own, **{f"{_BACKBONE}{n}": v for n, v in self.backbone.state_dict().items()}}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """What `tensors` gave. Raises RuntimeError, ValueError where it does not fit."""
        own = self.tensors()
        # load_state_dict alone would convert any type to any other.
        other = [n for n, v in tensors.items() if n in own and v.dtype != own[n].dtype]
        if other:
            raise ValueError(
                f"{other[0]}: expected {own[other[0]].dtype}, got {tensors[other[0]].dtype}"
            )
        below = {n for n in tensors if n.startswith(_BACKBONE)}
        if self.backbone is not None:
            self.backbone.load_state_dict({n.removeprefix(_BACKBONE): tensors[n] for n in below})
        elif below:
            raise ValueError(f"{min(below)}: the backbone is not trained here")
        self.detector.load_state_dict({n: v for n, v in tensors.items() if n not in below})


def fresh_detector(
    config: RunConfig, levels: PyramidSpec, classes: int, embeddings: Tensor | None = None
) -> Detector:
    """With weights drawn from the run's seed. Raises ConfigError for a level that is lacking."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.train.seed)
        return build_detector(levels, classes, config.neck, config.head, embeddings)
