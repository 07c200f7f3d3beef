"""The reuse of features of images that have not changed since an older cache was made."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ...cache.errors import KeyMismatch
from ...cache.format.chunks import Frame
from ...cache.format.header import CacheHeader
from ...cache.format.records import SampleEntry
from ...cache.layout import ImageEntry, Shard
from ...cache.reader import FeatureCache
from ...cache.windows import Window, split_name
from ...cache.wording import counted
from ..dataset.images.canvases import CanvasRecipe
from ..dataset.images.hashes import hashes_of

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reused:
    """The images whose features are taken over from an older cache.

    ids: the image id in the older cache, by image id here.
    """

    cache: FeatureCache | None = None
    ids: Mapping[int, int] = field(default_factory=dict)

    def samples(
        self, images: Iterable[ImageEntry], views: Sequence[int]
    ) -> Iterator[tuple[SampleEntry, tuple[Frame, ...]]]:
        """Yield every view of some images, checked as it is read. Raises CorruptCache."""
        assert self.cache is not None
        for image in images:
            for view in views:
                entry, frames = self.cache.stored(self.ids[image.id], view)
                yield replace(entry, image_id=image.id), frames


def open_older(path: Path, header: CacheHeader) -> FeatureCache:
    """Open a cache whose features may be taken over into the one of `header`.

    Raises KeyMismatch where it has another key, and whatever FeatureCache.open raises.
    """
    cache = FeatureCache.open(path)
    # The codec's calibration is taken over too.
    key = replace(header.key, calibration=cache.header.key.calibration)
    differences = key.explain(cache.header.key, "reuse")
    if differences:
        raise KeyMismatch(
            f"--update {path}: made from other inputs, so nothing of it can be taken over: "
            f"{'; '.join(map(str, differences))} (here: this command, there: the older cache)"
        )
    return cache


def check_same_codec(older: FeatureCache, header: CacheHeader) -> None:
    """Raise KeyMismatch where a cache was begun with another calibration than the older one's."""
    if older.header.key.calibration != header.key.calibration:
        raise KeyMismatch(
            f"--update {older.root}: its codec {older.header.key.codec} has another calibration than the "
            "cache that was begun here; choose another --out"
        )


def find_reusable(cache: FeatureCache, recipe: CanvasRecipe, shards: Sequence[Shard]) -> Reused:
    """Find the images of `shards` that have the same file (by sha256), window and placements in a cache."""
    by_content: dict[tuple[str, Window | None], list[int]] = {}
    for image_id in cache.image_ids:
        window = split_name(cache.header.layout.image(image_id).file_name)[1]
        by_content.setdefault((cache.entry(image_id).sha256, window), []).append(image_id)
    images = [image for shard in shards for image in shard.images]
    found, hashes = {}, hashes_of(recipe.folder, images)
    for image in images:
        content = hashes[image.id], split_name(image.file_name)[1]
        for old in by_content.get(content, ()):
            if _same_placements(cache, old, recipe, image):
                found[image.id] = old
                break
    log.info("%s: unchanged: %d of %s", cache.root, len(found), counted(len(images), "image"))
    return Reused(cache, found)


def _same_placements(
    cache: FeatureCache, old: int, recipe: CanvasRecipe, image: ImageEntry
) -> bool:
    return all(
        cache.entry(old, view).placement == recipe.place(image, view)
        for view in range(len(recipe.views))
    )
