"""The summary of a data set: how many images, objects and classes each split has, and of what sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .subject import Split

# COCO's limits between small, medium and large objects, px of area.
_SMALL, _MEDIUM = 32**2, 96**2


@dataclass(frozen=True, slots=True)
class SplitSummary:
    """The numbers of a split.

    source: the file or folder it was read from. format: the row of FORMATS. images_folder: where its image
    files lie. empty: images without objects. objects: without crowds. classes: classes with objects.
    smallest, median, largest: sizes of images, (width, height) px, by area. small, medium, large: objects
    by COCO's limits of area, 32^2 and 96^2 px. most: the greatest number of objects of an image.
    """

    name: str
    source: str
    format: str
    images_folder: str
    images: int
    empty: int
    objects: int
    crowds: int
    classes: int
    smallest: tuple[int, int]
    median: tuple[int, int]
    largest: tuple[int, int]
    small: int
    medium: int
    large: int
    most: int


@dataclass(frozen=True, slots=True)
class Summary:
    """The numbers of all splits, and the objects of each class in each split, the most frequent first."""

    splits: tuple[SplitSummary, ...]
    classes: dict[str, list[int]]


def summarise(splits: Sequence[Split]) -> Summary:
    """Return the summary of a data set."""
    table: dict[str, list[int]] = objects_by_class(splits)
    often = sorted(table.items(), key=lambda item: (-sum(item[1]), item[0]))
    return Summary(tuple(_of_split(split) for split in splits), dict(often))


def objects_by_class(splits: Sequence[Split]) -> dict[str, list[int]]:
    """Return the number of objects of each class in each split, without crowds, by the class's name."""
    table: dict[str, list[int]] = {}
    for k, split in enumerate(splits):
        names = split.annotations.class_names
        for name, count in zip(names, split.objects_of_class.tolist(), strict=True):
            table.setdefault(name, [0] * len(splits))[k] += count
    return table


def _of_split(split: Split) -> SplitSummary:
    packed = split.annotations.packed
    area = packed.area[~packed.crowd]
    small, medium = int((area < _SMALL).sum()), int((area < _MEDIUM).sum())
    sizes = sorted((w * h, w, h) for h, w in (image.hw for image in split.images))
    (_, *smallest), (_, *median), (_, *largest) = sizes[0], sizes[len(sizes) // 2], sizes[-1]
    return SplitSummary(
        name=split.name,
        source=split.data.source,
        format=split.data.format,
        images_folder=str(split.data.images or ""),
        images=len(split.images),
        empty=int(np.sum(split.counts == 0)),
        objects=len(area),
        crowds=int(packed.crowd.sum()),
        classes=int(np.sum(split.objects_of_class > 0)),
        smallest=(smallest[0], smallest[1]),
        median=(median[0], median[1]),
        largest=(largest[0], largest[1]),
        small=small,
        medium=medium - small,
        large=len(area) - medium,
        most=int(split.counts.max()),
    )
