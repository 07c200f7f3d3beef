"""YOLO: a text file for each image, found beside the images or in the folder "labels" for "images"."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ....cache.errors import InputError
from ....cache.wording import counted, none_has
from ...machines.progress import progress_line
from ..images.files import SUFFIXES
from ..images.sizes import read_sizes
from .assembly import ImageObjects, coco_form
from .files import files_below, first_few, head_of, names_in, number, read_text, with_reasons
from .format import Contents, Format
from .splits import is_needed, split_in
from .yolo_images import Images, absent_splits, images_of
from .yolo_labels import LabelReader, looks_like_label
from .yolo_layout import (
    NO_LABELS,
    SINGLE,
    TEXTS,
    Layout,
    label_places,
    labels_folder,
    layout_of,
    looks_like_yolo,
)
from .yolo_yaml import MAX_UNNAMED

# The suffixes of what other programs leave beside images.
_NO_IMAGES = ("", ".json", ".xml", ".csv", ".cache", ".npy")


def splits(path: Path) -> Sequence[str]:
    """Return the splits that the YAML file names, or for which there are folders.

    Of those without images only the ones for training and validation are among them, which reading refuses.
    """
    layout = layout_of(path)
    left_out = _left_out(layout)
    return tuple(split for split in layout.places if split != SINGLE and split not in left_out)


def further_splits(path: Path) -> Sequence[str]:
    """Return the splits that are named, have no images and need none, unless no split has any."""
    return _left_out(layout_of(path))


def _left_out(layout: Layout) -> tuple[str, ...]:
    return tuple(split for split in absent_splits(layout) if not is_needed(split))


def read(path: Path, split: str | None, images: Path | None) -> Contents:
    """Read the labels of a split, and the headers of its images. Raises InputError."""
    layout = layout_of(path)
    found = images_of(layout, split or SINGLE, images)
    absent = absent_splits(layout).items()
    remarks = [f"{name}: {why}: this split is left out" for name, why in absent if name != split]
    remarks += _unlabelled(layout, found, split)
    names = _class_names(layout)
    reader = LabelReader(names, layout.named_in, layout.keypoints)
    entries, unread = _entries(found, reader)
    alone = _labels_alone(found)
    heads = {file: head_of(file) for file in alone}
    labels = [file for file, head in heads.items() if head.strip() and looks_like_label(head)]
    others = [file for file, head in heads.items() if head.strip() and file not in set(labels)]
    empty = [file for file, head in heads.items() if not head.strip()]
    remarks += [*reader.remarks(), *_no_labels(others), *_no_image(empty)]
    strange = _strange_images(found, labels)
    unread = {**unread, **dict.fromkeys(strange.values(), "its suffix is that of no image")}
    missing = {f"the image of {f.name}": _object_count(f) for f in labels if f not in strange}
    missing |= {row: _object_count(label) for row, label in found.missing.items()}
    coco = coco_form(entries, names)
    said = (*layout.remarks, *found.remarks, *remarks)
    return Contents(coco, str(layout.source), None, found.root, said, unread, missing)


def _unlabelled(layout: Layout, found: Images, split: str | None) -> list[str]:
    """Return a sentence where no image of a test split has a label file.

    Raises InputError for other splits: an image without objects should have an empty file there.
    """
    if any(found.files.values()):
        return []
    if not found.files:
        raise InputError(f"{found.root}: no image has a label file; check --images")
    if split_in(split or "") == "test":
        return [f"{none_has(len(found.files), 'image', 'a label file')}: no object is known"]
    first = next(iter(found.files))
    shown = " or ".join(str(place) for place in label_places(first))
    raise InputError(
        f"{layout.source}: {none_has(len(found.files), 'image', 'a label file')}; "
        f"{first.name} could have {shown}; write an empty file for an image without objects"
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


def _entries(found: Images, reader: LabelReader) -> tuple[list[ImageObjects], Mapping[str, str]]:
    """Return the images with their objects, and why others cannot be read. Raises InputError."""
    entries, unread = list[ImageObjects](), dict[str, str]()
    files = list(found.files)
    sizes = read_sizes(files)
    with progress_line("reading labels", len(files)) as progress:
        for file, size in zip(files, sizes, strict=True):
            progress.advance()
            name = file.relative_to(found.root).as_posix()
            if isinstance(size, str):
                unread[name] = size
                continue
            label = found.files[file]
            objects = reader.objects(read_text(label), label, size) if label else []
            entries.append(ImageObjects(name, size, objects))
    if not entries:
        raise InputError(f"{found.root}: no image can be read: {first_few(with_reasons(unread))}")
    return entries, unread


def _labels_alone(found: Images) -> list[Path]:
    """Return the text files without an image in the folders of labels."""
    used = set(found.files.values())
    among = {file.parent for file in found.files}
    return [
        file
        for folder in dict.fromkeys(found.labels)
        for file in _label_files(folder, folder in among)
        if file not in used and file.is_file()
    ]


def _strange_images(found: Images, labels: Sequence[Path]) -> dict[Path, str]:
    """Return the files beside the images that have the name of a label file, and a suffix of no image."""
    stems = {file.stem: file for file in labels}
    return {
        stems[file.stem]: file.relative_to(found.root).as_posix()
        for folder in ({image.parent for image in found.files} if stems else ())
        for file in map(folder.joinpath, names_in(folder))
        if file.stem in stems and file.suffix.lower() not in (*SUFFIXES, *TEXTS, *_NO_IMAGES)
    }


def _no_labels(files: Sequence[Path]) -> list[str]:
    """Return a sentence on text files that lie among labels and are none, where there are some."""
    what = counted(
        len(files),
        "text file among the labels is no label file",
        "text files among the labels are no label files",
    )
    few = first_few([file.name for file in files])
    return [f"{what}: {few}"] if files else []


def _no_image(files: Sequence[Path]) -> list[str]:
    """Return a sentence on empty label files without an image, which lose nothing, where there are some."""
    what = counted(len(files), "empty label file has no image", "empty label files have no image")
    return [f"{what}: {first_few([file.name for file in files])}"] if files else []


def _object_count(label: Path | None) -> int:
    """Return the number of objects in the label file of an image that is not there."""
    return sum(bool(row.strip()) for row in read_text(label).splitlines()) if label else 0


YOLO = Format(
    "YOLO (data.yaml, or folders of images and labels)",
    looks_like_yolo,
    splits,
    read,
    further_splits,
)
