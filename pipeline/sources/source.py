"""Where a training step's pyramid comes from: what every source does.

What a source loads ahead is not yet a pyramid: making it is part of the step, on its device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

from ...cache.placement import Placement
from ...cache.pyramid import FeaturePyramid
from ...cache.sampler import SampleId

MakePyramid = Callable[[], FeaturePyramid]


class Loaded(NamedTuple):
    """What could be read of a batch; `pyramid` makes its maps, with a graph where one is wanted."""

    samples: tuple[SampleId, ...]
    placements: tuple[Placement, ...]
    pyramid: MakePyramid


class PyramidSource(Protocol):
    """Loads batches of (image id, view); each batch of one bucket."""

    def load(self, batches: Sequence[Sequence[SampleId]]) -> Iterator[Loaded]:
        """One item a batch, in order, read ahead."""
        ...

    @property
    def skipped(self) -> frozenset[SampleId]:
        """Samples left out as damaged so far."""
        ...
