"""COCO and LVIS annotations as packed arrays, for training and as ground truth for evaluation."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from ...cache.errors import InputError
from ...cache.layout import ImageEntry
from .outlines import Outlines, joined_outlines, packed_outlines
from .segmentation import read_segmentation


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


@dataclass(frozen=True)
class Annotations:
    """The images, classes and boxes of one file.

    class_ids: the category ids in ascending order; a label is a position in them. starts: where the boxes
    of each image begin in the packed arrays, with one more entry than there are images. dropped: the
    numbers of boxes left out, by reason. coverage: the coverage of each image id, where images are labelled
    for some classes only, as in LVIS; None where all images are labelled for all classes. declared: the
    frequency group of each class, where the file names them.
    """

    images: tuple[ImageEntry, ...]
    class_ids: tuple[int, ...]
    class_names: tuple[str, ...]
    packed: ImageBoxes
    starts: npt.NDArray[np.int64]
    dropped: Mapping[str, int] = field(default_factory=dict)
    coverage: Mapping[int, Coverage] | None = None
    declared: tuple[str, ...] | None = None

    @cached_property
    def _positions(self) -> dict[int, int]:
        return {image.id: position for position, image in enumerate(self.images)}

    def __contains__(self, image_id: object) -> bool:
        return image_id in self._positions

    @cached_property
    def named(self) -> dict[str, ImageEntry]:
        """The images by file name."""
        return {image.file_name: image for image in self.images}

    def image(self, image_id: int) -> ImageEntry:
        """Return the entry of an image that the file names."""
        return self.images[self._positions[image_id]]

    def of_image(self, image_id: int) -> ImageBoxes:
        """Return the objects of an image. Raises InputError when the file does not name the image."""
        if image_id not in self._positions:
            raise InputError(f"image {image_id} is in the cache but not in the annotations")
        position = self._positions[image_id]
        start, end = int(self.starts[position]), int(self.starts[position + 1])
        part, p = slice(start, end), self.packed
        outlines = None if p.outlines is None else p.outlines.part(start, end)
        return ImageBoxes(p.boxes[part], p.labels[part], p.crowd[part], p.area[part], outlines)


def load_annotations(path: Path, *, outlines: bool = False) -> tuple[Annotations, bytes]:
    """Read a COCO or LVIS file and return its annotations and its bytes.

    outlines: whether to keep the outlines too, for masks; every object then needs one. Raises InputError
    that names the field.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"annotations {path}: {error.strerror}") from error
    return parse_annotations(raw, str(path), outlines=outlines), raw


def parse_annotations(raw: bytes, source: str, *, outlines: bool = False) -> Annotations:
    """Parse the bytes of a COCO or LVIS file.

    source: the name of the file in messages. outlines: the same as in `load_annotations`. Raises InputError
    that names the field.
    """
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source}: not JSON: {error}") from error
    if not isinstance(data, dict):
        raise InputError(f"{source}: expected an object, got {type(data).__name__}")
    reader = _Reader(source, outlines)
    images = reader.images(data)
    classes = reader.categories(data)
    class_ids = [c[0] for c in classes]
    packed, starts, dropped = reader.boxes(data, images, class_ids)
    return Annotations(
        images=tuple(images),
        class_ids=tuple(class_ids),
        class_names=tuple(c[1] for c in classes),
        packed=packed,
        starts=starts,
        dropped=dropped,
        coverage=reader.coverage(data, images, class_ids),
        declared=reader.frequencies(data),
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
        packed=ImageBoxes(
            np.concatenate([b.boxes for b in boxes]),
            np.concatenate([b.labels for b in boxes]),
            np.concatenate([b.crowd for b in boxes]),
            np.concatenate([b.area for b in boxes]),
            joined_outlines([b.outlines for b in boxes if b.outlines is not None])
            if first.packed.outlines is not None
            else None,
        ),
        starts=np.cumsum([0, *(len(b) for b in boxes)]),
        dropped=dict(dropped),
        coverage=_joined_coverage(kept),
        declared=first.declared,
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


class _Reader:
    """A reader that checks each field.

    Its messages name the file, the field, what is expected and what was found.
    """

    def __init__(self, source: str, outlines: bool) -> None:
        self._source, self._outlines = source, outlines

    def images(self, data: Mapping[str, Any]) -> list[ImageEntry]:
        images = []
        for where, entry in self._entries(data, "images"):
            hw = (self._integer(entry, "height", where, 1), self._integer(entry, "width", where, 1))
            image_id = self._integer(entry, "id", where)
            images.append(ImageEntry(image_id, self._file_name(entry, where), hw))
        if not images:
            raise InputError(f"{self._source}: 'images' is empty")
        self._unique([image.id for image in images], "image")
        return images

    def categories(self, data: Mapping[str, Any]) -> list[tuple[int, str]]:
        classes = []
        for where, entry in self._entries(data, "categories"):
            name = entry.get("name")
            if not isinstance(name, str):
                raise self._error(f"{where}.name", "a string", name)
            classes.append((self._integer(entry, "id", where), name))
        if not classes:
            raise InputError(f"{self._source}: 'categories' is empty")
        self._unique([c[0] for c in classes], "category")
        return sorted(classes)

    def frequencies(self, data: Mapping[str, Any]) -> tuple[str, ...] | None:
        """Read the frequency groups of the classes in the order of their ids; None where no class has one.

        Raises InputError where only some classes have one.
        """
        given: list[tuple[int, str]] = []
        entries = self._entries(data, "categories")
        if not any("frequency" in entry for _, entry in entries):
            return None
        for where, entry in entries:
            frequency = entry.get("frequency")
            if not isinstance(frequency, str) or frequency not in ("r", "c", "f"):
                raise self._error(f"{where}.frequency", "'r', 'c' or 'f'", frequency)
            given.append((entry["id"], frequency))
        return tuple(frequency for _, frequency in sorted(given))

    def coverage(
        self, data: Mapping[str, Any], images: Sequence[ImageEntry], class_ids: Sequence[int]
    ) -> dict[int, Coverage] | None:
        """Read the coverage of every image by its id; None where no image has one.

        Raises InputError where only some images have one.
        """
        entries = self._entries(data, "images")
        if not any(name in entry for _, entry in entries for name in _COVERAGE):
            return None
        label = {class_id: k for k, class_id in enumerate(class_ids)}
        return {
            image.id: Coverage(*(self._labels(entry, name, where, label) for name in _COVERAGE))
            for image, (where, entry) in zip(images, entries, strict=True)
        }

    def _labels(
        self, entry: Mapping[str, Any], name: str, where: str, label: Mapping[int, int]
    ) -> tuple[int, ...]:
        ids = entry.get(name)
        if not isinstance(ids, list):
            raise self._error(f"{where}.{name}", "a list of category ids, as for all images", ids)
        for class_id in ids:
            if type(class_id) is not int or class_id not in label:
                raise self._error(f"{where}.{name}", "ids that 'categories' lists", class_id)
        return tuple(sorted({label[class_id] for class_id in ids}))

    def boxes(
        self, data: Mapping[str, Any], images: Sequence[ImageEntry], class_ids: Sequence[int]
    ) -> tuple[ImageBoxes, npt.NDArray[np.int64], dict[str, int]]:
        """Read the boxes: packed by image, where each image begins, and how many are dropped, by reason."""
        position = {image.id: k for k, image in enumerate(images)}
        label = {class_id: k for k, class_id in enumerate(class_ids)}
        owners, rows, outlines, annotation_ids = [], [], [], []
        dropped = {"of zero size": 0, "outside their image": 0}
        for where, entry in self._entries(data, "annotations"):
            if "id" in entry:
                annotation_ids.append(self._integer(entry, "id", where))
            owner = self._known(entry, "image_id", where, position)
            class_label = self._known(entry, "category_id", where, label)
            x, y, w, h = self._bbox(entry, where)
            rows_px, columns_px = images[owner].hw
            if x + w <= x or y + h <= y:  # This also holds where rounding loses w or h.
                dropped["of zero size"] += 1
            elif x >= columns_px or y >= rows_px or x + w <= 0 or y + h <= 0:
                dropped["outside their image"] += 1
            else:
                area = entry.get("area", w * h)
                if not _is_number(area):
                    raise self._error(f"{where}.area", "a number", area)
                crowd = entry.get("iscrowd", 0)
                if crowd not in (0, 1):
                    raise self._error(f"{where}.iscrowd", "0 or 1", crowd)
                if self._outlines:
                    outlines.append(self._outline(entry, where, images[owner].hw))
                owners.append(owner)
                rows.append((x, y, x + w, y + h, class_label, crowd, area))
        self._unique(annotation_ids, "annotation")
        table = np.array(rows, dtype=np.float64).reshape(-1, 7)
        order = np.argsort(np.array(owners, dtype=np.int64), kind="stable")
        table = table[order]
        packed = ImageBoxes(
            table[:, :4],
            table[:, 4].astype(np.int64),
            table[:, 5].astype(bool),
            table[:, 6],
            packed_outlines([outlines[k] for k in order]) if self._outlines else None,
        )
        counts = np.bincount(np.array(owners, dtype=np.int64), minlength=len(images))
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return packed, starts, {why: n for why, n in dropped.items() if n}

    def _entries(self, data: Mapping[str, Any], name: str) -> list[tuple[str, dict[str, Any]]]:
        if name not in data:
            raise InputError(f"{self._source}: field {name!r} is missing; expected COCO JSON")
        if not isinstance(data[name], list):
            raise self._error(name, "a list", data[name])
        for k, entry in enumerate(data[name]):
            if not isinstance(entry, dict):
                raise self._error(f"{name}[{k}]", "an object", entry)
        return [(f"{name}[{k}]", entry) for k, entry in enumerate(data[name])]

    def _integer(self, entry: Mapping[str, Any], name: str, where: str, low: int = 0) -> int:
        value = entry.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value < 2**63:
            raise self._error(f"{where}.{name}", f"an integer >= {low}", value)
        return value

    def _known(
        self, entry: Mapping[str, Any], name: str, where: str, table: Mapping[int, int]
    ) -> int:
        value = self._integer(entry, name, where)
        if value not in table:
            raise self._error(f"{where}.{name}", f"an id that {_LISTED_IN[name]!r} lists", value)
        return table[value]

    def _bbox(self, entry: Mapping[str, Any], where: str) -> tuple[float, float, float, float]:
        box = entry.get("bbox")
        if not isinstance(box, list) or len(box) != 4 or not all(_is_number(v) for v in box):
            raise self._error(f"{where}.bbox", "four finite numbers [x, y, width, height]", box)
        return (float(box[0]), float(box[1]), float(box[2]), float(box[3]))

    def _outline(
        self, entry: Mapping[str, Any], where: str, hw: tuple[int, int]
    ) -> tuple[bool, list[list[float]]]:
        """Read an outline: whether it is given as run lengths, and its rings."""
        try:
            return read_segmentation(entry.get("segmentation"), hw)
        except ValueError as error:
            place = f"{where}.segmentation" + (f" (id {entry['id']})" if "id" in entry else "")
            raise InputError(f"{self._source}: {place}: {error}") from error

    def _file_name(self, entry: Mapping[str, Any], where: str) -> str:
        name = entry.get("file_name")
        url = entry.get("coco_url")
        if name is None and isinstance(url, str):
            # LVIS v1 gives only the URL, and its images lie in COCO's folders: train2017/x.jpg.
            name = "/".join(url.split("/")[-2:])
        if not isinstance(name, str) or not name:
            raise self._error(f"{where}.file_name", "a path below the image folder", name)
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or "\0" in name:
            raise InputError(
                f"{self._source}: {where}.file_name leaves the image folder: {name!r}; expected a "
                "path below it"
            )
        return name

    def _unique(self, ids: Sequence[int], what: str) -> None:
        if len(set(ids)) != len(ids):
            twice = sorted(i for i, n in Counter(ids).items() if n > 1)
            shown = ", ".join(map(str, twice[:5])) + (", ..." if len(twice) > 5 else "")
            raise InputError(
                f"{self._source}: {len(twice)} {what} ids occur more than once: {shown}"
            )

    def _error(self, where: str, expected: str, got: object) -> InputError:
        found = "nothing" if got is None else repr(got)[:80]
        return InputError(f"{self._source}: {where}: expected {expected}, got {found}")


# The names that LVIS gives the fields of a Coverage.
_COVERAGE = ("neg_category_ids", "not_exhaustive_category_ids")
_LISTED_IN = {"image_id": "images", "category_id": "categories"}


def _is_number(value: object) -> bool:
    """Return whether a value is a finite number of a size that an image could need (below 2**53)."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**53
