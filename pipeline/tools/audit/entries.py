"""The list of an audit: its entries as values for files and for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ....heads.types import Detections
from ...dataset.annotations import Annotations, ImageBoxes
from .suspicion import Kind, Suspicion

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of the list.

    rank: from 1 on. suspicion: 0 to 1. label, box: the class and the box [x, y, width, height], in px of the
    image file, of the label in question; None for a missed object. found_label, found_box, found_score: the
    same of the detection that disagrees, and its score; None for an invented box. suggestion: what to do.
    """

    rank: int
    suspicion: float
    kind: Kind
    image: str
    image_id: int
    label: int | None
    box: Box | None
    found_label: int | None
    found_box: Box | None
    found_score: float | None
    suggestion: str

    def to_json(self, names: Sequence[str], picture: str | None) -> dict[str, Any]:
        """Return the entry with the names of classes in place of labels. picture: its file."""
        return {
            "rank": self.rank,
            "suspicion": round(self.suspicion, 4),
            "kind": self.kind,
            "image": self.image,
            "image_id": self.image_id,
            "label": None if self.label is None else names[self.label],
            "box": self.box and list(self.box),
            "found": None if self.found_label is None else names[self.found_label],
            "found_box": self.found_box and list(self.found_box),
            "found_score": self.found_score and round(self.found_score, 4),
            "suggestion": self.suggestion,
            "picture": picture,
        }


def entries_of(
    chosen: Sequence[Suspicion],
    known: Annotations,
    found: Mapping[int, Detections],
    names: Sequence[str],
) -> list[Entry]:
    """Return the entries of suspicions, in their order. names: the classes, each name once."""
    return [_entry(k, s, known, found, names) for k, s in enumerate(chosen, 1)]


def without_crowds(objects: ImageBoxes) -> ImageBoxes:
    """Return the objects that are no crowds, without outlines."""
    kept = ~objects.crowd
    return ImageBoxes(
        objects.boxes[kept], objects.labels[kept], objects.crowd[kept], objects.area[kept]
    )


def _entry(
    rank: int,
    s: Suspicion,
    known: Annotations,
    found: Mapping[int, Detections],
    names: Sequence[str],
) -> Entry:
    label = box = found_label = found_box = found_score = None
    if s.row is not None:
        objects = without_crowds(known.of_image(s.image_id))
        label, box = int(objects.labels[s.row]), _xywh(objects.boxes[s.row].tolist())
    if s.found is not None:
        d = found[s.image_id]
        found_label, found_score = int(d.labels[s.found]), float(d.scores[s.found])
        found_box = _xywh(d.boxes[s.found].tolist())
    return Entry(
        rank,
        s.score,
        s.kind,
        known.image(s.image_id).file_name,
        s.image_id,
        label,
        box,
        found_label,
        found_box,
        found_score,
        _suggestion(s.kind, None if found_label is None else names[found_label]),
    )


def _xywh(box: Sequence[float]) -> Box:
    x1, y1, x2, y2 = box
    left, top, width, height = (round(v, 2) for v in (x1, y1, x2 - x1, y2 - y1))
    return left, top, width, height


def _suggestion(kind: Kind, name: str | None) -> str:
    """Return what to do about an entry. name: the class of the detection."""
    return {
        "wrong class": f"change the class to {name!r}",
        "missed object": f"add a {name!r} with found_box",
        "invented box": "remove the box",
        "badly placed box": "change the box to found_box",
    }[kind]
