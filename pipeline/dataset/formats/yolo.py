"""YOLO: a text file for each image, found beside the images or in the folder "labels" for "images"."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ....cache.errors import InputError
from ...machines.progress import progress_line
from ..image_files import find_images
from ..image_sizes import read_sizes
from .assembly import ImageObjects, coco_form
from .files import (
    MAX_TABLE_BYTES,
    files_below,
    first_few,
    head_of,
    number,
    one_line,
    plain_path,
    read_text,
    shared_folder,
)
from .format import Contents, Format
from .splits import split_in
from .yolo_labels import LabelReader, looks_like_label
from .yolo_layout import (
    NO_LABELS,
    SINGLE,
    TEXTS,
    Layout,
    label_places,
    labels_folder,
    layout_of,
    located,
    looks_like_yolo,
)
from .yolo_yaml import MAX_UNNAMED


@dataclass(frozen=True, slots=True)
class _Images:
    """The images of a split, each with its label file if it has one.

    root: the folder that their names are relative to. labels: the folders that hold labels of this split
    alone. remarks: what was assumed.
    """

    files: dict[Path, Path | None]
    root: Path
    labels: tuple[Path, ...] = ()
    remarks: tuple[str, ...] = ()


def splits(path: Path) -> Sequence[str]:
    """Return the splits that the YAML file names, or for which there are folders."""
    return tuple(split for split in layout_of(path).places if split != SINGLE)


def read(path: Path, split: str | None, images: Path | None) -> Contents:
    """Read the labels of a split, and the headers of its images. Raises InputError."""
    layout = layout_of(path)
    found = _images_of(layout, split or SINGLE, images)
    remarks = _unlabelled(layout, found, split)
    names = _class_names(layout)
    reader = LabelReader(names, layout.named_in, layout.keypoints)
    entries, unread = _entries(found, reader)
    if unread:
        remarks.append(f"{len(unread)} images cannot be read and are left out: {first_few(unread)}")
    remarks += [*reader.remarks(), *_unused_labels(found)]
    coco = coco_form(entries, names)
    return Contents(
        coco, str(layout.source), None, found.root, (*layout.remarks, *found.remarks, *remarks)
    )


def _images_of(layout: Layout, split: str, images: Path | None) -> _Images:
    """Return the images of a split. Raises InputError."""
    parts = [_images_at(layout, split, text, images) for text in layout.places[split]]
    files = {file: label for part in parts for file, label in part.files.items()}
    root = plain_path(images) if images else Path(os.path.commonpath([p.root for p in parts]))
    outside = [file for file in files if not file.is_relative_to(root)]
    if outside:
        raise InputError(
            f"--images {images}: {len(outside)} images lie outside of it: {outside[0]}"
        )
    return _Images(
        files,
        root,
        tuple(folder for part in parts for folder in part.labels),
        tuple(remark for part in parts for remark in part.remarks),
    )


def _images_at(layout: Layout, split: str, text: str, images: Path | None) -> _Images:
    """Return the images in a folder, or in a list, as the data set writes its path."""
    hit = located(text, layout.bases)
    if hit is None and images is None:
        shown = ", ".join(dict.fromkeys(str(base) for base in layout.bases))
        what = f"{split}: " if split else ""
        raise InputError(
            f"{layout.source}: {what}{one_line(text)}: no such folder or list of images; looked below "
            f"{shown}"
        )
    remarks: tuple[str, ...] = ()
    if hit is not None and not hit[1]:
        _refuse_shared(layout, split, hit[0])
        remarks = (f"{one_line(text)} is not there: {hit[0]} is taken",)
    place = hit[0] if hit else layout.bases[0] / text
    if place.is_file():
        listed, guessed = _listed(place, layout, images)
        files = {file: _label_of(file) for file in listed}
        return _Images(files, shared_folder(listed), (), (*remarks, *guessed))
    if images is not None and not place.is_relative_to(plain_path(images)):
        return _moved(place, images)
    files = {file: _label_of(file) for file, _ in find_images([place], quiet=True)}
    labels = labels_folder(place)
    return _Images(files, place, (labels,) if labels else (), remarks)


def _listed(file: Path, layout: Layout, images: Path | None) -> tuple[list[Path], list[str]]:
    """Return the images that a text file lists, a path in each line, and a remark on those taken instead.

    Raises InputError where an image is nowhere, and where two rows mean one.
    """
    rows = [row.strip() for row in read_text(file, MAX_TABLE_BYTES).splitlines()]
    bases = [*([images] if images else []), file.parent, *layout.bases]
    found: dict[Path, str] = {}
    lost, guessed = [], []
    for line, row in enumerate(rows, 1):
        hit = located(row, bases)
        hit = hit if hit is not None and hit[0].is_file() else None
        if hit is not None and found.setdefault(hit[0], row) != row:
            raise InputError(
                f"{file}: line {line}: {row!r} and {found[hit[0]]!r} are one file, {hit[0]}"
            )
        if hit is not None and not hit[1]:
            guessed.append(f"{one_line(row)} as {hit[0]}")
        if row and hit is None:
            lost.append(f"{row[:200]} (line {line})")
    if lost:
        raise InputError(
            f"{file}: {len(lost)} of {len(rows)} images are nowhere: {first_few(lost)}"
        )
    if not found:
        raise InputError(f"{file}: expected the path of an image in each line, got none")
    what = "images of the list are not there, and were found in another folder, e.g."
    return list(found), [f"{file.name}: {len(guessed)} {what} {guessed[0]}"] if guessed else []


def _moved(place: Path, images: Path) -> _Images:
    """Return the images in another folder than the labels expect: only those that have a label file."""
    folder = labels_folder(place)
    if folder is None:
        looked = " and ".join(dict.fromkeys(str(p.parent) for p in label_places(place / "x.jpg")))
        raise InputError(f"{place}: there are no label files (.txt) for it in {looked}")
    files: dict[Path, Path | None] = {}
    used: dict[Path, Path] = {}
    left = 0
    for file, name in find_images([images], quiet=True):
        label = _label_of(file, folder / name, folder / file.name)
        if label is None:
            left += 1
            continue
        if (other := used.setdefault(label, file)) != file:
            raise InputError(
                f"{label}: it could belong to {other} or {file}; give --images a smaller folder"
            )
        files[plain_path(file)] = label
    remark = f"{left} images in {images} have no label file in {folder}: they are left out"
    return _Images(files, plain_path(images), (folder,), (remark,) if left else ())


def _label_of(image: Path, *others: Path) -> Path | None:
    """Return the label file of an image; None where there is none.

    others: more files, of any suffix, beside which it may be.
    """
    places = [*label_places(image), *(other.with_suffix(".txt") for other in others)]
    return next((place for place in places if place.is_file()), None)


def _refuse_shared(layout: Layout, split: str, place: Path) -> None:
    """Raise InputError where a place that was guessed is also that of another split."""
    mine = layout.places[split]
    for other, texts in layout.places.items():
        for text in texts if other != split else ():
            hit = located(text, layout.bases)
            if hit is not None and hit[0] == place and text not in mine:
                both = f"{one_line(mine[0])} and {one_line(text)}"
                raise InputError(
                    f"{layout.source}: {split} and {other}: {both} are not there, and both may mean {place}; "
                    "correct the paths"
                )


def _unlabelled(layout: Layout, found: _Images, split: str | None) -> list[str]:
    """Return a sentence where no image of a test split has a label file.

    Raises InputError for other splits: an image without objects should have an empty file there.
    """
    if any(found.files.values()):
        return []
    if not found.files:
        raise InputError(f"{found.root}: no image has a label file; check --images")
    if split_in(split or "") == "test":
        return [f"none of its {len(found.files)} images has a label file: no object is known"]
    first = next(iter(found.files))
    shown = " or ".join(str(place) for place in label_places(first))
    raise InputError(
        f"{layout.source}: none of its {len(found.files)} images has a label file; {first.name} could "
        f"have {shown}; write an empty file for an image without objects"
    )


def _class_names(layout: Layout) -> dict[int, str]:
    """Return the names of the classes: those given, or numbers up to the highest that any label has."""
    if layout.names is not None:
        return dict(layout.names)
    highest = max((n for file in _all_labels(layout) for n in _class_numbers(file)), default=0.0)
    if highest >= MAX_UNNAMED:
        raise InputError(
            f"{layout.source}: class {highest:g}: expected classes below {MAX_UNNAMED} where no file "
            "such as classes.txt names them"
        )
    return {k: f"class {k}" for k in range(int(max(highest, 0)) + 1)}


def _all_labels(layout: Layout) -> Iterator[Path]:
    for texts in layout.places.values():
        for text in texts:
            if (folder := labels_folder(Path(text))) is not None:
                yield from _label_files(folder, folder == Path(text))


def _label_files(folder: Path, among_images: bool) -> Iterator[Path]:
    """Yield the label files below a folder. among_images: whether other text files may be there too."""
    for file in files_below(folder, TEXTS):
        if file.name.lower() in NO_LABELS:
            continue
        if not among_images or looks_like_label(head_of(file)):
            yield file


def _class_numbers(file: Path) -> Iterator[float]:
    for row in read_text(file).splitlines():
        value = number(row.split()[0]) if row.strip() else None
        if value is not None:
            yield value


def _entries(found: _Images, reader: LabelReader) -> tuple[list[ImageObjects], list[str]]:
    """Return the images with their objects, and why others cannot be read. Raises InputError."""
    entries, unread = [], []
    files = list(found.files)
    sizes = read_sizes(files)
    with progress_line("reading labels", len(files)) as progress:
        for file, size in zip(files, sizes, strict=True):
            progress.advance()
            name = file.relative_to(found.root).as_posix()
            if isinstance(size, str):
                unread.append(f"{name} ({size})")
                continue
            label = found.files[file]
            objects = reader.objects(read_text(label), label, size) if label else []
            entries.append(ImageObjects(name, size, objects))
    if not entries:
        raise InputError(f"{found.root}: no image can be read: {first_few(unread)}")
    return entries, unread


def _unused_labels(found: _Images) -> list[str]:
    """Return a sentence on label files without an image, where there are some."""
    used = set(found.files.values())
    among = {file.parent for file in found.files}
    unused = [
        file.name
        for folder in dict.fromkeys(found.labels)
        for file in _label_files(folder, folder in among)
        if file not in used
    ]
    few = first_few(unused)
    return [f"{len(unused)} label files have no image and are left out: {few}"] if unused else []


YOLO = Format("YOLO (data.yaml, or folders of images and labels)", looks_like_yolo, splits, read)
