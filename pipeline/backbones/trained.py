"""A backbone that is trained from a stage on; what lies before that stage stays frozen.

A stage is what a library's model computes between two of its levels. Its parameters are found by autograd
and not by their names: they are those that a level's map depends on and the map before it does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ...cache.errors import ConfigError, InputError, did_you_mean
from ...cache.pyramid import FeaturePyramid
from .frozen import FrozenBackbone
from .taps import HW, TappedNet


class TrainedBackbone(nn.Module):
    """A trained backbone: (B, H, W, 3) uint8 canvases -> FeaturePyramid, with a graph.

    It takes `backbone` over and unfreezes it from the stage that ends with level `train_from` on ("": all
    of it). batch_norm: whether BatchNorm uses the statistics of the batch in training; otherwise it keeps
    its own. canvases: all canvas sizes to come. stages: the trained parameters, the shallowest stage first.

    Raises ConfigError for a level that the backbone lacks, and InputError where the backbone accepts only
    one canvas size and gets several.
    """

    def __init__(
        self,
        backbone: FrozenBackbone,
        train_from: str = "",
        *,
        batch_norm: bool = False,
        canvases: Sequence[HW],
    ) -> None:
        super().__init__()
        self.spec = backbone.spec
        self._batch_norm = batch_norm
        self._normalised = backbone.normalised
        self.net = fitted_net(backbone, canvases, backbone.chosen)
        first = first_stage(backbone, train_from)
        self.net.requires_grad_(True)
        stages = _stages(backbone, min(canvases))
        self.net.requires_grad_(False)
        self.stages: list[list[nn.Parameter]] = [stage for stage in stages[first:] if stage]
        for parameter in (p for stage in self.stages for p in stage):
            parameter.requires_grad_(True)
        self.train()

    def forward(self, canvases: Tensor, content_hw: Sequence[HW]) -> FeaturePyramid:
        """Compute the pyramid with a graph.

        canvases: (B, H, W, 3) uint8 on this module's device. content_hw: B sizes in px.
        """
        maps: list[Tensor] = self.net(self._normalised(canvases, content_hw))
        canvas_hw = (int(canvases.shape[1]), int(canvases.shape[2]))
        # The layout in memory decides the last bits of what a neck computes: it is that of cached maps.
        floats = tuple(m.float().contiguous() for m in maps)
        return FeaturePyramid(self.spec, floats, canvas_hw)

    def net_for(self, canvas_hw: HW) -> TappedNet:
        """Return the net from normalised canvases (B, 3, H, W) to maps, which is fitted already."""
        return self.net

    def train(self, mode: bool = True) -> Self:
        """Set the mode; frozen modules stay in eval mode, and so does BatchNorm without `batch_norm`."""
        super().train(mode)
        keep_frozen(self, self._batch_norm)
        return self


def keep_frozen(model: nn.Module, batch_norm: bool) -> None:
    """Set to eval mode what is not trained: frozen modules, and BatchNorm too without `batch_norm`."""
    for module in model.modules():
        parameters = list(module.parameters())
        frozen = bool(parameters) and not any(p.requires_grad for p in parameters)
        if frozen or (isinstance(module, _BatchNorm) and not batch_norm):
            nn.Module.train(module, False)


def first_stage(backbone: FrozenBackbone, train_from: str) -> int:
    """Return the position of a level among those up to the pyramid's last; "" stands for the first.

    Raises ConfigError.
    """
    names = [level.name for level in backbone.taps.available[: max(backbone.chosen) + 1]]
    if train_from and train_from not in names:
        hint = did_you_mean(train_from, names)
        raise ConfigError(f"setting 'backbone.train_from': no level {train_from!r}{hint}")
    return names.index(train_from) if train_from else 0


def fitted_net(
    backbone: FrozenBackbone, canvases: Sequence[HW], chosen: Sequence[int]
) -> TappedNet:
    """Build the net of these levels.

    A model that is fitted to its canvas is fitted in place, since copies share no weights.
    """
    taps = backbone.taps
    if taps.sized:
        if len(set(canvases)) > 1:
            raise InputError(
                f"{backbone.name} is fitted to one canvas and cannot be trained on {len(set(canvases))}; "
                "make the cache with --size"
            )
        taps.model.set_input_size(canvases[0])  # type: ignore[operator]
    return taps.build(chosen)


def _stages(backbone: FrozenBackbone, canvas_hw: HW) -> list[list[nn.Parameter]]:
    """Return the parameters of each stage, for every level up to the pyramid's last, used by it or not."""
    taps = backbone.taps
    count = max(backbone.chosen) + 1
    parameters = list(taps.model.parameters())
    with torch.enable_grad():
        probe_hw = probe_canvas(backbone, canvas_hw)
        probe = torch.zeros((1, 3, *probe_hw), device=parameters[0].device)
        return parameters_by_stage(taps.build(range(count)).eval()(probe), parameters)


def probe_canvas(backbone: FrozenBackbone, canvas_hw: HW) -> HW:
    """Return the canvas of a probe: a small one, unless the model is fitted to its canvas, `canvas_hw`."""
    taps = backbone.taps
    side = 2 * taps.available[max(backbone.chosen)].stride
    return canvas_hw if taps.sized or taps.native_hw else (side, side)


def parameters_by_stage(
    maps: Sequence[Tensor], parameters: Sequence[nn.Parameter]
) -> list[list[nn.Parameter]]:
    """Return for each map, with its graph, the parameters that it depends on and those before it do not."""
    stages: list[list[nn.Parameter]] = []
    known: set[int] = set()
    for map_ in maps:
        slopes = torch.autograd.grad(map_.sum(), parameters, retain_graph=True, allow_unused=True)
        used = [p for p, slope in zip(parameters, slopes, strict=True) if slope is not None]
        stages.append([p for p in used if id(p) not in known])
        known.update(map(id, used))
    return stages
