"""The XML of one image as Pascal VOC has it, and as LabelImg, CVAT, Roboflow and LabelMe write it."""

from __future__ import annotations

import codecs
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ....cache.errors import InputError
from ..coco.ids import whole_number
from .assembly import Box, between, box_around
from .files import (
    MAX_PAGE_BYTES,
    encoding_of,
    head_of,
    number,
    one_line,
    read_bytes,
    refuse_zero_byte,
)

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
# What stands for a flag; where the annotator did not say, an object is one like others, as in VOC itself.
_YES = ("1", "1.0", "true", "yes")
_NO = ("", "0", "0.0", "false", "no", "none", "null", "unspecified", "unknown")
# The most tags of a file, which bounds the memory that its elements take.
_MAX_TAGS = 2**22
_DECLARED = re.compile(rb"""encoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["']""")
# The longest declaration of an encoding.
_MAX_DECLARATION = 256
# What may stand before the first element, besides a document type.
_ASIDES = (("<?", "?>"), ("<!--", "-->"))
_BLANKS, _TO_SUBSET = re.compile(r"[\s\ufeff]*"), re.compile(r"<!DOCTYPE[^>\[]*")
_ELEMENT = re.compile(r"<([A-Za-z_][\w:.-]*)")
# How the names of encodings begin that are ways to write text; Python knows others, such as "punycode".
_TEXT_ENCODINGS = re.compile(
    r"utf|ascii|iso8859|latin|cp\d|gb|hz|big5|shift_jis|euc|koi8|mac|johab|tis|kz1048|ptcp|hp_roman"
)


@dataclass(frozen=True, slots=True)
class VocObject:
    """An object: the name of its class, its box (x, y, w, h) and its polygon x, y, x, y, ... in image px.

    polygon: () where there is none. written: the name with the blanks around it.
    """

    name: str
    box: Box
    polygon: tuple[float, ...]
    difficult: bool
    written: str


@dataclass(frozen=True, slots=True)
class VocImage:
    """The contents of the file of an image; hw is (rows, columns), None where it does not say.

    repeated: the elements that stand in a place for one although another is there already.
    """

    file: Path
    filename: str
    hw: tuple[int, int] | None
    objects: tuple[VocObject, ...]
    repeated: tuple[str, ...] = ()


def looks_like_voc(file: Path) -> bool:
    """Return whether the first element of a file is <annotation>."""
    return _first_element(file) == "annotation"


def is_other_xml(file: Path) -> bool:
    """Return whether a file is XML for something else than the objects of an image."""
    return _first_element(file) not in ("annotation", "")


def _first_element(file: Path) -> str:
    """Return the name of the first element, from the beginning of a file; "" where there is none."""
    head = head_of(file)
    found = _ELEMENT.match(head, elements_at(head))
    return found[1].rpartition(":")[2].lower() if found else ""


def elements_at(text: str) -> int:
    """Return where the elements of an XML text begin: behind comments and the like, or its length.

    Each step goes on where the last one ended, so hostile texts take no longer than others.
    """
    at = 0
    while (end := _end_of_aside(text, at)) > at:
        at = end
    return at


def _end_of_aside(text: str, at: int) -> int:
    """Return where the blanks, and a comment, instruction or document type, that begin at a place end."""
    at = _end_of(_BLANKS, text, at)
    for opening, closing in _ASIDES:
        if text.startswith(opening, at):
            return _behind(text, closing, at + len(opening))
    end = _end_of(_TO_SUBSET, text, at)
    if end == at:
        return at
    return _behind(text, ">", _behind(text, "]", end) if text.startswith("[", end) else end)


def _end_of(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    return found.end() if found else at


def _behind(text: str, closing: str, at: int) -> int:
    found = text.find(closing, at)
    return len(text) if found < 0 else found + len(closing)


def read_image(file: Path) -> VocImage:
    """Read the XML of an image. Raises InputError that names the element."""
    root = _parsed(file)
    if root.tag != "annotation":
        raise InputError(
            f"{file}: expected the element <annotation> of Pascal VOC, got <{root.tag}>"
        )
    filename = (root.findtext("filename") or "").strip().replace("\\", "/")
    objects = tuple(_objects(root, file))
    return VocImage(file, filename, _size(root, file), objects, tuple(_repeated(root, file)))


def _repeated(root: ElementTree.Element, file: Path) -> Iterator[str]:
    """Yield the elements of which only the first is read, since there is a place for one."""
    places: list[tuple[str, ElementTree.Element, Sequence[str]]] = [
        (file.name, root, ("filename", "size"))
    ]
    for position, element in enumerate(root.findall("object"), 1):
        where = f"{file.name}: object {position}"
        places.append((where, element, ("name", "bndbox", "polygon", "difficult")))
        places += [(f"{where}: bndbox", box, _CORNERS) for box in element.findall("bndbox")[:1]]
    for where, parent, names in places:
        for name in names:
            if len(parent.findall(name)) > 1:
                yield f"{where}: <{name}>"


def _parsed(file: Path) -> ElementTree.Element:
    text = _text(file)
    # Without a document type there are no entities: none that grows, and none that opens another file.
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise InputError(f"{file}: <!DOCTYPE> and <!ENTITY> are not accepted; take them out")
    if text.count("<") > _MAX_TAGS:
        raise InputError(f"{file}: expected at most {_MAX_TAGS} tags, got {text.count('<')}")
    try:
        return _plain(ElementTree.fromstring(text))  # noqa: S314
    except ElementTree.ParseError as error:
        line = error.position[0]
        why = str(error).partition(":")[0]
        raise InputError(f"{file}: line {line}: not XML: {why}") from error
    except ValueError as error:
        raise InputError(f"{file}: not XML: {error}") from error


def _plain(root: ElementTree.Element) -> ElementTree.Element:
    """Return an element whose names, and those of all within, are in lower case and without a namespace."""
    for element in root.iter():
        if isinstance(element.tag, str):
            element.tag = element.tag.rpartition("}")[2].lower()
    return root


def _text(file: Path) -> str:
    """Return the text of a file in the encoding that it declares, UTF-8 by default, without the mark."""
    raw = read_bytes(file, MAX_PAGE_BYTES)
    head = raw.lstrip()[:_MAX_DECLARATION].partition(b">")[0]
    found = _DECLARED.search(head) if head.startswith(b"<?xml") else None
    declared = found[1].decode() if found else "utf-8"
    # A declaration that is ASCII is in none of these, whatever it says.
    declared = "utf-8" if re.match(r"(?i)utf-?(16|32)|ucs", declared) else declared
    encoding = encoding_of(raw) or declared
    try:
        if not _TEXT_ENCODINGS.match(codecs.lookup(encoding).name):
            raise LookupError(encoding)
        # The declaration names the encoding of the bytes, and this is text.
        text = raw.decode(encoding).lstrip("\ufeff \t\r\n")
    except LookupError as error:
        raise InputError(
            f"{file}: encoding {encoding!r} is not known; save the file in UTF-8"
        ) from error
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InputError(f"{file}: line {line}: not {encoding}; save the file in UTF-8") from error
    refuse_zero_byte(text, file)
    return text


def _size(root: ElementTree.Element, file: Path) -> tuple[int, int] | None:
    """Return (rows, columns); None where they are absent or 0, as LabelImg writes unknown ones."""
    found = []
    for element, old in (("height", "nrows"), ("width", "ncols")):  # LabelMe has <imagesize>.
        text = root.findtext(f"size/{element}") or root.findtext(f"imagesize/{old}") or ""
        value = number(text.strip())
        whole = None if value is None else whole_number(value)
        if text.strip() and (whole is None or not 0 <= whole < 2**31):
            raise InputError(
                f"{file}: size/{element}: expected whole px, got {text.strip()[:40]!r}"
            )
        found.append(whole or 0)
    return (found[0], found[1]) if all(found) else None


def _objects(root: ElementTree.Element, file: Path) -> Iterator[VocObject]:
    for position, element in enumerate(root.findall("object"), 1):
        if (element.findtext("deleted") or "").strip() == "1":
            continue
        where = f"{file}: object {position}"
        written = element.findtext("name") or ""
        if not (name := written.strip()):
            raise InputError(f"{where}: expected a class in <name>, got nothing")
        where = f"{where} ({one_line(name)})"
        polygon = _polygon(element, where)
        box = _box(element, polygon, where)
        yield VocObject(name, box, polygon, _flag(element, "difficult", where), written)


def _box(element: ElementTree.Element, polygon: tuple[float, ...], where: str) -> Box:
    corners = element.find("bndbox")
    if corners is not None:
        return between(*(_coordinate(corners, name, f"{where}: bndbox") for name in _CORNERS))
    if polygon:
        return box_around(polygon)
    if element.find("robndbox") is not None or element.find("rotated_bndbox") is not None:
        raise InputError(f"{where}: expected an upright box in <bndbox>, got a rotated one")
    raise InputError(f"{where}: expected <bndbox> with {', '.join(_CORNERS)}, got none")


def _polygon(element: ElementTree.Element, where: str) -> tuple[float, ...]:
    """Return the corners of a polygon: <pt><x/><y/></pt> as LabelMe has them, or <x1/><y1/> as Roboflow."""
    given = element.find("polygon")
    if given is None:
        return ()
    place = f"{where}: polygon"
    points = given.findall("pt")
    if points:
        values = [_coordinate(point, name, place) for point in points for name in ("x", "y")]
    else:
        # Looking for each corner among all would take quadratic time.
        texts = {child.tag: child.text or "" for child in reversed(given)}  # The first of a name.
        count = sum(1 for child in given if re.fullmatch(r"x\d+", child.tag))
        named = [f"{n}{k}" for k in range(1, count + 1) for n in ("x", "y")]
        values = [_px(texts.get(name), name, place) for name in named]
    if 0 < len(values) < 6:
        raise InputError(f"{place}: expected three corners or more, got {len(values) // 2}")
    return tuple(values)


def _coordinate(element: ElementTree.Element, name: str, where: str) -> float:
    return _px(element.findtext(name), name, where)


def _px(text: str | None, name: str, where: str) -> float:
    value = number((text or "").strip())
    if value is None:
        got = "nothing" if text is None else repr(text.strip()[:40])
        raise InputError(f"{where}: {name}: expected a finite number of px, got {got}")
    return value


def _flag(element: ElementTree.Element, name: str, where: str) -> bool:
    text = (element.findtext(name) or "").strip().lower()
    if text not in (*_YES, *_NO):
        raise InputError(f"{where}: {name}: expected 0 or 1, got {text[:40]!r}")
    return text in _YES
