"""The planning pass: which image goes where, before the first feature is computed."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from ..cache.errors import InputError
from ..cache.layout import Bucket, ImageEntry, Layout
from ..cache.pyramid import PyramidSpec
from .images import ImageError, ImageHeader, read_header
from .progress import progress_line
from .views import ResizeRule, View

log = logging.getLogger(__name__)


def plan_layout(
    images: Sequence[ImageEntry],
    rule: ResizeRule,
    views: Sequence[View],
    spec: PyramidSpec,
    dtype: str,
    shard_bytes: int,
) -> Layout:
    """From the sizes that the annotations name alone, so planning again gives the same layout.

    shard_bytes: of uncompressed maps over all levels; a shard holds at least one image.
    """
    by_canvas: dict[tuple[int, int], list[ImageEntry]] = defaultdict(list)
    for image in images:
        by_canvas[rule.canvas_hw(image.hw)].append(image)
    buckets = []
    for canvas_hw in sorted(by_canvas):
        per_image = sample_bytes(spec, canvas_hw, dtype) * len(views)
        members = tuple(by_canvas[canvas_hw])
        per_shard = min(len(members), max(1, shard_bytes // per_image))
        buckets.append(Bucket(canvas_hw, per_shard, members))
    return Layout(tuple(view.name for view in views), tuple(buckets))


def sample_bytes(spec: PyramidSpec, canvas_hw: tuple[int, int], dtype: str) -> int:
    """Uncompressed bytes of one sample over all levels."""
    values = sum(int(np.prod(level.shape(canvas_hw))) for level in spec.levels)
    return values * np.dtype(dtype).itemsize


def check_images(folder: Path, images: Sequence[ImageEntry]) -> None:
    """Hold every file's header against the annotations; unreadable files are left to extraction.

    Raises InputError for missing files and for sizes that differ, with how many and the first few.
    """
    if not folder.is_dir():
        raise InputError(f"--images {folder}: no such folder")
    missing = [image.file_name for image in images if not _is_file(folder / image.file_name)]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(images)} images are missing below {folder}: {_first(missing)}; "
            "check --images"
        )
    differing, turned, left = [], 0, 0
    with (
        progress_line("reading image headers", len(images)) as progress,
        ThreadPoolExecutor(8) as pool,
    ):
        headers = pool.map(lambda image: _header(folder / image.file_name), images)
        for image, header in zip(images, headers, strict=True):
            progress.advance()
            if header is None:
                continue
            rotate = header.rotate(image.hw)
            if rotate is None:
                differing.append(
                    f"{image.file_name} (file {_size(header.upright_hw)}, "
                    f"annotations {_size(image.hw)})"
                )
            elif header.orientation != 1:
                turned, left = turned + rotate, left + (not rotate)
    if differing:
        raise InputError(
            f"{len(differing)} images have another size than the annotations say: "
            f"{_first(differing)}; these annotations belong to other files"
        )
    if turned or left:
        log.warning(
            "EXIF rotation: applied to %d images; ignored for %d, whose annotations name the size "
            "of the unrotated file",
            turned,
            left,
        )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name too long
        return False


def _header(path: Path) -> ImageHeader | None:
    try:
        return read_header(path)
    except ImageError:
        return None


def _size(hw: tuple[int, int]) -> str:
    return f"{hw[1]}x{hw[0]}"


def _first(names: Sequence[str], count: int = 3) -> str:
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")
