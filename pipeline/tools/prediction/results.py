"""The forms of results that are written at the end, from detections.jsonl: a new one is one row.

COCO's results and CSV have every detection. Label files, which people open to correct them, have those that
reach the threshold of their class, as those that are drawn.
"""

from __future__ import annotations

import csv
import io
import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ....cache.disk.publish import publish_bytes, published
from .journal import Line
from .naming import fitting

# What XML cannot hold, even escaped.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Results:
    """The lines of a prediction. put: writes a file below `out`.

    above: the lowest score in label files, by the id of the class.
    """

    out: Path
    lines: Callable[[], Iterator[Line]]
    class_ids: Sequence[int]
    class_names: Sequence[str]
    above: Mapping[int, float]
    put: Callable[[str, bytes], None]


@dataclass(frozen=True, slots=True)
class Form:
    """A form of results. whole: its files for all images. folder, suffix: those of a file for each image."""

    write: Callable[[Results], None]
    whole: tuple[str, ...] = ()
    folder: str = ""
    suffix: str = ""

    def of_line(self, line: Line) -> str:
        """Return the path of the file of an image."""
        return f"{self.folder}/{fitting(line.name, self.suffix, line.image_id)}"

    @property
    def shown(self) -> list[str]:
        """Its files, for the user."""
        return [*self.whole, *([f"{self.folder}/"] if self.folder else [])]


def _write_coco(results: Results) -> None:
    """Write COCO's results, a detection each, with the names of its class and its file."""
    with published(results.out / "detections.json", existing="replace") as file:
        before = b"["
        for line in results.lines():
            for one in line.detections:
                file.write(before + json.dumps(_coco(line, one)).encode())
                before = b", "
        file.write(b"]" if before == b", " else b"[]")


def _coco(line: Line, one: Mapping[str, Any]) -> dict[str, Any]:
    named = {"category_id": one["category_id"], "category_name": one["category_name"]}
    rest = {name: one[name] for name in ("bbox", "score", "segmentation") if name in one}
    return {"image_id": line.image_id, **named, **rest, "file_name": line.file_name}


def _write_csv(results: Results) -> None:
    """Write a table with a row for each detection; boxes are corners in px."""
    with published(results.out / "detections.csv", existing="replace") as file:
        file.write(_rows([("file", "x1", "y1", "x2", "y2", "class", "score")]))
        for line in results.lines():
            file.write(
                _rows(
                    [
                        (
                            line.file_name,
                            *(f"{value:.3f}" for value in _corners(one)),
                            one["category_name"],
                            f"{one['score']:.6f}",
                        )
                        for one in line.detections
                    ]
                )
            )


def _rows(rows: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    # A name that is not UTF-8 keeps its bytes.
    return text.getvalue().encode(errors="surrogateescape")


def _write_yolo(results: Results) -> None:
    """Write a label file for each image: class, centre, width and height as fractions, score."""
    import yaml

    labels = {class_id: label for label, class_id in enumerate(results.class_ids)}
    for line in results.lines():
        rows, columns = line.hw
        text = ""
        for one in line.above(results.above):
            x1, y1, x2, y2 = _corners(one)
            left, right = (min(max(x / columns, 0), 1) for x in (x1, x2))
            top, bottom = (min(max(y / rows, 0), 1) for y in (y1, y2))
            values = (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
            shown = " ".join(f"{value:.6f}" for value in (*values, one["score"]))
            text += f"{labels[one['category_id']]} {shown}\n"
        results.put(FORMS["yolo"].of_line(line), text.encode())
    names = dict(enumerate(results.class_names))
    about = {"nc": len(names), "names": names}
    text = yaml.safe_dump(about, sort_keys=False, allow_unicode=True, width=10**6)
    publish_bytes(results.out / "data.yaml", text.encode(), existing="replace")


def _write_voc(results: Results) -> None:
    """Write an XML file for each image, as Pascal VOC has it, with a score in each object."""
    for line in results.lines():
        results.put(FORMS["voc"].of_line(line), _xml(line, results.above))


def _xml(line: Line, above: Mapping[int, float]) -> bytes:
    path = PurePosixPath(line.file_name)
    root = ElementTree.Element("annotation")
    _add(root, folder=path.parent if str(path.parent) != "." else "", filename=path.name)
    _add(ElementTree.SubElement(root, "size"), width=line.hw[1], height=line.hw[0], depth=3)
    _add(root, segmented=0)
    for one in line.above(above):
        element = ElementTree.SubElement(root, "object")
        _add(element, name=one["category_name"], pose="Unspecified", truncated=0, difficult=0)
        _add(element, score=f"{one['score']:.6f}")
        corners = (f"{value:.3f}" for value in _corners(one))
        named = zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
        _add(ElementTree.SubElement(element, "bndbox"), **dict(named))
    ElementTree.indent(root)
    text: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _add(parent: ElementTree.Element, **texts: object) -> None:
    for name, text in texts.items():
        ElementTree.SubElement(parent, name).text = _NOT_XML.sub("?", str(text))


def _corners(one: Mapping[str, Any]) -> tuple[float, float, float, float]:
    x, y, width, height = one["bbox"]
    return x, y, x + width, y + height


def _write_nothing(results: Results) -> None:
    """Write nothing: detections.jsonl is there."""


FORMS: Mapping[str, Form] = {
    "coco": Form(_write_coco, ("detections.json",)),
    "yolo": Form(_write_yolo, ("data.yaml",), "labels", ".txt"),
    "voc": Form(_write_voc, (), "Annotations", ".xml"),
    "csv": Form(_write_csv, ("detections.csv",)),
    "jsonl": Form(_write_nothing),
}
