"""Lines of text in pictures, in any script: each part is written in a font that has its letters."""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from PIL import ImageDraw

from ...cache.wording import counted, listed
from .fonts import Face, can_shape, face_of, has, needs_shaping, opened

log = logging.getLogger(__name__)

_ADVICE = (
    "install a Noto font of that script (Debian: `apt install fonts-noto-core fonts-noto-cjk`)"
)
_SHAPING = "install libfribidi (Debian: `apt install libfribidi0`)"


@dataclass(frozen=True, slots=True)
class Line:
    """A text at a size in px, as parts that are written one after the other, each in one font."""

    parts: tuple[tuple[Face, str], ...]
    size: int

    @property
    def length(self) -> float:
        """The distance in px that the text moves the pen."""
        return sum(opened(face, self.size).getlength(part) for face, part in self.parts)

    def box(self, pen: ImageDraw.ImageDraw) -> tuple[float, float, float, float]:
        """Return the box of the text's ink, xyxy in px from its beginning on the baseline."""
        boxes, x = [], 0.0
        for face, part in self.parts:
            font = opened(face, self.size)
            boxes.append(pen.textbbox((x, 0), part, font=font, anchor="ls"))
            x += font.getlength(part)
        lefts, tops, rights, bottoms = zip(*boxes, strict=True)
        return min(lefts), min(tops), max(rights), max(bottoms)

    def write(self, pen: ImageDraw.ImageDraw, x: float, y: float) -> None:
        """Write the text in black; it begins at x, and y is its baseline."""
        for face, part in self.parts:
            font = opened(face, self.size)
            pen.text((x, y), part, fill="black", font=font, anchor="ls")
            x += font.getlength(part)


def line_of(text: str, size: int) -> Line:
    """Return a text as a line. A letter that no font has becomes a question mark."""
    text = _clean(text)
    try:
        return Line(((face_of(text, in_system=False), text),), size)
    except LookupError:
        return Line(tuple(_parts(text)), size)


@cache
def legible_names(names: tuple[str, ...], ids: tuple[int, ...]) -> tuple[str, ...]:
    """Return the names of classes as pictures can show them: the id in place of one without a font.

    The first call with these names logs a warning where there are such. A single class is never named.
    """
    if len(names) == 1:
        return names
    legible = tuple(
        name if _is_legible(name) else str(class_id)
        for name, class_id in zip(names, ids, strict=True)
    )
    lost = [name for name, written in zip(names, legible, strict=True) if name != written]
    if lost:
        shaped = all(map(_has_letters, lost))
        log.warning(
            "pictures show %s by id (%s), since %s; %s",
            counted(len(lost), "class", "classes"),
            listed(lost),
            "their script cannot be set here" if shaped else "no font here has their letters",
            _SHAPING if shaped else _ADVICE,
        )
    return legible


def _is_legible(name: str) -> bool:
    return _has_letters(name) and (can_shape() or not needs_shaping(name))


def _has_letters(name: str) -> bool:
    return all(_face_of_letter(letter) is not False for letter in _clean(name))


def _clean(text: str) -> str:
    """Return a text on one line, with its letters composed where they can be."""
    text = unicodedata.normalize("NFC", text)
    return "".join(" " if c.isspace() or unicodedata.category(c) == "Cc" else c for c in text)


@cache
def _face_of_letter(letter: str) -> Face | bool:
    """Return the first font that has a letter, False where there is none."""
    try:
        return face_of(letter, in_system=True)
    except LookupError:
        return False


def _parts(text: str) -> Sequence[tuple[Face, str]]:
    """Return the parts of a text that have one font each, with all that is ASCII in Pillow's own."""
    parts: list[tuple[Face, str]] = []
    for letter in text:
        face = _face_of_letter(letter)
        if isinstance(face, bool):
            face, letter = None, "?"
        if parts and (face == parts[-1][0] if letter.isascii() else has(parts[-1][0], letter)):
            parts[-1] = (parts[-1][0], parts[-1][1] + letter)
        else:
            parts.append((face, letter))
    return parts
