"""COCO and LVIS JSON, read field by field: what is optional may be absent or null, and ids are opaque."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ....cache.errors import InputError
from ....cache.layout import ImageEntry
from ....cache.wording import counted
from ..annotations import Annotations, Coverage, ImageBoxes
from ..images.names import normal_name, valid_name
from ..outlines import packed_outlines
from .box_checks import box_remarks
from .boxes import box_around_outline, is_number, useless
from .ids import Entry, Ids, field_error, read_ids, whole_number
from .segmentation import read_segmentation

# The names that LVIS gives the fields of a Coverage.
COVERAGE = ("neg_category_ids", "not_exhaustive_category_ids")
# The field of an image in whose file name a backslash is a letter; fdet itself adds it.
LITERAL = "literal_file_name"
_LISTED_IN = {"image_id": "images", "category_id": "categories"}


def parse_annotations(raw: bytes, source: str, *, outlines: bool = False) -> Annotations:
    """Parse the bytes of a COCO or LVIS file.

    source: the name of the file in messages. outlines: whether to keep the outlines too, for masks; every
    object then needs one. Raises InputError that names the field.
    """
    return annotations_of(decoded(raw, source), source, outlines=outlines)


def decoded(
    raw: bytes,
    source: str,
    made: Callable[[Sequence[tuple[str, Any]]], dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """Return the JSON object that the bytes hold, in UTF-8, UTF-16 or UTF-32. Raises InputError.

    made: makes each JSON object of its keys and values; of a repeated key the last value counts by default.
    """
    try:
        data = json.loads(raw, object_pairs_hook=made)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InputError(f"{source}: line {line}: not UTF-8; save the file in UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source}: not JSON: {error}") from error
    if not isinstance(data, dict):
        hint = " (COCO results are a list; annotations are not)" if isinstance(data, list) else ""
        raise InputError(f"{source}: expected an object, got {type(data).__name__}{hint}")
    return data


def annotations_of(data: Mapping[str, Any], source: str, *, outlines: bool = False) -> Annotations:
    """Check a data set in COCO form and pack it; the parameters are those of `parse_annotations`."""
    reader = _Reader(source, outlines)
    images, image_at = reader.images(data)
    classes, label_of = reader.categories(data)
    packed, starts, dropped = reader.boxes(data, images, image_at, label_of)
    return Annotations(
        images=tuple(images),
        class_ids=tuple(c[0] for c in classes),
        class_names=tuple(c[1] for c in classes),
        packed=packed,
        starts=starts,
        dropped=dropped,
        remarks=tuple(reader.remarks),
        coverage=reader.coverage(data, images, label_of),
        declared=reader.frequencies(data, label_of),
    )


@dataclass(slots=True)
class _Reader:
    """A reader that checks each field.

    Its messages name the file, the field, what is expected and what was found. remarks: what it assumed.
    """

    source: str
    outlines: bool
    remarks: list[str] = field(default_factory=list)

    def images(self, data: Mapping[str, Any]) -> tuple[list[ImageEntry], Ids]:
        entries = self._entries(data, "images")
        if not entries:
            raise InputError(f"{self.source}: 'images' is empty")
        ids = self._ids(entries, "image")
        images = [
            ImageEntry(number, self._file_name(entry, where), self._size(entry, where))
            for number, (where, entry) in zip(ids.numbers, entries, strict=True)
        ]
        return images, ids

    def categories(self, data: Mapping[str, Any]) -> tuple[list[tuple[int, str]], Ids]:
        """Read the classes in the order of their ids; `at` of the ids gives the label."""
        entries = self._entries(data, "categories")
        if not entries:
            raise InputError(f"{self.source}: 'categories' is empty")
        ids = self._ids(entries, "category")
        names = [self._class_name(entry, where) for where, entry in entries]
        order = sorted(range(len(entries)), key=ids.numbers.__getitem__)
        label = {position: k for k, position in enumerate(order)}
        at = {key: label[position] for key, position in ids.at.items()}
        return [(ids.numbers[k], names[k]) for k in order], Ids(ids.numbers, ids.key, at)

    def frequencies(self, data: Mapping[str, Any], label_of: Ids) -> tuple[str, ...] | None:
        """Read the frequency groups of the classes in the order of their ids; None where no class has one.

        Raises InputError where only some classes have one.
        """
        entries = self._entries(data, "categories")
        if not any(entry.get("frequency") is not None for _, entry in entries):
            return None
        given: dict[int, str] = {}
        for where, entry in entries:
            frequency = entry.get("frequency")
            if not isinstance(frequency, str) or frequency not in ("r", "c", "f"):
                raise self._error(f"{where}.frequency", "'r', 'c' or 'f'", frequency)
            given[label_of.at[label_of.key(entry["id"])]] = frequency
        return tuple(frequency for _, frequency in sorted(given.items()))

    def coverage(
        self, data: Mapping[str, Any], images: Sequence[ImageEntry], label_of: Ids
    ) -> dict[int, Coverage] | None:
        """Read the coverage of every image by its id; None where no image has one.

        Raises InputError where only some images have one.
        """
        entries = self._entries(data, "images")
        if not any(entry.get(name) is not None for _, entry in entries for name in COVERAGE):
            return None
        return {
            image.id: Coverage(*(self._labels(entry, name, where, label_of) for name in COVERAGE))
            for image, (where, entry) in zip(images, entries, strict=True)
        }

    def boxes(
        self, data: Mapping[str, Any], images: Sequence[ImageEntry], image_at: Ids, label_of: Ids
    ) -> tuple[ImageBoxes, npt.NDArray[np.int64], dict[str, int]]:
        """Read the boxes: packed by image, where each image begins, and how many are dropped, by reason."""
        owners, rows, outlines = [], [], []
        dropped: Counter[str] = Counter()
        without_area = 0
        for where, entry in self._objects(data):
            owner = self._known(entry, "image_id", where, image_at)
            class_label = self._known(entry, "category_id", where, label_of)
            hw = images[owner].hw
            box = self._bbox(entry, where, hw)
            if (why := useless(box, hw)) is not None or box is None:
                dropped[why or ""] += 1
                continue
            x, y, w, h = box
            area = self._area(entry, where)
            without_area += area is not None and area <= 0
            if self.outlines:
                outlines.append(self._outline(entry, where, hw))
            owners.append(owner)
            area = w * h if area is None or area <= 0 else area
            rows.append((x, y, x + w, y + h, class_label, self._crowd(entry, where), area))
        if without_area:
            self.remarks.append(
                f"{counted(without_area, 'object has', 'objects have')} an area of 0 or less: w * h is used"
            )
        table = np.array(rows, dtype=np.float64).reshape(-1, 7)
        owner_of = np.array(owners, dtype=np.int64)
        hw_of = np.array([image.hw for image in images], dtype=np.float64)[owner_of]
        self.remarks += box_remarks(table[:, :4], hw_of.reshape(-1, 2))
        order = np.argsort(owner_of, kind="stable")
        packed = ImageBoxes(
            table[order, :4],
            table[order, 4].astype(np.int64),
            table[order, 5].astype(bool),
            table[order, 6],
            packed_outlines([outlines[k] for k in order]) if self.outlines else None,
        )
        counts = np.bincount(owner_of, minlength=len(images))
        return packed, np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), dict(dropped)

    def _objects(self, data: Mapping[str, Any]) -> list[Entry]:
        """Return the entries of 'annotations'; none for files that only list images, as COCO's test sets."""
        if data.get("annotations") is None:
            self.remarks.append("it has no 'annotations': no object is known")
            return []
        return self._entries(data, "annotations")

    def _entries(self, data: Mapping[str, Any], name: str) -> list[Entry]:
        if data.get(name) is None:
            raise InputError(f"{self.source}: field {name!r} is missing; expected COCO JSON")
        if not isinstance(data[name], list):
            raise self._error(name, "a list", data[name])
        for k, entry in enumerate(data[name]):
            if not isinstance(entry, dict):
                raise self._error(f"{name}[{k}]", "an object", entry)
        return [(f"{name}[{k}]", entry) for k, entry in enumerate(data[name])]

    def _ids(self, entries: Sequence[Entry], what: str) -> Ids:
        ids, remarks = read_ids(entries, what, self.source)
        self.remarks += remarks
        return ids

    def _known(self, entry: Mapping[str, Any], name: str, where: str, ids: Ids) -> int:
        position = ids.position(value := entry.get(name))
        if position is None:
            raise self._error(f"{where}.{name}", f"an id that {_LISTED_IN[name]!r} lists", value)
        return position

    def _labels(
        self, entry: Mapping[str, Any], name: str, where: str, label_of: Ids
    ) -> tuple[int, ...]:
        ids = entry.get(name)
        if not isinstance(ids, list):
            raise self._error(f"{where}.{name}", "a list of category ids, as for all images", ids)
        labels = set()
        for class_id in ids:
            label = label_of.position(class_id)
            if label is None:
                raise self._error(f"{where}.{name}", "ids that 'categories' lists", class_id)
            labels.add(label)
        return tuple(sorted(labels))

    def _class_name(self, entry: Mapping[str, Any], where: str) -> str:
        name = entry.get("name")
        if isinstance(name, int | float) and not isinstance(name, bool):
            return str(name)
        if name is None:
            self.remarks.append(f"{where} has no name: it is called 'class {entry['id']}'")
            return f"class {entry['id']}"
        if not isinstance(name, str):
            raise self._error(f"{where}.name", "a string", name)
        return name

    def _size(self, entry: Mapping[str, Any], where: str) -> tuple[int, int]:
        """Return (rows, columns)."""
        rows, columns = (whole_number(entry.get(name)) for name in ("height", "width"))
        for name, value in (("height", rows), ("width", columns)):
            if value is None or not 1 <= value < 2**63:
                raise self._error(f"{where}.{name}", "an integer >= 1", entry.get(name))
        assert rows is not None and columns is not None
        return rows, columns

    def _bbox(
        self, entry: Mapping[str, Any], where: str, hw: tuple[int, int]
    ) -> tuple[float, float, float, float] | None:
        """Return a box, around the outline where none is given; None where there is no outline either."""
        box = entry.get("bbox")
        if box is None or box == []:
            return box_around_outline(entry.get("segmentation"), hw)
        if not isinstance(box, list) or len(box) != 4 or not all(is_number(v) for v in box):
            raise self._error(f"{where}.bbox", "four finite numbers [x, y, width, height]", box)
        return (float(box[0]), float(box[1]), float(box[2]), float(box[3]))

    def _area(self, entry: Mapping[str, Any], where: str) -> float | None:
        area = entry.get("area")
        if area is not None and not is_number(area):
            raise self._error(f"{where}.area", "a number", area)
        return area

    def _crowd(self, entry: Mapping[str, Any], where: str) -> int:
        crowd = entry.get("iscrowd")
        if crowd is None or crowd in ("0", "1"):
            return int(crowd or 0)
        if crowd not in (0, 1):
            raise self._error(f"{where}.iscrowd", "0 or 1", crowd)
        return int(crowd)

    def _outline(
        self, entry: Mapping[str, Any], where: str, hw: tuple[int, int]
    ) -> tuple[bool, list[list[float]]]:
        """Read an outline: whether it is given as run lengths, and its rings."""
        try:
            return read_segmentation(entry.get("segmentation"), hw)
        except ValueError as error:
            place = f"{where}.segmentation" + (f" (id {entry['id']})" if "id" in entry else "")
            raise InputError(f"{self.source}: {place}: {error}") from error

    def _file_name(self, entry: Mapping[str, Any], where: str) -> str:
        name = given_name(entry)
        if name is None:
            expected = "a path below the image folder"
            raise self._error(f"{where}.file_name", expected, entry.get("file_name"))
        try:
            return normal_name(name, literal=entry.get(LITERAL) is True)
        except ValueError as error:
            raise InputError(
                f"{self.source}: {where}.file_name leaves the image folder: {name!r}; expected a "
                "path below it"
            ) from error

    def _error(self, where: str, expected: str, got: object) -> InputError:
        return field_error(self.source, where, expected, got)


def given_name(entry: Mapping[str, Any]) -> str | None:
    """Return the file name of an image as the file writes it; None where there is none."""
    name, url = entry.get("file_name"), entry.get("coco_url")
    if name is None and isinstance(url, str):
        # LVIS v1 gives only the URL, and its images lie in COCO's folders: train2017/x.jpg.
        name = "/".join(url.split("/")[-2:])
    return name if isinstance(name, str) and name else None


def valid_name_of(entry: Mapping[str, Any]) -> str:
    """Return the normal form of an image's file name, "" where it has none."""
    return valid_name(given_name(entry) or "", literal=entry.get(LITERAL) is True)
