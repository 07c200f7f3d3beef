"""A data set written as Pascal VOC has it: an XML file for each image, and a list for each split."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from ....cache.disk.publish import publish_bytes
from ....cache.errors import InputError
from ....cache.wording import counted
from ..annotations import Annotations
from ..formats.assembly import numbered
from ..formats.files import first_few, read_text
from .losses import lost_details, lost_image_ids, outline_of
from .placing import Placed, class_names, merged_by_file, own_names, place_all, split_name

# What XML cannot hold, even escaped.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def write_voc(annotations: Annotations, images: Path, out: Path, split: str | None) -> list[str]:
    """Write out/Annotations, out/JPEGImages and, for a split, out/ImageSets/Main/SPLIT.txt.

    Raises InputError, StorageError.
    """
    annotations, merged = merged_by_file(annotations)
    listed = out / "ImageSets" / "Main" / f"{split_name(split, 'train')}.txt"
    classes = class_names(annotations)
    _refuse_unwritable([*classes, *(image.file_name for image in annotations.images)])
    names, remarks = own_names(annotations)
    taken = _stems_of_others(listed)
    placed, stems = [], []
    for position, image in enumerate(annotations.images):
        name = PurePosixPath(names[image.file_name])
        if str(name.with_suffix("")) in taken:
            # Another split has an image of this name.
            name = PurePosixPath(listed.stem) / name
        stems.append(str(name.with_suffix("")))
        file = out / "Annotations" / name.with_suffix(".xml")
        content = _xml(annotations, position, name.name, classes)
        placed.append(Placed(images / image.file_name, out / "JPEGImages" / name, file, content))
    place_all(placed)
    if split is not None:
        publish_bytes(listed, "".join(f"{stem}\n" for stem in stems).encode(), existing="replace")
    return [
        *merged,
        *remarks,
        *_lost(annotations, classes),
        *lost_image_ids(annotations),
        *lost_details(annotations, boxes=True),
    ]


def _refuse_unwritable(texts: Sequence[str]) -> None:
    bad = next((text for text in texts if _NOT_XML.search(text)), None)
    if bad is not None:
        raise InputError(f"{bad!r}: XML cannot hold this name; change it, or write another format")


def _stems_of_others(listed: Path) -> set[str]:
    """Return the names, without suffix, of the images in the lists of other splits."""
    others = [file for file in listed.parent.glob("*.txt") if file != listed]
    return {row for file in others for row in read_text(file).splitlines()}


def _xml(annotations: Annotations, position: int, name: str, classes: Sequence[str]) -> bytes:
    """Return the XML of an image."""
    rows, columns = annotations.images[position].hw
    root = ElementTree.Element("annotation")
    _add(root, folder="JPEGImages", filename=name)
    _add(ElementTree.SubElement(root, "size"), width=columns, height=rows, depth=3)
    _add(root, segmented=0)
    for k in range(int(annotations.starts[position]), int(annotations.starts[position + 1])):
        packed = annotations.packed
        element = ElementTree.SubElement(root, "object")
        crowd = int(packed.crowd[k])
        _add(
            element,
            name=classes[int(packed.labels[k])],
            pose="Unspecified",
            truncated=0,
            difficult=crowd,
        )
        corners = dict(zip(_CORNERS, map(_shown, packed.boxes[k].tolist()), strict=True))
        _add(ElementTree.SubElement(element, "bndbox"), **corners)
        if outline := outline_of(annotations, k):
            _add(ElementTree.SubElement(element, "polygon"), **_points(outline))
    ElementTree.indent(root)
    text: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _points(outline: Sequence[float]) -> dict[str, str]:
    """Return the corners of a polygon as Roboflow writes them: x1, y1, x2, y2, ..."""
    return {f"{'xy'[k % 2]}{k // 2 + 1}": _shown(value) for k, value in enumerate(outline)}


def _add(parent: ElementTree.Element, **texts: object) -> None:
    for name, text in texts.items():
        ElementTree.SubElement(parent, name).text = str(text)


def _shown(value: float) -> str:
    return str(int(value)) if value.is_integer() else repr(value)


def _lost(annotations: Annotations, classes: Sequence[str]) -> list[str]:
    """Return sentences on what becomes of the classes, which VOC knows by the names of objects alone."""
    used = {classes[label] for label in set(annotations.packed.labels.tolist())}
    said = []
    if len(set(classes)) < len(classes):
        what = counted(len(classes) - len(set(classes)), "class has", "classes have")
        said.append(f"{what} the name of another and become one")
    if unused := sorted(set(classes) - used):
        what = counted(
            len(unused),
            "class without an object in this split is not written",
            "classes without an object in this split are not written",
        )
        said.append(f"{what}: {first_few(unused)}")
    if numbered(classes) != dict(zip(classes, annotations.class_ids, strict=True)):
        said.append(
            "class ids are not kept: classes are numbered from 1 in the order of their names"
        )
    return said
