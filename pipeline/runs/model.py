"""The model that a run trains: a detector, and the backbone or its adapters where these are trained too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

import torch
from torch import Tensor, nn

from ...cache.pyramid import PyramidSpec
from ...heads.build import build_detector
from ...heads.detector import Detector
from ..backbones.adapted import AdaptedBackbone
from ..backbones.frozen import FrozenBackbone
from ..backbones.tail import AdaptedTail, Tail
from ..backbones.taps import HW
from ..backbones.trained import TrainedBackbone
from .config import RunConfig

_BACKBONE = "backbone."
# A backbone that images pass through, and what may be trained of a backbone.
LiveBackbone = TrainedBackbone | AdaptedBackbone
OwnBackbone = LiveBackbone | Tail | AdaptedTail


class Model(nn.Module):
    """A detector and its backbone. backbone: None where nothing in the backbone is trained.

    A tail becomes the first part of the detector, which then takes cached maps as any other does. Below a
    detector with a refiner the backbone is frozen too.
    """

    def __init__(self, detector: Detector, backbone: OwnBackbone | None = None) -> None:
        super().__init__()
        self.detector = detector
        self.backbone = backbone
        if isinstance(backbone, Tail | AdaptedTail):
            detector.begin_with(backbone)
        if self._frozen_backbone is not None:
            self._frozen_backbone.requires_grad_(False)

    @property
    def _frozen_backbone(self) -> OwnBackbone | None:
        return None if self.detector.refiner is None else self.backbone

    def train(self, mode: bool = True) -> Self:
        """Set the mode of what is trained."""
        super().train(mode)
        if self._frozen_backbone is not None:
            self._frozen_backbone.eval()
        return self

    @property
    def live(self) -> LiveBackbone:
        """The backbone of a run that images must pass through."""
        assert isinstance(self.backbone, LiveBackbone)
        return self.backbone

    @property
    def adapter_parameters(self) -> int:
        """The number of the adapters' parameter values, 0 where there are none."""
        if not isinstance(self.backbone, AdaptedBackbone | AdaptedTail):
            return 0
        return sum(p.numel() for p in self.backbone.parameters())

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors to save, as views.

        Their names are those of the detector (neck..., head...) and backbone...; of an adapted backbone only
        the adapters are included.
        """
        own = self.detector.state_dict()
        if self.backbone is None:
            return own
        return {**own, **{f"{_BACKBONE}{n}": v for n, v in self.backbone.state_dict().items()}}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Load what `tensors` returned. Raises RuntimeError, ValueError where it does not fit."""
        own = self.tensors()
        # load_state_dict would convert any type to any other.
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
    """Build a detector with weights drawn from the run's seed. Raises ConfigError for a missing level."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.train.seed)
        return build_detector(levels, classes, config.neck, config.head, embeddings)


def adapted_backbone(
    config: RunConfig, frozen: FrozenBackbone, canvases: Sequence[HW]
) -> AdaptedBackbone:
    """Put adapters drawn from the run's seed into a frozen backbone. Raises ConfigError."""
    drawn = _adapters(config)
    return AdaptedBackbone(frozen, config.backbone.train_from, canvases=canvases, **drawn)


def _adapters(config: RunConfig) -> dict[str, int]:
    """Return the arguments that say which adapters are drawn."""
    settings = config.backbone
    return {
        "reduction": settings.adapter_reduction,
        "min_width": settings.adapter_min_width,
        "seed": config.train.seed,
    }


def tail_of(
    config: RunConfig, frozen: FrozenBackbone, canvases: Sequence[HW]
) -> Tail | AdaptedTail:
    """Make the tail of a run from a backbone with its levels. Raises ConfigError, InputError."""
    settings = config.backbone
    if settings.adapters:
        drawn = _adapters(config)
        return AdaptedTail(frozen, settings.train_from, canvases=canvases, **drawn)
    return Tail(
        frozen,
        settings.train_from,
        trained=not settings.frozen_tail,
        batch_norm=settings.norm == "batch",
        canvases=canvases,
    )
