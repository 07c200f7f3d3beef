"""The calibration of a codec: what it learns from a few images before the first feature is stored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ...cache.codecs.calibration import FloatArray, calibrate, parameter_files
from ...cache.codecs.codec import codec_files
from ...cache.codecs.form import StoredForm
from ...cache.errors import FeatureError, InputError, KeyMismatch
from ...cache.format.header import CacheHeader
from ...cache.key import CacheKey
from ...cache.layout import ImageEntry
from ...cache.placement import Placement
from ...cache.pyramid import FeaturePyramid
from ...cache.wording import none_could
from ..backbones.frozen import FrozenBackbone
from ..dataset.images.canvases import CanvasRecipe, render
from ..machines.progress import progress_line

# The maximum number of cells of a level: enough for the covariance of a few thousand channels, and
# a few hundred MB at most.
CELLS = 2**14


def learn(
    form: StoredForm, backbone: FrozenBackbone, recipe: CanvasRecipe, images: Sequence[ImageEntry]
) -> dict[str, bytes]:
    """Learn the codec's files from the plain view of some images, without those that cannot be read.

    Raises InputError where none can be read, FeatureError for a value that no codec can store.
    """
    found: dict[str, list[FloatArray]] = {name: [] for name in backbone.spec.names}
    with progress_line("calibrate", len(images)) as progress:
        for image, pyramid, placement in _pyramids(backbone, recipe, images):
            for name, x in zip(pyramid.spec.names, pyramid.maps, strict=True):
                cells = cells_for(form, x[0], placement, CELLS // len(images))
                _check_finite(cells, f"image {image.file_name} (id {image.id}), level {name}")
                found[name].append(cells)
            progress.advance()
    if not any(found.values()):
        raise InputError(
            f"{none_could(len(images), 'image', 'be read')} to calibrate the codec "
            f"({images[0].file_name}: {render(recipe, images[0], (0,)).failure}); give more "
            "--calibration-images, or another cache's --calibration"
        )
    learnt_from = {name: np.concatenate(x) for name, x in found.items()}
    return parameter_files(calibrate(form, learnt_from, backbone.spec.strides))


def _pyramids(
    backbone: FrozenBackbone, recipe: CanvasRecipe, images: Sequence[ImageEntry]
) -> Iterator[tuple[ImageEntry, FeaturePyramid, Placement]]:
    device = next(backbone.parameters()).device
    for image in images:
        canvases = render(recipe, image, (0,))
        if canvases.pixels is not None:
            canvas = torch.from_numpy(np.ascontiguousarray(canvases.pixels[0]))[None].to(device)
            placement = canvases.placements[0]
            yield image, backbone(canvas, [placement.content_hw]), placement


def _check_finite(cells: FloatArray, where: str) -> None:
    if not np.isfinite(cells).all():
        raise FeatureError(
            f"{where}: values are NaN or infinite; check the image and the weights", 0
        )


def cells_for(
    form: StoredForm, level_map: Tensor, placement: Placement, maximum: int
) -> FloatArray:
    """Return cells that a codec learns from, as `some_cells` or `some_blocks` chooses them."""
    choose = some_blocks if form.blocks else some_cells
    return choose(level_map, placement, maximum)


def some_cells(level_map: Tensor, placement: Placement, maximum: int) -> FloatArray:
    """Return cells that show the image, evenly spaced over it: (C, H, W) -> (N, C).

    N is at most `maximum`, and at least one.
    """
    visible = _visible(level_map, placement).flatten(1)
    return _floats(visible[:, _spaced(visible.shape[1], maximum).to(visible.device)].T)


def some_blocks(level_map: Tensor, placement: Placement, maximum: int) -> FloatArray:
    """Return blocks of 2x2 cells that show the image, evenly spaced over it: (C, H, W) -> (N, C).

    The four cells of a block follow each other, by rows. N is at most `maximum`, and at least four; a map of
    one row or column counts it twice.
    """
    visible = _visible(level_map, placement)
    rows, columns = (max(1, side // 2) for side in visible.shape[1:])
    corners = _spaced(rows * columns, maximum // 4).to(visible.device)
    top, left = 2 * (corners // columns), 2 * (corners % columns)
    bottom, right = (
        (top + 1).clamp(max=visible.shape[1] - 1),
        (left + 1).clamp(max=visible.shape[2] - 1),
    )
    down = torch.stack([top, top, bottom, bottom], dim=1).flatten()
    across = torch.stack([left, right, left, right], dim=1).flatten()
    return _floats(visible[:, down, across].T)


def _visible(level_map: Tensor, placement: Placement) -> Tensor:
    """Return the part of a map (C, H, W) that shows the image, at least one cell."""
    rows, columns = (
        max(1, size * content // canvas)
        for size, content, canvas in zip(
            level_map.shape[1:], placement.content_hw, placement.canvas_hw, strict=True
        )
    )
    return level_map[:, :rows, :columns]


def _spaced(count: int, maximum: int) -> Tensor:
    """Return at most `maximum` numbers, and at least one, evenly spaced from 0 to count - 1."""
    chosen: npt.NDArray[np.int64] = np.linspace(
        0, count - 1, max(1, min(maximum, count)), dtype=np.int64
    )
    return torch.from_numpy(chosen)


def _floats(cells: Tensor) -> FloatArray:
    found: FloatArray = cells.float().cpu().numpy()
    return found


def evenly(images: Sequence[ImageEntry], count: int) -> list[ImageEntry]:
    """Return at most `count` of the images, evenly spread over all of them."""
    count = min(count, len(images))
    return [images[k * len(images) // count] for k in range(count)]


def calibration_of(root: Path, key: CacheKey, option: str) -> dict[str, bytes]:
    """Return the calibration files of another cache, for a codec of the same name over the same features.

    option: the option that names that cache, for the message. Raises InputError, KeyMismatch, CorruptCache.
    """
    other = CacheHeader.read(root)
    differences = [str(d) for d in key.explain(other.key, "pair") if d.fatal]
    if key.codec != other.key.codec:
        differences.append(f"codec: {key.codec} here, {other.key.codec} there")
    if differences:
        raise KeyMismatch(
            f"{option} {root}: its codec is of other features: {'; '.join(differences)} (here: this "
            "command, there: that cache)"
        )
    return codec_files(root, other.key)
