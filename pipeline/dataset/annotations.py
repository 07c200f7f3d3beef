"""The annotations of a data set as packed arrays, for training and as ground truth for evaluation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from ...cache.errors import InputError
from ...cache.layout import ImageEntry
from ...cache.wording import counted
from .images.names import folded
from .outlines import Outlines, joined_outlines


@dataclass(frozen=True, slots=True)
class ImageBoxes:
    """The objects of one image: boxes (N, 4) float64 xyxy image px, labels (N,), crowd (N,), area (N,) px.

    outlines: the outlines of all objects, where they were requested.
    """

    boxes: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]
    crowd: npt.NDArray[np.bool_]
    area: npt.NDArray[np.float64]
    outlines: Outlines | None = None

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class Coverage:
    """The classes, by label, that an image was checked for in addition to those it shows.

    negative: the classes that are known to be absent. partial: the classes whose objects are not all
    labelled.
    """

    negative: tuple[int, ...]
    partial: tuple[int, ...]

    def relabelled(self, labels: Sequence[int]) -> Coverage:
        """Return the coverage with other labels. labels: the new one of each label."""
        moved = (tuple(labels[label] for label in part) for part in (self.negative, self.partial))
        return Coverage(*moved)


@dataclass(frozen=True)
class Annotations:
    """The images, classes and boxes of one file.

    class_ids: the category ids in ascending order; a label is a position in them. starts: where the boxes
    of each image begin in the packed arrays, with one more entry than there are images. dropped: the
    numbers of boxes left out, by reason. remarks: sentences on what was assumed where the file leaves
    something open, and on boxes that look wrong. coverage: the coverage of each image id, where images are
    labelled for some classes only, as in LVIS; None where all images are labelled for all classes.
    declared: the frequency group of each class, where the file names them. tiles: into how many tiles an
    image was cut at most, where detections come from tiles.
    """

    images: tuple[ImageEntry, ...]
    class_ids: tuple[int, ...]
    class_names: tuple[str, ...]
    packed: ImageBoxes
    starts: npt.NDArray[np.int64]
    dropped: Mapping[str, int] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    coverage: Mapping[int, Coverage] | None = None
    declared: tuple[str, ...] | None = None
    tiles: int = 1

    @cached_property
    def _positions(self) -> dict[int, int]:
        return {image.id: position for position, image in enumerate(self.images)}

    def __contains__(self, image_id: object) -> bool:
        return image_id in self._positions

    @cached_property
    def named(self) -> dict[str, ImageEntry]:
        """The images by file name."""
        return {image.file_name: image for image in self.images}

    @cached_property
    def named_loosely(self) -> dict[str, ImageEntry]:
        """The images by `folded` file name, without names of which several are the same so."""
        count = Counter(folded(image.file_name) for image in self.images)
        names = ((folded(image.file_name), image) for image in self.images)
        return {name: image for name, image in names if count[name] == 1}

    def image(self, image_id: int) -> ImageEntry:
        """Return the entry of an image that the file names."""
        return self.images[self._positions[image_id]]

    def named_as(self, entries: Iterable[ImageEntry]) -> Annotations:
        """Return the annotations with the entries, and so the file names, that others have for their ids."""
        known = {entry.id: entry for entry in entries}
        return replace(self, images=tuple(known.get(image.id, image) for image in self.images))

    def warnings(self) -> list[str]:
        """Return the remarks, and one sentence for each reason for which boxes were left out."""
        left_out = [
            counted(n, f"box {why} is left out", f"boxes {why} are left out")
            for why, n in self.dropped.items()
        ]
        return [*self.remarks, *left_out]

    def with_classes(
        self, ids: Sequence[int], names: Sequence[str], others: Mapping[int, int] | None = None
    ) -> Annotations:
        """Return the annotations with the classes of a longer list, and the labels that these have there.

        ids, names: the list, in ascending order of the ids. It has all classes of these annotations, by id
        and name. others: the id that each class has there, where ids differ.
        """
        if tuple(ids) == self.class_ids and others is None:
            return self
        label_of = {class_id: label for label, class_id in enumerate(ids)}
        labels = [label_of[others[i] if others else i] for i in self.class_ids]
        moved = np.array(labels, dtype=np.int64)[self.packed.labels]
        return replace(
            self,
            class_ids=tuple(ids),
            class_names=tuple(names),
            packed=replace(self.packed, labels=moved),
            coverage=self.coverage and {i: c.relabelled(labels) for i, c in self.coverage.items()},
            declared=None,
        )

    def of_image(self, image_id: int) -> ImageBoxes:
        """Return the objects of an image. Raises InputError when the file does not name the image."""
        if image_id not in self._positions:
            raise InputError(f"image {image_id} is in the cache but not in the annotations")
        position = self._positions[image_id]
        start, end = int(self.starts[position]), int(self.starts[position + 1])
        part, p = slice(start, end), self.packed
        outlines = None if p.outlines is None else p.outlines.part(start, end)
        return ImageBoxes(p.boxes[part], p.labels[part], p.crowd[part], p.area[part], outlines)


def joined_boxes(parts: Sequence[ImageBoxes]) -> ImageBoxes:
    """Join the objects of at least one part, one part after the other; all have outlines, or none has."""
    outlines = [part.outlines for part in parts if part.outlines is not None]
    return ImageBoxes(
        np.concatenate([part.boxes for part in parts]),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.crowd for part in parts]),
        np.concatenate([part.area for part in parts]),
        joined_outlines(outlines) if outlines else None,
    )


def joined_annotations(parts: Sequence[tuple[Annotations, Container[int]]]) -> Annotations:
    """Join the images of all parts, from each those whose ids its container holds.

    Raises InputError where the classes of the parts differ.
    """
    first = parts[0][0]
    for other, _ in parts[1:]:
        mine, theirs = (dict(zip(a.class_ids, a.class_names, strict=True)) for a in (first, other))
        if mine != theirs:
            differing = sorted(set(mine.items()) ^ set(theirs.items()))
            raise InputError(
                f"the annotations of the caches have different classes, e.g. {differing[0]}; give "
                "one file for all by --annotations"
            )
    kept = [(part, image) for part, ids in parts for image in part.images if image.id in ids]
    boxes = [part.of_image(image.id) for part, image in kept] or [first.packed]
    dropped: Counter[str] = Counter()
    for part in {id(part): part for part, _ in parts}.values():  # Parts may share one file.
        dropped.update(part.dropped)
    return Annotations(
        images=tuple(image for _, image in kept),
        class_ids=first.class_ids,
        class_names=first.class_names,
        packed=joined_boxes(boxes),
        starts=np.cumsum([0, *(len(b) for b in boxes)]),
        dropped=dict(dropped),
        remarks=tuple(dict.fromkeys(r for part, _ in parts for r in part.remarks)),
        coverage=_joined_coverage(kept),
        declared=first.declared,
        tiles=max(part.tiles for part, _ in parts),
    )


def _joined_coverage(
    kept: Sequence[tuple[Annotations, ImageEntry]],
) -> dict[int, Coverage] | None:
    """Join the coverage of the images kept. Raises InputError where only some images have one."""
    given = {i.id: part.coverage[i.id] for part, i in kept if part.coverage is not None}
    if given and len(given) < len(kept):
        raise InputError(
            "the annotations of some caches are LVIS' (neg_category_ids), those of others are not; "
            "give one file for all by --annotations"
        )
    return given or None
