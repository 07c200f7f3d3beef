"""Tiles: how large images are cut into windows, and which ids and names the windows have in a layout."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ...cache.errors import InputError
from ...cache.layout import ImageEntry
from ...cache.windows import Window, split_name, window_name
from ...cache.wording import counted

# A tile's id is that of its image times this, plus its number from 1 on; 0 is the whole image.
NUMBERS = 10**6
DEFAULT_OVERLAP = 0.2
# The smallest side of a tile, px: the coarsest usual stride.
MIN_SIDE = 32
# No tile overlaps its neighbours by more, so that no pixel is in more than four tiles in a row.
MAX_OVERLAP = 0.75
_MAX_ID = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Tiling:
    """A rule that cuts images into tiles.

    side: the side of a tile, px of the image. overlap: the least share of its side that a tile has in common
    with the next one. whole: whether the whole image stands beside its tiles.
    """

    side: int
    overlap: float = DEFAULT_OVERLAP
    whole: bool = False

    def __str__(self) -> str:
        beside = ", and the whole image" if self.whole else ""
        return f"tiles of {self.side} px that overlap by at least {self.overlap:.3g}{beside}"

    def to_text(self) -> str:
        """Return a text from which `parse` makes the same tiling."""
        return f"{self.side} {self.overlap!r}{' whole' if self.whole else ''}"

    @classmethod
    def parse(cls, text: str) -> Tiling:
        """Return the tiling that a text states. Raises ValueError for any other text."""
        side, overlap, *whole = text.split(" ")
        tiling = cls(int(side), float(overlap), whole == ["whole"])
        if whole not in ([], ["whole"]) or tiling.side < 1 or not 0 <= tiling.overlap < 1:
            raise ValueError(f"tiles: {text!r}")
        return tiling

    def windows(self, hw: tuple[int, int]) -> list[Window]:
        """Return the tiles of an image of that size, row by row; [] for an image that fits in one tile."""
        if max(hw) <= self.side:
            return []
        rows, columns = (self._starts(length) for length in hw)
        height, width = (min(self.side, length) for length in hw)
        return [Window(x, y, width, height) for y in rows for x in columns]

    def count(self, hw: tuple[int, int]) -> int:
        """Return the number of tiles that cover an image, 1 for one that is not cut."""
        rows, columns = (len(self._starts(length)) for length in hw)
        return rows * columns

    def _starts(self, length: int) -> list[int]:
        """Return where the tiles along one side begin: evenly spread, from one end to the other."""
        if length <= self.side:
            return [0]
        # A share that comes from whole pixels (`tiling_of`) gives these pixels again.
        step = max(1, math.floor(self.side * (1 - self.overlap) + 1e-6))
        last = math.ceil((length - self.side) / step)
        return [k * (length - self.side) // last for k in range(last + 1)]


def tiles_of(images: Sequence[ImageEntry], tiling: Tiling) -> tuple[ImageEntry, ...]:
    """Return the tiles of images as images of their own; the images themselves where none is cut.

    Raises InputError where an image has too many tiles, or an id that is too large.
    """
    if all(max(image.hw) <= tiling.side for image in images):
        return tuple(images)
    return tuple(tile for image in images for tile in _tiles(image, tiling))


def _tiles(image: ImageEntry, tiling: Tiling) -> Iterable[ImageEntry]:
    count, first = tiling.count(image.hw), image.id * NUMBERS
    if count >= NUMBERS:
        raise InputError(
            f"--tiles: image {image.file_name} would have {counted(count, 'tile')}, expected fewer than "
            f"{NUMBERS}; give larger ones"
        )
    windows = tiling.windows(image.hw)
    if first + len(windows) > _MAX_ID:
        raise InputError(
            f"--tiles: image {image.file_name} has the id {image.id}, and tiles need ids up to "
            f"{_MAX_ID // NUMBERS - 1}; give the images smaller ids"
        )
    if tiling.whole or not windows:
        yield ImageEntry(first, image.file_name, image.hw)
    for k, window in enumerate(windows, start=1):
        yield ImageEntry(first + k, window_name(image.file_name, window), window.hw)


def is_tiled(images: Iterable[ImageEntry]) -> bool:
    """Return whether the images of a layout are tiles; they all are then, also those without a window."""
    return any(split_name(image.file_name)[1] is not None for image in images)


def image_of(tile_id: int) -> int:
    """Return the id of the image that a tile is of."""
    return tile_id // NUMBERS


def photographs_of(tiles: Iterable[ImageEntry]) -> tuple[ImageEntry, ...]:
    """Return the images that tiles are of, in order; their sizes are those that all tiles together cover."""
    names: dict[int, str] = {}
    extents: defaultdict[int, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for tile in tiles:
        name, window = split_name(tile.file_name)
        window = window or Window(0, 0, tile.hw[1], tile.hw[0])
        image_id = image_of(tile.id)
        names[image_id] = name
        rows, columns = extents[image_id]
        extents[image_id] = (
            max(rows, window.y + window.height),
            max(columns, window.x + window.width),
        )
    return tuple(ImageEntry(i, name, extents[i]) for i, name in names.items())


def tiling_of(tiles: Sequence[ImageEntry]) -> Tiling | None:
    """Return a rule that cuts the same images into the same tiles; None where none is cut."""
    windows: defaultdict[int, list[Window]] = defaultdict(list)
    wholes = set()
    for tile in tiles:
        window = split_name(tile.file_name)[1]
        if window is None:
            wholes.add(image_of(tile.id))
        else:
            windows[image_of(tile.id)].append(window)
    if not windows:
        return None
    side = max(max(w.width, w.height) for of_image in windows.values() for w in of_image)
    steps = [
        step
        for of_image in windows.values()
        for places in ({w.x for w in of_image}, {w.y for w in of_image})
        for step in (b - a for a, b in pairwise(sorted(places)))
    ]
    whole = not wholes.isdisjoint(windows)
    return Tiling(side, 1 - max(steps, default=side) / side, whole)


def tiles_by_image(tiles: Iterable[ImageEntry]) -> Mapping[int, list[ImageEntry]]:
    """Return the tiles of each image, by its id."""
    by_image: defaultdict[int, list[ImageEntry]] = defaultdict(list)
    for tile in tiles:
        by_image[image_of(tile.id)].append(tile)
    return by_image


def files_of(images: Iterable[ImageEntry]) -> list[str]:
    """Return the name of each file once, in order; tiles share that of their image."""
    images = list(images)
    if not is_tiled(images):
        return [image.file_name for image in images]
    return list(dict.fromkeys(split_name(image.file_name)[0] for image in images))
