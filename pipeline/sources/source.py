"""The protocol of the sources of a training step's pyramids.

What a source loads ahead is not yet a pyramid: making the pyramid is part of the step, on its device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

from ...cache.placement import Placement
from ...cache.pyramid import FeaturePyramid
from ...cache.sampler import SampleId

MakePyramid = Callable[[], FeaturePyramid]


class Loaded(NamedTuple):
    """The samples of a batch that could be read; `pyramid` makes their maps, with a graph if needed."""

    samples: tuple[SampleId, ...]
    placements: tuple[Placement, ...]
    pyramid: MakePyramid


class NoPyramids:
    """The source where images are wanted and pyramids are not."""

    def load(self, batches: Sequence[Sequence[SampleId]]) -> Iterator[Loaded]:
        """Yield nothing."""
        return iter(())

    @property
    def skipped(self) -> frozenset[SampleId]:
        """No samples."""
        return frozenset()


class PyramidSource(Protocol):
    """A source that loads batches of (image id, view), each batch from one bucket."""

    def load(self, batches: Sequence[Sequence[SampleId]]) -> Iterator[Loaded]:
        """Yield one item per batch, in order, read ahead."""
        ...

    @property
    def skipped(self) -> frozenset[SampleId]:
        """The samples that were left out as damaged so far."""
        ...
