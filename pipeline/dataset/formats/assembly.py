"""COCO form, put together from the images and objects of another format."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ....cache.wording import counted
from .files import first_few, one_line
from .format import Coco

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class ObjectEntry:
    """An object: its category id, its box (x, y, w, h) in image px, and its polygon where it has one.

    polygon: x, y, x, y, ... in image px. crowd: whether it is a region that counts neither as found nor as
    missed.
    """

    category: int
    box: Box
    polygon: tuple[float, ...] = ()
    crowd: bool = False


@dataclass(frozen=True, slots=True)
class ImageObjects:
    """An image: its name, its size (rows, columns) where it is known, and its objects."""

    name: str
    hw: tuple[int, int] | None
    objects: Sequence[ObjectEntry]


def coco_form(images: Iterable[ImageObjects], classes: Mapping[int, str]) -> Coco:
    """Return the COCO form of images, which are numbered from 1 in the order of their names.

    classes: the names of the classes by their id.
    """
    entries: list[dict[str, Any]] = []
    objects: list[dict[str, Any]] = []
    for number, image in enumerate(sorted(images, key=lambda image: image.name), 1):
        size = {} if image.hw is None else {"height": image.hw[0], "width": image.hw[1]}
        entries.append({"id": number, "file_name": image.name, **size})
        for entry in image.objects:
            objects.append({"id": len(objects) + 1, "image_id": number, **_object(entry)})
    categories = [{"id": number, "name": name} for number, name in sorted(classes.items())]
    return {"images": entries, "annotations": objects, "categories": categories}


def _object(entry: ObjectEntry) -> dict[str, Any]:
    box = {"category_id": entry.category, "bbox": list(entry.box), "iscrowd": int(entry.crowd)}
    if not entry.polygon:
        return box
    return {**box, "area": area_within(entry.polygon), "segmentation": [list(entry.polygon)]}


def numbered(names: Iterable[str]) -> dict[str, int]:
    """Return the ids of classes that a format knows by name alone: from 1, in the order of their names."""
    return {name: number for number, name in enumerate(sorted(set(names)), 1)}


def spelling_remarks(classes: Iterable[tuple[str, str]]) -> list[str]:
    """Return a sentence on classes that are written with other blanks around them each time.

    classes: the class of each object, without such blanks and with them.
    """
    spellings: dict[str, set[str]] = {}
    for name, written in classes:
        spellings.setdefault(name, set()).add(written)
    mixed = sorted(repr(one_line(name)) for name, found in spellings.items() if len(found) > 1)
    what = counted(
        len(mixed),
        "class is written with different blanks around it, and is taken for one",
        "classes are written with different blanks around them, and are taken for one each",
    )
    return [f"{what}: {first_few(mixed)}"] if mixed else []


def span(low: float, high: float) -> float:
    """Return the distance between two edges without the noise of its last bits, 0.2 for 0.1 and 0.3."""
    return rounded if abs(low + (rounded := round(high - low, 6)) - high) < 1e-9 else high - low


def between(x1: float, y1: float, x2: float, y2: float) -> Box:
    """Return the box (x, y, w, h) between two corners."""
    return (x1, y1, span(x1, x2), span(y1, y2))


def box_around(polygon: Sequence[float]) -> Box:
    """Return the box (x, y, w, h) around the corners x, y, x, y, ... of a polygon."""
    xs, ys = polygon[::2], polygon[1::2]
    return between(min(xs), min(ys), max(xs), max(ys))


def area_within(polygon: Sequence[float]) -> float:
    """Return the area of a polygon (the shoelace formula), in px."""
    xs, ys = polygon[::2], polygon[1::2]
    pairs = zip(xs, ys, [*xs[1:], xs[0]], [*ys[1:], ys[0]], strict=True)
    return abs(sum(x1 * y2 - x2 * y1 for x1, y1, x2, y2 in pairs)) / 2
