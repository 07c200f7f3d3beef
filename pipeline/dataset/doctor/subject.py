"""The subject of the rules of the doctor: the splits of a data set, and what is known of their files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ....cache.layout import ImageEntry
from ..annotations import Annotations
from ..coco.box_checks import seem_corners, seem_fractions
from ..data_set import DataSet
from ..images.decoding import ImageHeader
from ..images.depth import Range
from ..images.views import ResizeRule

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class ImageFile:
    """An image file as far as it is known.

    fault: why it cannot be read, "" where it can. header: its size, orientation and depth. sha256: the
    digest of its bytes, "" where they were not read. grey: whether it shows no colours, None where that is
    not known. deep: the range of its deep values, None where it has none or they were not read. missing:
    whether there is no such file.
    """

    fault: str = ""
    header: ImageHeader | None = None
    sha256: str = ""
    grey: bool | None = None
    deep: Range | None = None
    missing: bool = False


@dataclass(frozen=True)
class Split:
    """A split of the data set, with its name; a set without splits is one split."""

    name: str
    data: DataSet

    @property
    def annotations(self) -> Annotations:
        return self.data.annotations

    @property
    def images(self) -> tuple[ImageEntry, ...]:
        return self.annotations.images

    @property
    def boxes(self) -> Floats:
        """The boxes of all images, (N, 4) xyxy image px."""
        return self.annotations.packed.boxes

    @cached_property
    def counts(self) -> npt.NDArray[np.int64]:
        """The number of objects of each image."""
        return np.diff(self.annotations.starts)

    @cached_property
    def owners(self) -> npt.NDArray[np.int64]:
        """The position of the image of each box, (N,)."""
        return np.repeat(np.arange(len(self.images)), self.counts)

    @cached_property
    def hw(self) -> Floats:
        """The rows and columns of the image of each box, (N, 2) px."""
        sizes = np.array([image.hw for image in self.images], dtype=np.float64).reshape(-1, 2)
        return sizes[self.owners]

    @cached_property
    def objects_of_class(self) -> npt.NDArray[np.int64]:
        """The number of objects of each class, by label, without crowds."""
        packed = self.annotations.packed
        return np.bincount(packed.labels[~packed.crowd], minlength=len(self.annotations.class_ids))

    @cached_property
    def misread(self) -> str:
        """The form that the boxes seem to have instead of x, y, width, height in px; "" for none."""
        if seem_fractions(self.boxes, self.hw):
            return "fractions of the image"
        return "x1, y1, x2, y2" if seem_corners(self.boxes, self.hw) else ""

    def path(self, image: ImageEntry) -> Path:
        """Return the file of an image."""
        return (self.data.images or Path()) / image.file_name

    def box(self, number: int) -> str:
        """Describe a box by its image, class, first corner and size."""
        x1, y1, x2, y2 = self.boxes[number]
        name = self.annotations.class_names[self.annotations.packed.labels[number]]
        where = self.images[self.owners[number]].file_name
        return f"{where}: {name} {x2 - x1:.5g} x {y2 - y1:.5g} px at {x1:.5g}, {y1:.5g}"


@dataclass(frozen=True)
class Subject:
    """A data set as the rules look at it.

    files: what is known of the image files, by path; empty where none was looked at. listed: the image
    files in the folders of the images, by folder of the images, relative to it. resize: the size at which
    the images are to be used, where it is known.
    """

    splits: Sequence[Split]
    files: Mapping[Path, ImageFile] = field(default_factory=dict)
    listed: Mapping[Path, Sequence[str]] = field(default_factory=dict)
    resize: ResizeRule | None = None

    def entries(self) -> Iterator[tuple[Split, ImageEntry]]:
        """Yield the images of all splits."""
        for split in self.splits:
            for image in split.images:
                yield split, image

    @cached_property
    def known(self) -> list[tuple[Split, ImageEntry, ImageFile]]:
        """The images whose files were looked at."""
        if not self.files:
            return []
        return [(s, image, self.files[s.path(image)]) for s, image in self.entries()]

    def readable(self) -> Iterator[tuple[Split, ImageEntry, ImageFile, ImageHeader]]:
        """Yield the images whose headers were read."""
        for split, image, file in self.known:
            if file.header is not None:
                yield split, image, file, file.header

    @cached_property
    def image_count(self) -> int:
        return sum(len(split.images) for split in self.splits)

    @cached_property
    def box_count(self) -> int:
        return sum(len(split.boxes) for split in self.splits)

    def label(self, split: Split, text: str) -> str:
        """Return a text about an image of a split, with the split's name where there are several."""
        return f"{split.name}: {text}" if len(self.splits) > 1 else text

    def boxes_where(self, chosen: Callable[[Split], Mask]) -> tuple[int, list[str]]:
        """Return the number of boxes that are chosen, and descriptions of the first few.

        Splits whose boxes seem to be in another format are left out, and so are crowds.
        """
        total, examples = 0, list[str]()
        for split in self.splits:
            if split.misread or not len(split.boxes):
                continue
            numbers = np.flatnonzero(chosen(split) & ~split.annotations.packed.crowd)
            total += len(numbers)
            examples += [self.label(split, split.box(int(k))) for k in numbers[:10]]
        return total, examples
