"""The comparison of stored features with the live ones of the same passes."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ....cache.codecs.codec import Codec, LevelCodec, codec_of, plain_codec
from ....cache.key import CacheKey
from ....cache.loader import load_batch
from ....cache.pyramid import FeaturePyramid, LevelSpec, PyramidSpec
from ....cache.reader import FeatureCache
from ....cache.sampler import SampleId
from ...backbones.frozen import FrozenBackbone
from ...dataset.images.canvases import CanvasRecipe, render
from ...machines.progress import ProgressLine
from ...sources.coded import through
from .expectation import Allowance
from .passes import Pass

_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32}


@dataclass(slots=True)
class LevelFeatures:
    """The result of comparing the maps of one level, or the image vectors.

    same_bits: the number of stored values, out of `values`, that are equal to the last bit. absolute: the
    largest error of a decoded value against the live one, which no codec has touched. relative: the largest
    such error as a share of the largest value of its map. of_bound: the largest share of its bound that an
    error reaches.
    """

    name: str
    samples: int = 0
    values: int = 0
    same_bits: int = 0
    absolute: float = 0.0
    relative: float = 0.0
    of_bound: float = 0.0


class _Maps(NamedTuple):
    """The maps of one sample at one level.

    stored: the codes in the cache. encoded: the codes that should be there. live: the live map (C, H, W).
    source: the map that was encoded, which is the live one unless other codecs came before.
    """

    stored: Tensor
    encoded: Tensor
    live: Tensor
    source: Tensor

    def to(self, device: str) -> _Maps:
        return _Maps(*(x.to(device) for x in self))


@dataclass
class FeatureCheck:
    """The comparison of one pass after the other.

    exact: whether equal bits are expected; otherwise a decoded value may be as far from the live one as the
    codec states plus the allowance. unusable: the images whose file is not the one that was extracted.
    levels: what was found at each level. vectors: what was found of the image vectors, if the cache has them.
    failures: one line for each sample and level with a wrong value.
    """

    cache: FeatureCache
    recipe: CanvasRecipe
    backbone: FrozenBackbone
    exact: bool
    allowance: Allowance
    unusable: Container[int] = ()
    levels: list[LevelFeatures] = field(init=False)
    vectors: list[LevelFeatures] = field(init=False)
    failures: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        key, device = self.cache.header.key, next(self.backbone.parameters()).device
        self._codec = codec_of(self.cache.root, key, device)
        self._on_cpu = codec_of(self.cache.root, key)
        self._codecs_before = codecs_before(key)
        self.levels = [LevelFeatures(name) for name in self.cache.header.key.levels.names]
        self.vectors = [LevelFeatures("(vector)")] if key.image_vector else []

    def run(self, passes: Sequence[Pass], progress: ProgressLine) -> None:
        """Compare some passes. Raises CorruptCache, FeatureError."""
        for one in passes:
            self._compare(one)
            progress.advance(len(one), "samples/s")

    def _compare(self, one: Pass) -> None:
        shown, live = self._live(one)
        if not shown:
            return
        samples = [one[k] for k in shown]
        stored = load_batch(self.cache, samples)
        for (image_id, view), placement in zip(samples, stored.placements, strict=True):
            if placement != self.recipe.place(self.cache.header.layout.image(image_id), view):
                self.failures.append(
                    f"{self._name_of(image_id, view)}: another placement is stored"
                )
        source = live
        for codec in self._codecs_before:
            source = through(codec, source)
        columns = zip(
            *(self.levels, self._on_cpu.levels, stored.maps, self._codec.encode(source)),
            *(live.maps, source.maps),
            strict=True,
        )
        for level, codec, kept, encoded, maps, coded in columns:
            for k, (image_id, view) in enumerate(samples):
                found = _Maps(kept[k], encoded[shown[k]], maps[shown[k]], coded[shown[k]])
                wrong = self._compare_map(level, codec, found.to("cpu"))
                if wrong:
                    where = f"{self._name_of(image_id, view)}, level {level.name}"
                    self.failures.append(f"{where}: {wrong}")
        if live.vector is not None:
            self._compare_vectors(samples, live.vector[shown])

    def _compare_vectors(self, samples: Sequence[SampleId], live: Tensor) -> None:
        """Compare image vectors as maps of one cell that no codec has touched."""
        stored, exact = torch.from_numpy(self.cache.vectors(samples)), _exact_codec(live.shape[1])
        for (image_id, view), kept, found in zip(samples, stored, live.cpu(), strict=True):
            cell = found[:, None, None]
            wrong = self._compare_map(
                self.vectors[0], exact, _Maps(kept[:, None, None], cell, cell, cell)
            )
            if wrong:
                self.failures.append(f"{self._name_of(image_id, view)}, image vector: {wrong}")

    def _live(self, one: Pass) -> tuple[list[int], FeaturePyramid]:
        """Return the positions in a pass that can be compared, and the maps of the pass.

        As at extraction, an empty canvas stands in for an image that cannot be read.
        """
        layout, shown, canvases, contents = self.cache.header.layout, [], [], []
        for k, (image_id, view) in enumerate(one):
            image = layout.image(image_id)
            placement = self.recipe.place(image, view)
            canvas = np.zeros((*placement.canvas_hw, 3), np.uint8)
            if image_id not in self.cache.failed and image_id not in self.unusable:
                rendered = render(self.recipe, image, (view,))
                if rendered.pixels is None:
                    self.failures.append(f"{self._name_of(image_id, view)}: {rendered.failure}")
                else:
                    canvas = rendered.pixels[0]
                    shown.append(k)
            canvases.append(canvas)
            contents.append(placement.content_hw)
        device = next(self.backbone.parameters()).device
        return shown, self.backbone(torch.from_numpy(np.stack(canvases)).to(device), contents)

    def _compare_map(self, level: LevelFeatures, codec: LevelCodec, found: _Maps) -> str:
        """Add one map to what is known of its level, and return what is wrong with it, or an empty text."""
        stored, encoded, live, source = found
        same = int((_bits(stored) == _bits(encoded)).sum())
        decoded = codec.decode(stored[None], live.shape[-1])[0]
        error = (decoded.double() - live.double()).abs()
        stated = codec.bound(source[None])[0] + (source.double() - live.double()).abs()
        largest, allowed = float(live.abs().max()), self.allowance
        of_bound = _shares(error, stated if self.exact else stated + allowed.features * largest)
        of_map = _shares(_rms(error), _rms(stated) + allowed.map * _rms(live.double()))
        level.samples += 1
        level.values += stored.numel()
        level.same_bits += same
        level.absolute = max(level.absolute, float(error.max()))
        level.relative = max(level.relative, float(error.max()) / max(largest, 1e-30))
        level.of_bound = max(level.of_bound, float(of_bound.max()))
        differing, beyond = stored.numel() - same, int((of_bound > 1).sum())
        if self.exact and differing:
            return (
                f"{differing} of {stored.numel()} values have other bits, by up to "
                f"{_codes_apart(codec, found):.3g}"
            )
        if beyond:
            return (
                f"{beyond} of {live.numel()} values are beyond the bound, by up to "
                f"{float(of_bound.max()):.3g} times"
            )
        if of_map > 1:
            return f"the map as a whole is beyond its bound, {float(of_map):.3g} times"
        return ""

    def _name_of(self, image_id: int, view: int) -> str:
        name = self.cache.header.layout.image(image_id).file_name
        return f"image {name} (id {image_id}), view {self.cache.views[view]}"


def codecs_before(key: CacheKey) -> list[Codec]:
    """Return the codecs that a converted cache's features passed before its own, none of them calibrated."""
    return [plain_codec(name, key.levels) for name in key.converted]


def _exact_codec(channels: int) -> LevelCodec:
    return plain_codec("fp32", PyramidSpec((LevelSpec("vector", 1, channels),))).levels[0]


def _bits(stored: Tensor) -> Tensor:
    return stored.view(_BITS[stored.element_size()])


def _shares(error: Tensor, bound: Tensor) -> Tensor:
    """Return errors as shares of the bound; an error of 0 is a share of 0, and NaN is beyond every bound."""
    return torch.where(error == 0, 0.0, error / bound).nan_to_num(nan=torch.inf)


def _rms(values: Tensor) -> Tensor:
    """Return the root of the mean square."""
    return values.square().mean().sqrt()


def _codes_apart(codec: LevelCodec, found: _Maps) -> float:
    columns = found.live.shape[-1]
    one = codec.decode(found.stored[None], columns)
    other = codec.decode(found.encoded[None], columns)
    return float((one - other).abs().max())
