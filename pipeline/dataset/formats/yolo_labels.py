"""YOLO's label files: a line for each object, with a class number and fractions of the image's size."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

from ....cache.errors import InputError
from ....cache.wording import counted
from .assembly import Box, ObjectEntry, box_around
from .files import number

# How far a fraction may lie beyond 0..1; as in ultralytics.
_SLACK = 0.01
_DECIMALS = 6
_FORM = "class cx cy w h, or class x1 y1 x2 y2 x3 y3 ... for a polygon"
_FIVE, _SIX = 5, 6


@dataclass(slots=True)
class LabelReader:
    """A reader of label files, which counts what it assumes.

    classes: the class numbers that there are. named_in: what lists them, such as "data.yaml names".
    keypoints: whether keypoints follow each box. beyond: how many objects have a fraction slightly beyond
    0..1. repeated: how many lines stand in their file already.
    """

    classes: Container[int]
    named_in: str
    keypoints: bool = False
    beyond: int = 0
    repeated: int = 0

    def objects(self, text: str, file: Path, hw: tuple[int, int]) -> list[ObjectEntry]:
        """Return the objects of a label file. Raises InputError that names the line."""
        rows: list[tuple[str, ...]] = []
        objects = []
        for line, row in enumerate(text.splitlines(), 1):
            tokens = tuple(row.split())
            if tokens:
                rows.append(tokens)
                objects.append(self._object(tokens, f"{file}: line {line}", hw))
        self.repeated += len(rows) - len(set(rows))
        return objects

    def remarks(self) -> list[str]:
        """Return a sentence for each thing that was assumed."""
        found = []
        if self.beyond:
            what = counted(self.beyond, "object reaches", "objects reach")
            kept = "it is kept" if self.beyond == 1 else "they are kept"
            found.append(f"{what} beyond 0..1 by up to {_SLACK}: {kept}")
        if self.repeated:
            what = counted(
                self.repeated, "line of a label file stands", "lines of label files stand"
            )
            found.append(f"{what} there twice: all are kept")
        return found

    def _object(self, tokens: tuple[str, ...], where: str, hw: tuple[int, int]) -> ObjectEntry:
        values = _numbers(tokens, where)
        category = self._class(values[0], where)
        fractions = self._fractions(tokens, values, where)
        rows, columns = hw
        if len(fractions) == 4:
            return ObjectEntry(category, _box(fractions, hw))
        polygon = tuple(
            round(v * side, _DECIMALS)
            for v, side in zip(fractions, [columns, rows] * (len(fractions) // 2), strict=True)
        )
        return ObjectEntry(category, box_around(polygon), polygon)

    def _fractions(self, tokens: tuple[str, ...], values: list[float], where: str) -> list[float]:
        """Return the box or the polygon of a line."""
        count = len(values)
        if self.keypoints and count > _FIVE:
            count = _FIVE
        elif count == _SIX:
            raise InputError(
                f"{where}: expected {_FORM}, got 6 numbers; a confidence behind the box belongs to a "
                "prediction, not to a label"
            )
        elif count < _FIVE or count % 2 == 0:
            keypoints = (
                "; keypoints behind a box need kpt_shape in data.yaml" if count > _SIX else ""
            )
            raise InputError(
                f"{where}: expected {_FORM}, got {counted(count, 'number')}{keypoints}"
            )
        fractions = values[1:count]
        for k, value in enumerate(fractions, 1):
            if not -_SLACK <= value <= 1 + _SLACK:
                pixels = "; is it in pixels?" if value > 1 else ""
                raise InputError(
                    f"{where}: number {k + 1}: expected a fraction of the image, 0..1, got "
                    f"{tokens[k][:40]}{pixels}"
                )
        self.beyond += not all(0 <= value <= 1 for value in fractions)
        return fractions

    def _class(self, value: float, where: str) -> int:
        category = int(value)
        if category != value or category < 0 or value >= 2**31:
            raise InputError(f"{where}: expected a class number such as 0, got {value:g}")
        if category not in self.classes:
            raise InputError(f"{where}: class {category} is not one that {self.named_in}")
        return category


def looks_like_label(text: str) -> bool:
    """Return whether the first line of a text is one of a label file."""
    tokens = next((row.split() for row in text.splitlines() if row.strip()), [])
    values = [number(token) for token in tokens[:_FIVE]]
    return len(values) == _FIVE and None not in values and (values[0] or 0.0).is_integer()


def _numbers(tokens: tuple[str, ...], where: str) -> list[float]:
    values = []
    for k, token in enumerate(tokens, 1):
        value = number(token)
        if value is None:
            hint = "; a decimal point and blanks are expected, no commas" if "," in token else ""
            what = "a class number" if k == 1 else "a finite number"
            raise InputError(f"{where}: number {k}: expected {what}, got {token[:40]!r}{hint}")
        values.append(value)
    return values


def _box(fractions: list[float], hw: tuple[int, int]) -> Box:
    """Return (x, y, w, h) in px of a box given by its centre and size as fractions."""
    cx, cy, w, h = fractions
    rows, columns = hw
    x, y = (cx - w / 2) * columns, (cy - h / 2) * rows
    # The noise of the last bits is rounded off, so that boxes of whole pixels are whole again.
    return (
        round(x, _DECIMALS),
        round(y, _DECIMALS),
        round(w * columns, _DECIMALS),
        round(h * rows, _DECIMALS),
    )
