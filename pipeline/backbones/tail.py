"""The tail of a backbone: the levels behind a cached one are computed from its map, and can be trained.

The trunk before it is never touched: neither its weights nor the images are needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from ...cache.errors import ConfigError, InputError, did_you_mean
from ...cache.pyramid import FeaturePyramid, LevelSpec, PyramidSpec
from ...cache.wording import counted
from .adapted import blocks_to_adapt, inserted_adapters
from .cut import CutNet, NoCut
from .fitting import fitting_rule
from .frozen import FrozenBackbone, exact
from .known import RANDOM
from .loading import ChooseLevels, choose_levels, load_backbone
from .taps import HW
from .trained import first_stage, fitted_net, keep_frozen, parameters_by_stage, probe_canvas


class Tail(nn.Module):
    """The stages of a backbone from the one that ends with level `train_from` on.

    It takes `backbone` over. canvases: all canvas sizes to come. trained: whether its weights are; otherwise
    it computes as the frozen backbone does, in its precision. batch_norm: whether BatchNorm uses the
    statistics of the batch in training. spec: the levels of the backbone's pyramid. cut: the level that it
    begins behind. stages: the trained parameters, the shallowest stage first. own_parameters,
    whole_parameters: the number of parameters of its stages, and of the backbone up to its last level.

    Raises ConfigError for a level that the backbone lacks, and where the stage before it is no cut.
    """

    def __init__(
        self,
        backbone: FrozenBackbone,
        train_from: str,
        *,
        trained: bool,
        batch_norm: bool = False,
        canvases: Sequence[HW],
    ) -> None:
        super().__init__()
        first = _first_behind(backbone, train_from)
        levels = backbone.taps.available
        self.spec, self.cut = backbone.spec, levels[first - 1]
        self.whole_parameters = backbone.parameters_count
        self._behind = {levels[k].name: k - first for k in backbone.chosen if k >= first}
        self._batch_norm = batch_norm
        self._precision = None if trained else backbone.precision
        backbone.requires_grad_(False)
        self._only_hw = canvases[0] if backbone.taps.sized else None
        self.net = _cut_at(backbone, first - 1, canvases)
        stages = self._stages()
        self.own_parameters = sum(p.numel() for stage in stages for p in stage)
        self.stages: list[list[nn.Parameter]] = stages if trained else []
        for parameter in (p for stage in self.stages for p in stage):
            parameter.requires_grad_(True)
        self.train()

    def forward(self, pyramid: FeaturePyramid) -> FeaturePyramid:
        """Add the levels behind the cut to a pyramid of the levels up to it, with a graph where trained.

        Where the cut has tokens, the pyramid's `vector` has those of each of its levels. Raises InputError
        where it has none, and for a canvas that the model is not fitted to.
        """
        if self._only_hw not in (None, pyramid.canvas_hw):
            raise InputError(
                f"the tail is fitted to canvases of {self._only_hw} (h, w) px, got {pyramid.canvas_hw}; make "
                "the cache with --size"
            )
        names = pyramid.spec.names
        map_ = pyramid.maps[names.index(self.cut.name)]
        tokens = self._tokens_of(pyramid) if self.tokens else None
        precision = self._precision
        with nullcontext() if precision is None else exact(precision, map_.device):
            behind = self.net(map_, pyramid.canvas_hw, tokens)
        maps = tuple(
            behind[self._behind[level.name]].float().contiguous()
            if level.name in self._behind
            else pyramid.maps[names.index(level.name)]
            for level in self.spec.levels
        )
        return FeaturePyramid(self.spec, maps, pyramid.canvas_hw)

    @property
    def tokens(self) -> int:
        """The number of tokens that it takes beside the map, such as a class token."""
        return self.net.cut.prefix or 0

    def _tokens_of(self, pyramid: FeaturePyramid) -> Tensor:
        """Return the tokens (B, P, C) of the cut. Raises InputError where the pyramid has others, or none."""
        spec, position = pyramid.spec, pyramid.spec.names.index(self.cut.name)
        counts = [self.tokens * channels for channels in spec.channels]
        if pyramid.vector is None or pyramid.vector.shape[1] != sum(counts):
            raise InputError(
                f"the tail takes {counted(self.tokens, 'token')} beside the map of {self.cut.name}, and the "
                "cache does not keep them; make it with `fdet extract --tokens`"
            )
        begin = sum(counts[:position])
        own = pyramid.vector[:, begin : begin + counts[position]]
        # An exported graph takes any number of images, so that is left open.
        return own.reshape(-1, self.tokens, spec.channels[position])

    def train(self, mode: bool = True) -> Self:
        """Set the mode; frozen modules stay in eval mode, and so does BatchNorm without `batch_norm`."""
        super().train(mode)
        keep_frozen(self, self._batch_norm)
        return self

    def _stages(self) -> list[list[nn.Parameter]]:
        """Return the parameters that the maps behind the cut depend on, by stage."""
        self.net.requires_grad_(True)
        parameters = list(self.net.parameters())
        with torch.enable_grad():
            stages = parameters_by_stage(self.net.of_zeros(), parameters)
        self.net.requires_grad_(False)
        return [stage for stage in stages if stage]


class AdaptedTail(nn.Module):
    """A frozen tail with adapters after its blocks, which alone have parameters and state.

    The arguments are those of `AdaptedBackbone`, and so are the errors and those of `Tail`.
    """

    def __init__(
        self,
        backbone: FrozenBackbone,
        train_from: str,
        *,
        reduction: int,
        min_width: int,
        seed: int,
        canvases: Sequence[HW],
    ) -> None:
        super().__init__()
        # The blocks are found before the trunk loses its weights.
        blocks, device = blocks_to_adapt(backbone, train_from, canvases), backbone.device
        self.blocks = tuple(block.name for block in blocks)
        tail = Tail(backbone, train_from, trained=False, canvases=canvases)
        drawn = {"reduction": reduction, "min_width": min_width, "seed": seed}
        self.adapters = inserted_adapters(tail.net, blocks, device, **drawn)
        self.spec, self.cut = tail.spec, tail.cut
        self.own_parameters, self.whole_parameters = tail.own_parameters, tail.whole_parameters
        # A tuple hides the frozen tail from torch: it is not saved.
        self._frozen = (tail,)

    @property
    def tokens(self) -> int:
        """The number of tokens that it takes beside the map, such as a class token."""
        return self._frozen[0].tokens

    @property
    def net(self) -> CutNet:
        """The frozen net behind the cut, with the adapters in it."""
        return self._frozen[0].net

    def forward(self, pyramid: FeaturePyramid) -> FeaturePyramid:
        """Add the levels behind the cut, with a graph from the first adapter on."""
        added: FeaturePyramid = self._frozen[0](pyramid)
        return added


def trained_in(tail: nn.Module) -> int:
    """Return the number of parameters of a tail that are trained."""
    return sum(p.numel() for p in tail.parameters() if p.requires_grad)


def _first_behind(backbone: FrozenBackbone, train_from: str) -> int:
    """Return the position of the first level behind the cut. Raises ConfigError where there is no cut."""
    first = first_stage(backbone, train_from)
    if not train_from or not first:
        names = [level.name for level in backbone.taps.available[: max(backbone.chosen) + 1]]
        raise ConfigError(
            f"setting 'backbone.train_from': a tail begins behind a cached level; expected one of "
            f"{', '.join(names[1:])}, got {train_from!r}"
        )
    return first


def _cut_at(backbone: FrozenBackbone, cut: int, canvases: Sequence[HW]) -> CutNet:
    """Return the net that is cut at the level of this position. Raises ConfigError where that is no cut."""
    count = max(backbone.chosen) + 1
    try:
        net = _try_cut(backbone, cut, count, canvases)
    except NoCut:
        raise ConfigError(_no_cut(backbone, cut, count, canvases)) from None
    net.release()
    return net


def _try_cut(backbone: FrozenBackbone, cut: int, count: int, canvases: Sequence[HW]) -> CutNet:
    net = fitted_net(backbone, canvases, range(cut, count))
    return CutNet(net.eval().requires_grad_(False), probe_canvas(backbone, min(canvases)))


def _no_cut(backbone: FrozenBackbone, cut: int, count: int, canvases: Sequence[HW]) -> str:
    """Return the message for a level that is no cut, with the nearest one that is."""
    levels = [level.name for level in backbone.taps.available]
    text = (
        f"setting 'backbone.train_from': what {backbone.name} computes behind {levels[cut]} depends on "
        f"more than the map of {levels[cut]}, so a tail cannot begin with {levels[cut + 1]}"
    )
    others = sorted(set(range(count - 1)) - {cut}, key=lambda k: abs(k - cut))
    for other in others:
        try:
            _try_cut(backbone, other, count, canvases)
        except NoCut:
            continue
        return f"{text}; the nearest level for it is {levels[other + 1]}"
    return f"{text}, nor with any other level; use --source finetune"


def levels_before_tail(
    name: str, wanted: Sequence[str] | None, train_from: str, sides: HW, square: bool
) -> tuple[list[str], bool]:
    """Return the levels that a cache needs for a tail, the finest first, and whether it needs their tokens.

    name: that of the backbone. wanted: the levels that the detector is to have, None for the usual ones.
    sides, square: as `fitting_rule` takes them. Raises ConfigError where the tail cannot begin there.
    """

    def choose(available: Sequence[LevelSpec]) -> list[str]:
        """Return the names of the levels of the backbone, with those of the tail."""
        names = [level.name for level in available]
        first = _first_of_tail(train_from, names)
        usual = [names[k] for k in choose_levels(name, available, None)]
        asked = list(usual if wanted is None else wanted)
        behind = any(n in names[first:] for n in asked)
        return list(dict.fromkeys([*asked, names[first - 1], *([] if behind else names[-1:])]))

    backbone = load_backbone(name, weights=RANDOM, levels=choose)
    canvas_hw = fitting_rule(backbone, *sides, square).canvas_hw((1, 1))
    levels = [level.name for level in backbone.taps.available]
    before = [n for n in backbone.spec.names if n in levels[: levels.index(train_from)]]
    tail = Tail(backbone, train_from, trained=False, canvases=[canvas_hw])
    return before, tail.tokens > 0


def _first_of_tail(train_from: str, names: Sequence[str]) -> int:
    """Return the position of the level that a tail begins with. Raises ConfigError where it is none."""
    if train_from not in names[1:]:
        hint = did_you_mean(train_from, names[1:])
        raise ConfigError(
            f"setting 'backbone.train_from': expected the level that a tail begins with, got "
            f"{train_from!r}{hint}"
        )
    return names.index(train_from)


def levels_with_tail(cached: PyramidSpec, train_from: str, cache: Path | str) -> ChooseLevels:
    """Return the function that chooses the levels of a pyramid with a tail.

    These are the cached levels before the tail, and all cached ones within it; where none of these is cached,
    those that an extraction would choose. cache: what is named in errors. It raises ConfigError where the
    cache lacks the level that the tail begins behind.
    """

    def choose(available: Sequence[LevelSpec]) -> list[str]:
        """Return the names of the levels, the finest first."""
        names = [level.name for level in available]
        first = _first_of_tail(train_from, names)
        if names[first - 1] not in cached.names:
            raise ConfigError(
                f"setting 'backbone.train_from': a tail that begins with {train_from} takes the maps of "
                f"{names[first - 1]}, and {cache} has {', '.join(cached.names)}; extract it with "
                f"--levels {','.join([*(n for n in names[:first] if n in cached.names), names[first - 1]])}"
            )
        behind = [name for name in names[first:] if name in cached.names]
        usual = [names[k] for k in choose_levels("", available, None) if k >= first]
        return [n for n in names[:first] if n in cached.names] + (behind or usual or names[-1:])

    return choose
