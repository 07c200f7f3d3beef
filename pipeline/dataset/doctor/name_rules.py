"""Rules on file names: listed twice, names that only differ by case or suffix, files without annotations."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from .finding import Finding, Severity, found
from .subject import Subject

# The formats that find the labels of an image by its name without the suffix.
_BY_STEM = ("yolo", "voc")
_SUFFIX = re.compile(r"(?<=[^/])\.[^./]*$")


def listed_twice(subject: Subject) -> Finding | None:
    """Find files that a split lists more than once."""
    examples = [
        subject.label(split, f"{name} ({count} times)")
        for split in subject.splits
        for name, count in Counter(image.file_name for image in split.images).items()
        if count > 1
    ]
    return found(
        Severity.warning,
        examples,
        subject.image_count,
        "files are listed more than once by one split",
        "join their entries: objects of one entry are background in the other",
    )


def same_but_case(subject: Subject) -> Finding | None:
    """Find names that differ only in their case."""
    return found(
        Severity.warning,
        list(_clashes(subject, str.casefold)),
        subject.image_count,
        "names differ from another only by case",
        "rename one: they are one file on Windows, on macOS and in some archives",
    )


def same_but_suffix(subject: Subject) -> Finding | None:
    """Find names that differ only in their suffix; a warning where these share a label file."""
    shared = any(split.data.format in _BY_STEM for split in subject.splits)
    return found(
        Severity.warning if shared else Severity.note,
        list(_clashes(subject, lambda name: _SUFFIX.sub("", name))),
        subject.image_count,
        "names differ from another only by suffix",
        "rename one: YOLO and VOC have one label file for both",
    )


def _clashes(subject: Subject, key: Callable[[str], str]) -> Iterator[str]:
    """Yield pairs of names in one folder that have the same key."""
    names: defaultdict[Path, dict[str, None]] = defaultdict(dict)
    for split, image in subject.entries():
        names[split.data.images or Path()][image.file_name] = None
    for inside in names.values():
        first: dict[str, str] = {}
        for name in inside:
            if (before := first.setdefault(key(name), name)) != name:
                yield f"{name}, {before}"


def not_listed(subject: Subject) -> Finding | None:
    """Find image files that no annotation names, in folders from which the annotations name others."""
    names: defaultdict[Path, set[str]] = defaultdict(set)
    for split, image in subject.entries():
        if split.data.images is not None:
            names[split.data.images].add(image.file_name)
    for split in subject.splits:
        if split.data.images is not None:
            names[split.data.images].update(split.data.unread)
    examples, total = list[str](), 0
    for root, files in subject.listed.items():
        folders = {PurePosixPath(name).parent for name in names[root]}
        inside = [name for name in files if PurePosixPath(name).parent in folders]
        total += len(inside)
        examples += [name for name in inside if name not in names[root]]
    return found(
        Severity.note,
        examples,
        total,
        "image files are named by no annotation",
        "they are not used; check that none was forgotten",
    )
