"""The images of a split of a YOLO data set, and the label file of each."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ....cache.errors import InputError
from ....cache.wording import counted
from ..images.files import SUFFIXES, find_images, is_hidden
from ..images.names import folded
from .files import (
    MAX_TABLE_BYTES,
    first_few,
    has_image,
    head_of,
    hidden_files,
    is_closed,
    names_in,
    one_line,
    plain_path,
    read_text,
    shared_folder,
)
from .yolo_labels import looks_like_label
from .yolo_layout import (
    NO_LABELS,
    Layout,
    label_places,
    labels_folder,
)
from .yolo_paths import located

_REMEDY = "correct the path, or take it out where there is no such split"


@dataclass(frozen=True, slots=True)
class Images:
    """The images of a split, each with its label file if it has one.

    root: the folder that their names are relative to. labels: the folders that hold labels of this split
    alone. remarks: what was assumed. missing: the images of lists that are not there, as they are written,
    each with its label file if it has one.
    """

    files: Mapping[Path, Path | None]
    root: Path
    labels: tuple[Path, ...] = ()
    remarks: tuple[str, ...] = ()
    missing: Mapping[str, Path | None] = field(default_factory=dict)


def absent_splits(layout: Layout) -> dict[str, str]:
    """Return why splits that are named have no images, by their name; {} where none has any.

    Images of all splits may be in a folder that the user names.
    """
    absent = {}
    for split, texts in layout.places.items():
        hits = [_place_of(layout, split, text) for text in texts]
        there = [hit[0] for hit in hits if hit is not None]
        if not there:
            absent[split] = f"{one_line(texts[0])} is not there"
        elif not any(map(_has_images, there)):
            absent[split] = f"{there[0]} has no images"
    return absent if len(absent) < len(layout.places) else {}


def _has_images(place: Path) -> bool:
    """Return whether a place has images or lists them; one that may not be looked into is refused later."""
    return is_closed(place) or place.is_file() or has_image(place)


def images_of(layout: Layout, split: str, images: Path | None) -> Images:
    """Return the images of a split. images: the folder that the user named. Raises InputError."""
    parts = [_images_at(layout, split, text, images) for text in layout.places[split]]
    files = {file: label for part in parts for file, label in part.files.items()}
    root = plain_path(images) if images else Path(os.path.commonpath([p.root for p in parts]))
    outside = [file for file in files if not file.is_relative_to(root)]
    if outside:
        what = counted(len(outside), "image lies", "images lie")
        raise InputError(f"--images {images}: {what} outside of it: {outside[0]}")
    remarks = [remark for part in parts for remark in part.remarks]
    if repeated := sum(len(part.files) for part in parts) - len(files):
        what = counted(repeated, "image is", "images are")
        remarks.append(f"{what} in several places of {split}: each is taken once")
    wanting = {file: list(label_places(file)) for file, label in files.items() if label is None}
    matched = _of_other_case(wanting, {label for label in files.values() if label})
    return Images(
        {**files, **matched},
        root,
        tuple(folder for part in parts for folder in part.labels),
        (*remarks, *_case_remarks(matched), *_no_files(wanting)),
        {row: label for part in parts for row, label in part.missing.items()},
    )


def _images_at(layout: Layout, split: str, text: str, images: Path | None) -> Images:
    """Return the images in a folder, or in a list, as the data set writes its path."""
    hit = _place_of(layout, split, text)
    what = f"{split}: " if split else ""
    if hit is None and images is None:
        shown = ", ".join(dict.fromkeys(str(base) for base in layout.bases))
        raise InputError(
            f"{layout.source}: {what}{one_line(text)}: no such folder or list of images; looked below "
            f"{shown}; {_REMEDY}"
        )
    if hit is not None and images is None and not _has_images(hit[0]):
        raise InputError(f"{layout.source}: {what}{hit[0]} has no images; {_REMEDY}")
    remarks: tuple[str, ...] = ()
    if hit is not None and not hit[1]:
        _refuse_shared(layout, split, hit[0])
        remarks = (f"{one_line(text)} is not there: {hit[0]} is taken",)
    place = hit[0] if hit else layout.bases[0] / text
    if place.is_file():
        listed, lost, said = _listed(place, layout, images)
        files = {file: _label_of(file) for file in listed}
        missing = {
            f"{one_line(row)} ({place.name} line {line})": _label_of_row(row, layout, files)
            for row, line in lost.items()
        }
        return Images(files, shared_folder(listed), (), (*remarks, *said), missing)
    if images is not None and not place.is_relative_to(plain_path(images)):
        return _moved(place, images)
    files = {
        file: _label_of(file) for file, _ in find_images([place], quiet=True, all_folders=True)
    }
    labels = labels_folder(place)
    remarks = (*remarks, *_hidden_remarks(place))
    return Images(files, place, (labels,) if labels else (), remarks)


def _label_of_row(row: str, layout: Layout, others: Mapping[Path, Path | None]) -> Path | None:
    """Return the label file of an image of a list that is not there. others: those of other images."""
    if "\0" in row:
        return None
    hits = (located(str(place), layout.bases) for place in label_places(Path(row)))
    used = set(others.values())
    return next((h[0] for h in hits if h and h[0].is_file() and h[0] not in used), None)


def _listed(
    file: Path, layout: Layout, images: Path | None
) -> tuple[list[Path], dict[str, int], list[str]]:
    """Return the images that a text file lists, a path in each line, and remarks on what was assumed.

    In between are the rows of the images that are nowhere, each with its line. Raises InputError where all
    are nowhere, and where two rows mean one file by guessing.
    """
    rows = [row.strip() for row in read_text(file, MAX_TABLE_BYTES).splitlines()]
    bases = [*([images] if images else []), file.parent, *layout.bases]
    found: dict[Path, tuple[str, bool]] = {}
    lost = dict[str, int]()
    guessed, repeated = [], []
    looked: dict[Path, dict[str, list[str]]] = {}
    for line, row in enumerate(rows, 1):
        hit = located(row, bases, looked)
        if hit is None or not hit[0].is_file():
            if row:
                lost.setdefault(row, line)
            continue
        path, as_written = hit
        if path in found:
            other, also_written = found[path]
            if other != row and not (as_written and also_written):
                raise InputError(f"{file}: line {line}: {row!r} and {other!r} are one file, {path}")
            repeated.append(one_line(row))
            continue
        found[path] = (row, as_written)
        guessed += [] if as_written else [f"{one_line(row)} as {path}"]
    if lost and not found:
        few = first_few([f"{one_line(row)} (line {line})" for row, line in lost.items()])
        raise InputError(f"{file}: its images are missing: {few}; check --images")
    if not found:
        raise InputError(f"{file}: expected the path of an image in each line, got none")
    said = []
    if guessed:
        what = counted(
            len(guessed),
            "image of the list is not there, and was found under another name or folder, e.g.",
            "images of the list are not there, and were found under another name or folder, e.g.",
        )
        said.append(f"{file.name}: {what} {guessed[0]}")
    if repeated:
        what = counted(len(repeated), "line repeats", "lines repeat")
        few = first_few(repeated)
        said.append(f"{file.name}: {what} an image of the list: each is taken once: {few}")
    return list(found), lost, said


def _moved(place: Path, images: Path) -> Images:
    """Return the images in another folder than the labels expect: only those that have a label file."""
    folder = labels_folder(place)
    if folder is None:
        looked = " and ".join(dict.fromkeys(str(p.parent) for p in label_places(place / "x.jpg")))
        raise InputError(f"{place}: there are no label files (.txt) for it in {looked}")
    found = {
        file: [folder / name, folder / file.name]
        for file, name in find_images([images], quiet=True, all_folders=True)
    }
    labels = {file: _label_of(file, *others) for file, others in found.items()}
    matched = _of_other_case(
        {
            file: [p.with_suffix(".txt") for p in found[file]]
            for file, label in labels.items()
            if label is None
        },
        {label for label in labels.values() if label},
    )
    labels |= matched
    files: dict[Path, Path | None] = {}
    used: dict[Path, Path] = {}
    for file, label in labels.items():
        if label is None:
            continue
        if (other := used.setdefault(label, file)) != file:
            raise InputError(
                f"{label}: it could belong to {other} or {file}; give --images a smaller folder"
            )
        files[plain_path(file)] = label
    left = len(labels) - len(files)
    how = f"no label file in {folder}"
    remark = counted(
        left,
        f"image in {images} has {how}: it is left out",
        f"images in {images} have {how}: they are left out",
    )
    said = (*_case_remarks(matched), *([remark] if left else []))
    return Images(files, plain_path(images), (folder,), said)


def _label_of(image: Path, *others: Path) -> Path | None:
    """Return the label file of an image; None where there is none.

    others: more files, of any suffix, beside which it may be.
    """
    places = [*label_places(image), *(other.with_suffix(".txt") for other in others)]
    return next((place for place in places if place.is_file()), None)


def _of_other_case(wanting: Mapping[Path, Sequence[Path]], used: set[Path]) -> dict[Path, Path]:
    """Return the label file that each image has but for the case of its name, where that is beyond doubt.

    wanting: the places where the label file of each image may be. used: the label files of other images.
    """
    listed: dict[Path, dict[str, list[Path]]] = {}
    found: dict[Path, Path] = {}
    for image, places in wanting.items():
        for place in places:
            folder = place.parent
            if folder not in listed:
                listed[folder] = _texts_in(folder)
            same = listed[folder].get(folded(place.name), [])
            if len(same) == 1 and same[0] not in used and same[0].is_file():
                found[image] = same[0]
                break
    counts = Counter(found.values())
    return {image: label for image, label in found.items() if counts[label] == 1}


def _texts_in(folder: Path) -> dict[str, list[Path]]:
    """Return the text files in a folder that may be labels, by their folded name."""
    by_name: dict[str, list[Path]] = {}
    for name in names_in(folder):
        plain = folded(name)
        if plain.endswith(".txt") and plain not in NO_LABELS and not is_hidden(name):
            by_name.setdefault(plain, []).append(folder / name)
    return by_name


def _case_remarks(matched: Mapping[Path, Path]) -> list[str]:
    """Return a sentence on labels that were found under another case, where there are some."""
    shown = first_few([f"{label.name} for {image.name}" for image, label in matched.items()])
    what = counted(len(matched), "label file has", "label files have")
    return [f"{what} a name of other case: {shown}"] if matched else []


def _no_files(wanting: Mapping[Path, Sequence[Path]]) -> list[str]:
    """Return a sentence on what lies in the place of a label file and is none, such as a folder."""
    odd = [place for places in wanting.values() for place in places if _is_no_file(place)]
    shown = first_few([str(place) for place in odd])
    what = counted(
        len(odd),
        "label file is a folder, a pipe or a broken link: its image has no objects",
        "label files are folders, pipes or broken links: their images have no objects",
    )
    return [f"{what}: {shown}"] if odd else []


def _is_no_file(path: Path) -> bool:
    return os.path.lexists(path) and not path.is_file()


def _hidden_remarks(place: Path) -> list[str]:
    """Return a sentence on images that are left out since they are hidden, though they have a label file."""
    found = [
        file.relative_to(place).as_posix()
        for file in hidden_files(place, SUFFIXES)
        if (label := _label_of(file)) is not None and looks_like_label(head_of(label))
    ]
    what = counted(
        len(found),
        "hidden image has a label file and is left out; rename it to use it",
        "hidden images have a label file and are left out; rename them to use them",
    )
    return [f"{what}: {first_few(found)}"] if found else []


def _place_of(layout: Layout, split: str, text: str) -> tuple[Path, bool] | None:
    """Return what `located` does; None where it was guessed and other splits have that place already."""
    hit = located(text, layout.bases)
    if hit is None or hit[1]:
        return hit
    taken = (place for _, _, (place, as_written) in _other_places(layout, split) if as_written)
    return None if any(_overlap(hit[0], place) for place in taken) else hit


def _other_places(layout: Layout, split: str) -> Iterator[tuple[str, str, tuple[Path, bool]]]:
    """Yield the places of other splits: the split, the place as it is written, and what `located` returns."""
    for other, texts in layout.places.items():
        for text in texts if other != split else ():
            hit = located(text, layout.bases)
            if hit is not None and text not in layout.places[split]:
                yield other, text, hit


def _overlap(one: Path, other: Path) -> bool:
    """Return whether two places are one, or one of them lies in the other."""
    return one.is_relative_to(other) or other.is_relative_to(one)


def _refuse_shared(layout: Layout, split: str, place: Path) -> None:
    """Raise InputError where a place that was guessed is also that of another split."""
    for other, text, hit in _other_places(layout, split):
        if _overlap(hit[0], place):
            both = f"{one_line(layout.places[split][0])} and {one_line(text)}"
            raise InputError(
                f"{layout.source}: {split} and {other}: {both} are not there, and both may mean {place}; "
                "correct the paths"
            )
