"""A source whose pyramids come from another one and pass through a codec, as if they came from a cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from ...cache.codecs.codec import Codec
from ...cache.pairs import PairedCodec
from ...cache.pyramid import FeaturePyramid
from ...cache.sampler import SampleId
from .source import Loaded, MakePyramid, PyramidSource


class CodedSource:
    """The pyramids of `source`, encoded and decoded in the step; the codec is on the device of its maps."""

    def __init__(self, source: PyramidSource, codec: Codec | PairedCodec) -> None:
        self._source, self._codec = source, codec

    def load(self, batches: Sequence[Sequence[SampleId]]) -> Iterator[Loaded]:
        for loaded in self._source.load(batches):
            yield loaded._replace(pyramid=partial(self._passed, loaded.pyramid))

    @property
    def skipped(self) -> frozenset[SampleId]:
        return self._source.skipped

    def _passed(self, make: MakePyramid) -> FeaturePyramid:
        return through(self._codec, make())


def through(codec: Codec | PairedCodec, pyramid: FeaturePyramid) -> FeaturePyramid:
    """Return a pyramid as a cache with that codec would give it back, which keeps vectors as they are."""
    decoded = codec.decode(codec.encode(pyramid), pyramid.canvas_hw)
    return replace(decoded, vector=pyramid.vector)
