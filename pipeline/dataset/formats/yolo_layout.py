"""The places of the parts of a YOLO data set, from a YAML file, obj.data, or a bare folder."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path, PurePosixPath, PureWindowsPath

from ....cache.errors import InputError
from .files import (
    has_file,
    has_image,
    head_of,
    is_closed,
    names_in,
    one_line,
    plain_path,
    read_text,
    some_files,
)
from .splits import SAME, SPLITS, by_split, split_folders, split_in, usual_name
from .yolo_labels import looks_like_label
from .yolo_names import (
    KEYPOINTS,
    NAME_FILES,
    NO_KEYPOINTS,
    USUAL,
    YAML,
    has_key,
    listed_names,
    names_above,
    names_files,
    names_of,
    with_keypoints,
)
from .yolo_paths import is_there, located
from .yolo_yaml import NOTHING, shown, split_places, yaml_mapping, yaml_names

SINGLE = ""
"""The key of `Layout.places` where a data set has no splits."""
TEXTS = frozenset({".txt"})
_DARKNET = (".data",)
# Text files beside labels that are none.
NO_LABELS = frozenset(
    {*NAME_FILES, "labels.txt", "train.txt", "val.txt", "valid.txt", "test.txt", "readme.txt"}
    | {"readme.dataset.txt", "readme.roboflow.txt", "notes.txt", "requirements.txt", "license.txt"}
)
# The folders that hold labels where the other one of the pair holds images; one folder may hold both.
_PAIRS = (
    ("images/{}", "labels/{}"),
    ("images/{}", "images/{}"),
    ("{}/images", "{}/labels"),
    ("{}", "{}"),
)
# How many text files are looked at before a folder is taken for one without labels.
_TRIED = 50
_IMAGES_PART = ("images", "jpegimages")


@dataclass(frozen=True, slots=True)
class Layout:
    """The parts of a YOLO data set.

    source: its file or folder, for messages. names: the names of the classes by number, None where nothing
    says them. named_in: what says them. places: for each split the folders, and the lists of files, that hold
    its images, as they are written. bases: the folders that relative paths may be relative to, the likeliest
    first. keypoints: whether keypoints follow each box. remarks: what was assumed.
    """

    source: Path
    names: Mapping[int, str] | None
    named_in: str
    places: Mapping[str, tuple[str, ...]]
    bases: tuple[Path, ...]
    keypoints: bool = False
    remarks: tuple[str, ...] = ()


def looks_like_yolo(path: Path) -> bool:
    """Return whether a path is a description of a YOLO data set, or a folder with one or with labels."""
    if path.is_file():
        return path.suffix.lower() in (*YAML, *_DARKNET)
    return path.is_dir() and bool(_descriptions_in(path) or _places_in(path))


def layout_of(path: Path) -> Layout:
    """Return the layout of a YOLO data set. Raises InputError."""
    if path.is_file():
        return _of_darknet(path) if path.suffix.lower() in _DARKNET else _of_yaml(path)
    described = _descriptions_in(path)
    if len(described) > 1:
        shown = ", ".join(file.name for file in described[:4])
        raise InputError(f"{path}: it has several descriptions: {shown}; name the one to read")
    if described:
        return layout_of(described[0])
    places = _places_in(path)
    if places is None:
        raise InputError(
            f"{path}: expected data.yaml, or label files (.txt) in labels/ or beside the images; found none"
        )
    return _of_folder(path, places)


def label_places(image: Path) -> Iterator[Path]:
    """Yield where the label file of an image may be: in the folder "labels" for "images", or beside it."""
    parts = image.parts
    for k in range(len(parts) - 2, -1, -1):
        if parts[k].casefold() in _IMAGES_PART:
            for labels in ("labels", "Labels"):
                yield Path(*parts[:k], labels, *parts[k + 1 :]).with_suffix(".txt")
            break
    yield image.with_suffix(".txt")


def labels_folder(images: Path) -> Path | None:
    """Return the folder of the labels of a folder of images, which may be that folder itself."""
    for place in label_places(images / "x.jpg"):
        if has_file(place.parent, TEXTS):
            return place.parent
    return None


def _of_yaml(file: Path) -> Layout:
    data = yaml_mapping(file)
    names = yaml_names(data, file)
    places = {s: split_places(data[s], f"{file}: {s}") for s in SPLITS if s in data}
    places = {split: values for split, values in places.items() if values}
    keypoints = KEYPOINTS in data
    root = data.get("path", "")
    if not isinstance(root, str):
        raise InputError(f"{file}: path: expected a folder, got {shown(root)}")
    bases = tuple(_bases(file, root))
    remarks = [NO_KEYPOINTS] if keypoints else []
    relative = not places or not all(map(_is_absolute, chain.from_iterable(places.values())))
    if relative and bases == (file.parent,) and root.strip().lower() not in NOTHING:
        remarks.append(f"path: {one_line(root)} is not there: {file.parent.absolute()} is taken")
    if not places:
        places, remark = _found_places(file, bases)
        remarks.append(remark)
    else:
        remarks += _unnamed(file, places, bases)
    return Layout(file, names, f"{file.name} names", places, bases, keypoints, tuple(remarks))


def _is_absolute(text: str) -> bool:
    """Return whether a path is absolute, on this machine or on another one."""
    return PurePosixPath(text).is_absolute() or PureWindowsPath(text).is_absolute()


def _found_places(file: Path, bases: Sequence[Path]) -> tuple[dict[str, tuple[str, ...]], str]:
    """Return the places of a set whose description names none, and a remark on them. Raises InputError."""
    for base in bases:
        if (places := _places_in(base)) is not None:
            return places, f"{file.name} names no split: the folders in {base.absolute()} are taken"
    raise InputError(
        f"{file}: expected the images of a split under 'train', 'val' or 'test', or folders images and "
        "labels beside it, got none"
    )


def _unnamed(
    file: Path, places: Mapping[str, Sequence[str]], bases: Sequence[Path]
) -> Iterator[str]:
    """Yield a sentence for each split whose folder is there and which the description does not name."""
    named = {usual_name(split) for split in places}
    if named >= set(SAME):
        return
    hits = [located(text, bases) for texts in places.values() for text in texts]
    used = [hit[0] for hit in hits if hit is not None]
    for split, texts in (_places_in(bases[0]) or {}).items():
        place = Path(texts[0])
        apart = not any(place.is_relative_to(p) or p.is_relative_to(place) for p in used)
        if split != SINGLE and usual_name(split_in(split) or split) not in named and apart:
            shown = os.path.relpath(place, bases[0])
            yield (
                f"{file.name} does not name the split in {shown}, which is left out: write "
                f"'{usual_name(split_in(split) or split)}: {shown}' into it to use that"
            )


def _bases(file: Path, path: str) -> Iterator[Path]:
    """Yield the folders that the paths of a YAML file may be relative to.

    ultralytics takes "path" as relative to a folder of data sets, which may be the folder above or beside.
    """
    here = file.parent
    if path.strip().lower() not in NOTHING:
        path = path.strip().replace("\\", "/").rstrip("/") or "/"
        above = here.absolute().parent
        for base in (here, above, above / "datasets", Path(), Path("datasets")):
            if is_there(base / path):
                yield base / path
    yield here


def _of_darknet(file: Path) -> Layout:
    """Return the layout that darknet's obj.data gives, lines such as "train = data/train.txt"."""
    rows = [row.partition("=") for row in read_text(file).splitlines()]
    given = {key.strip(): value.strip() for key, equals, value in rows if equals}
    places: dict[str, tuple[str, ...]] = {s: (given[s],) for s in SPLITS if given.get(s)}
    if not given.get("names"):
        raise InputError(
            f"{file}: expected lines 'names = ...' and 'train = ...', got {sorted(given)[:9]}"
        )
    remarks: tuple[str, ...] = ()
    if not places:
        places, remark = _found_places(file, [file.parent])
        remarks = (remark,)
    found = located(given["names"], [file.parent])
    if found is None:
        raise InputError(f"{file}: names: {given['names']}: no such file below {file.parent}")
    names = listed_names(found[0])
    return Layout(file, names, f"{found[0].name} names", places, (file.parent,), remarks=remarks)


def _descriptions_in(folder: Path) -> list[Path]:
    """Return the YAML files, or the obj.data, that describe the data set in a folder: the usual one alone."""
    files = [folder / n for n in names_in(folder) if n.lower().endswith((*YAML, *_DARKNET))]
    described = [p for p in files if p.is_file() and _describes(p)]
    usual = [p for p in described if p.name.lower() in (*USUAL, f"{folder.name}.yaml".lower())]
    return usual if len(usual) == 1 else described


def _describes(file: Path) -> bool:
    """Return whether a file describes a data set, from the keys at its beginning, or its name alone."""
    if is_closed(file):
        return file.name.lower() in USUAL  # Why it cannot be read is said where it is read.
    text = head_of(file)
    if file.suffix.lower() in _DARKNET:
        return bool(re.search(r"(?m)^\s*names\s*=", text))
    named = has_key(text, "names", "nc")
    return named and has_key(text, *SPLITS, "path")


def _places_in(folder: Path) -> dict[str, tuple[str, ...]] | None:
    """Return the places of the images of a bare folder, as `Layout` has them; None where it has no labels."""
    folder = folder.absolute()
    for images, labels in _PAIRS:
        both = (folder / part.partition("{")[0] for part in (labels, images))
        splits = by_split({name for base in both for name in split_folders(base).values()})
        pairs = {
            s: (folder / images.format(n), folder / labels.format(n)) for s, n in splits.items()
        }
        labelled = {split for split, pair in pairs.items() if _holds_labels(pair[1], pair[0])}
        if labelled:
            return {s: (str(p[0]),) for s, p in pairs.items() if s in labelled or has_image(p[0])}
    for name in ("images", "Images", "JPEGImages"):
        labels_of = labels_folder(folder / name)
        if labels_of is not None and _holds_labels(labels_of, folder / name):
            return {SINGLE: (str(folder / name),)}
    return _places_of_one(folder)


def _places_of_one(folder: Path) -> dict[str, tuple[str, ...]] | None:
    """Return the place of a folder that holds images, labels, or both."""
    labels = labels_folder(folder) if has_image(folder) else None
    if labels is not None and _holds_labels(labels, folder):
        return {SINGLE: (str(folder),)}
    parts = folder.parts
    for k in range(len(parts) - 1, -1, -1):
        if parts[k].casefold() == "labels" and _holds_labels(folder, folder.with_name("images")):
            return {SINGLE: (str(Path(*parts[:k], "images", *parts[k + 1 :])),)}
    return None


def _holds_labels(folder: Path, images: Path) -> bool:
    """Return whether a folder holds label files.

    Where images are in the same folder, a text file may be anything, and its beginning is looked at.
    """
    if not folder.is_dir():
        return False
    texts = (p for p in some_files(folder, TEXTS) if p.name.lower() not in NO_LABELS)
    return any(folder != images or looks_like_label(head_of(p)) for p in islice(texts, _TRIED))


def _of_folder(folder: Path, places: Mapping[str, tuple[str, ...]]) -> Layout:
    """Return the layout of a bare folder, with the class names of a file in it or above it."""
    inside = [Path(place) for values in places.values() for place in values]
    labels = [found for place in inside if (found := labels_folder(place)) is not None]
    near = dict.fromkeys([folder, folder / "labels", *labels, *(p.parent for p in labels), *inside])
    files = [file for place in near for file in names_files(place)]
    if not files:
        return _named_above(folder, places)
    names = [names_of(file) for file in files]
    for file, other in zip(files[1:], names[1:], strict=True):
        if other != names[0]:
            raise InputError(
                f"{file}: its classes differ from those of {files[0]}; make them one list"
            )
    keypoints = any(map(with_keypoints, files))
    remarks = (NO_KEYPOINTS,) if keypoints else ()
    named_in = f"{files[0].name} names"
    return Layout(folder, names[0], named_in, places, (folder,), keypoints, remarks)


def _named_above(folder: Path, places: Mapping[str, tuple[str, ...]]) -> Layout:
    """Return the layout of a folder with the class names that a file in the two folders above gives."""
    inside = {plain_path(Path(place)) for values in places.values() for place in values}
    for above in list(folder.absolute().parents)[:2]:
        for layout in _layouts_in(above):
            found = [
                located(text, layout.bases) for texts in layout.places.values() for text in texts
            ]
            if any(hit is not None and hit[0] in inside for hit in found):
                return _named_by(layout.source, layout.names, folder, places, layout.keypoints)
        for file in names_above(above):
            return _named_by(file, names_of(file), folder, places, with_keypoints(file))
    remark = "no file such as classes.txt names the classes: they are called by their number"
    return Layout(folder, None, "", places, (folder,), remarks=(remark,))


def _layouts_in(folder: Path) -> Iterator[Layout]:
    # A folder above that may not be listed describes nothing.
    if os.access(folder, os.R_OK | os.X_OK):
        yield from (layout_of(file) for file in _descriptions_in(folder) if not is_closed(file))


def _named_by(
    file: Path,
    names: Mapping[int, str] | None,
    folder: Path,
    places: Mapping[str, tuple[str, ...]],
    keypoints: bool,
) -> Layout:
    remarks = [f"the class names are those of {file}", *([NO_KEYPOINTS] if keypoints else [])]
    named_in = f"{file.name} names"
    return Layout(folder, names, named_in, places, (folder,), keypoints, tuple(remarks))
