"""The parts of the images that are held out in turn: alike in their classes, and no content is in two."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ....cache.errors import InputError
from ....cache.wording import counted
from ...dataset.annotations import Annotations
from ...dataset.splits.partition import Group, joined_groups, partitioned


@dataclass(frozen=True, slots=True)
class Fold:
    """A part of the images. number: from 1 on. held_out, trained: ids, in the order of the cache."""

    number: int
    held_out: tuple[int, ...]
    trained: tuple[int, ...]


def folds_of(
    annotations: Annotations,
    image_ids: Sequence[int],
    contents: Mapping[int, str],
    count: int,
    seed: int,
) -> list[Fold]:
    """Return the folds of the images with these ids.

    contents: the sha256 of each image's file by id, "" where it is not known. Images of one content stay
    together. Raises InputError where there are not enough images.
    """
    keys = [
        [("id", image_id), *([("content", sha256)] if (sha256 := contents.get(image_id)) else [])]
        for image_id in image_ids
    ]
    members = [[image_ids[k] for k in positions] for positions in joined_groups(keys)]
    if len(members) < count:
        there = counted(len(members), "different image")
        if len(members) < 2:
            raise InputError(f"there is only {there}; an audit needs at least 2")
        raise InputError(f"--folds {count}: there are only {there}; give fewer folds")
    groups = [_group(annotations, ids) for ids in members]
    fold_of = {
        image_id: fold
        for ids, fold in zip(members, partitioned(groups, [1 / count] * count, seed), strict=True)
        for image_id in ids
    }
    return [
        Fold(
            k + 1,
            tuple(i for i in image_ids if fold_of[i] == k),
            tuple(i for i in image_ids if fold_of[i] != k),
        )
        for k in range(count)
    ]


def objects_by_class(annotations: Annotations, image_ids: Sequence[int]) -> npt.NDArray[np.int64]:
    """Return the number of objects of each class in some images, crowds left out: (K,)."""
    counts = np.zeros(len(annotations.class_ids), dtype=np.int64)
    for image_id in image_ids:
        objects = annotations.of_image(image_id)
        counts += np.bincount(objects.labels[~objects.crowd], minlength=len(counts))
    return counts


def _group(annotations: Annotations, image_ids: Sequence[int]) -> Group:
    numbers = objects_by_class(annotations, image_ids)
    # Two classes may have one name.
    objects = Counter({str(k): int(n) for k, n in enumerate(numbers) if n})
    return Group(min(annotations.image(i).file_name for i in image_ids), len(image_ids), objects)
