"""The rules of the doctor: a new one is one function and one row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum

from . import box_rules, class_rules, image_rules, name_rules
from .finding import Finding
from .subject import Subject


class Depth(IntEnum):
    """The depth of an examination: annotations alone, headers of files too, or all of their bytes."""

    annotations = 0
    headers = 1
    pixels = 2


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule.

    help: what it finds, for the docs. find: the function that does. needs: the least depth that it works
    at. said: whether reading the data set says it already (`Annotations.warnings`). whole: whether it is
    about all splits together, so that one of them alone says nothing.
    """

    help: str
    find: Callable[[Subject], Finding | None]
    needs: Depth = Depth.annotations
    said: bool = False
    whole: bool = False


_HEADERS, _PIXELS = Depth.headers, Depth.pixels

RULES: Mapping[str, Rule] = {
    "missing": Rule("annotated images without a file", image_rules.missing, _HEADERS),
    "unreadable": Rule("files that are no images, or damaged", image_rules.unreadable, _HEADERS),
    "size": Rule("images of another size than the annotations", image_rules.other_size, _HEADERS),
    "range": Rule(
        "deep pixels of a range that extractions refuse", image_rules.other_range, _PIXELS
    ),
    "box-format": Rule("boxes as corners or fractions", box_rules.other_format, said=True),
    "class-ids": Rule(
        "classes that the splits list differently", class_rules.numbered_differently, whole=True
    ),
    "leak": Rule("images in several splits, by content", image_rules.leak, whole=True),
    "duplicate": Rule("images twice in a split, by content", image_rules.duplicates, _PIXELS),
    "listed-twice": Rule("files that a split lists twice", name_rules.listed_twice),
    "beyond": Rule("boxes that reach beyond their image by over 1 px", box_rules.beyond, said=True),
    "left-out": Rule("boxes of no area or outside their image", box_rules.left_out, said=True),
    "tiny": Rule("boxes with a side below 1 px, or 0.1 % of the image's", box_rules.tiny),
    "small": Rule("boxes with a side below 4 px at --short and --long", box_rules.small_on_canvas),
    "repeated-box": Rule(
        "boxes of one image and class within 0.5 px of another", box_rules.repeated
    ),
    "thin": Rule("boxes over 20 times as long as wide", box_rules.thin),
    "few": Rule("classes with fewer than 10 objects", class_rules.rare, whole=True),
    "one-split": Rule(
        "classes with objects in one split alone", class_rules.in_one_split, whole=True
    ),
    "alike": Rule("classes of the same name but for case and spaces", class_rules.named_alike),
    "no-class": Rule("classes without objects", class_rules.without_objects, whole=True),
    "empty": Rule("images without objects", image_rules.without_objects),
    "case": Rule("names that differ only by case", name_rules.same_but_case),
    "suffix": Rule("names that differ only by suffix", name_rules.same_but_suffix),
    "not-listed": Rule("image files that no annotation names", name_rules.not_listed, _HEADERS),
    "rotated": Rule("images that EXIF rotates", image_rules.rotated, _HEADERS),
    "not-rotated": Rule(
        "EXIF rotations that the annotations do not follow", image_rules.not_rotated, _HEADERS
    ),
    "deep": Rule("images of more than 8 bits", image_rules.deep, _HEADERS),
    "grey": Rule("images without colours", image_rules.grey, _PIXELS),
    "assumed": Rule("what was assumed in reading", box_rules.remarks, said=True),
}
