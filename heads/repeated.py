"""A neck that projects the cached levels to one width and passes them through one graph repeatedly."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from ..cache.pyramid import FeaturePyramid, PyramidSpec
from .detector import Neck
from .family import NeckSettings
from .levels import ProjectedLevels, doubling_levels_of


class RepeatedNeck(Neck):
    """Projected levels, followed by `repeats` modules that share a graph.

    Cached levels above max_level take no part; levels coarser than the cache's are made by max-pooling.
    graph: a function from the number of levels to a module that maps that many maps to as many of the same
    sizes; it is called `repeats` times, so that each module has its own weights.
    """

    def __init__(
        self,
        spec: PyramidSpec,
        settings: NeckSettings,
        norm: str,
        repeats: int,
        graph: Callable[[int], nn.Module],
    ) -> None:
        super().__init__(spec)
        self._used, self.spec = doubling_levels_of(spec, settings)
        inputs, count = [spec.channels[k] for k in self._used], len(self.spec.levels)
        self.inputs = ProjectedLevels(inputs, settings.channels, norm, count)
        self.repeats = nn.ModuleList(graph(count) for _ in range(repeats))

    @property
    def parts(self) -> tuple[nn.Module, ...]:
        """The projections and each repeat."""
        return self.inputs, *self.repeats

    def forward(self, pyramid: FeaturePyramid) -> FeaturePyramid:
        """Make the levels min_level..max_level from the cached levels."""
        maps = self.inputs([pyramid.maps[k] for k in self._used])
        for repeat in self.repeats:
            maps = repeat(maps)
        return FeaturePyramid(self.spec, tuple(maps), pyramid.canvas_hw)
