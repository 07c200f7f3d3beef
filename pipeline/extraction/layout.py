"""The plan of which image goes to which bucket and shard, made before the first feature is computed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from ...cache.codecs.form import StoredForm
from ...cache.layout import Bucket, ImageEntry, Layout
from ...cache.pyramid import PyramidSpec
from ..dataset.images.views import ResizeRule, View


def plan_layout(
    images: Sequence[ImageEntry],
    rule: ResizeRule,
    views: Sequence[View],
    spec: PyramidSpec,
    form: StoredForm,
    shard_bytes: int,
    vector_bytes: int = 0,
) -> Layout:
    """Plan the layout from the sizes in the annotations alone, so that planning again gives the same one.

    shard_bytes: the maximum size of a shard, counting the uncompressed maps of all levels and vector_bytes
    for each sample; a shard holds at least one image nevertheless.
    """
    by_canvas: dict[tuple[int, int], list[ImageEntry]] = defaultdict(list)
    for image in images:
        by_canvas[rule.canvas_hw(image.hw)].append(image)
    buckets = []
    for canvas_hw in sorted(by_canvas):
        per_image = (sample_bytes(spec, canvas_hw, form) + vector_bytes) * len(views)
        members = tuple(by_canvas[canvas_hw])
        per_shard = min(len(members), max(1, shard_bytes // per_image))
        buckets.append(Bucket(canvas_hw, per_shard, members))
    return Layout(tuple(view.name for view in views), tuple(buckets))


def sample_bytes(spec: PyramidSpec, canvas_hw: tuple[int, int], form: StoredForm) -> int:
    """Return the uncompressed size in bytes of one sample over all levels."""
    values = sum(int(np.prod(form.shape(level.shape(canvas_hw)))) for level in spec.levels)
    return values * np.dtype(form.dtype).itemsize
