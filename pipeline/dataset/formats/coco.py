"""COCO JSON, a file or a folder with a file for each split, and LVIS, which adds fields to it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from ....cache.errors import InputError
from ..coco.reading import COVERAGE, decoded
from .coco_repairs import RepeatedKey, once, repaired
from .files import head_of, is_closed, names_in
from .format import Contents, Format
from .splits import SPLITS, refuse_unlabelled, split_folders, with_unlabelled

# What the file is called that lies among the images of a split, by Roboflow and others, and by FiftyOne.
_AMONG_IMAGES = ("_annotations.coco.json", "annotations.json", "labels.json")
# Where folders keep the file of a split; the star stands for what follows the split's name (val2017).
_PLACES = (
    "annotations/instances_{split}*.json",
    "annotations/{split}*.json",
    "{split}*.json",
    *(f"{{split}}/{name}" for name in _AMONG_IMAGES),
    "lvis_v1_{split}.json",
    "annotations/lvis_v1_{split}.json",
)


def recognises(path: Path) -> bool:
    """Return whether a path is a JSON file, or a folder in which JSON files of COCO's form lie."""
    if path.is_file():
        return path.suffix.lower() == ".json"
    return any(True for _ in _files(path))


def splits(path: Path) -> Sequence[str]:
    """Return the names of the splits in a folder; () for a file, and for a folder with one file."""
    if path.is_file():
        return ()
    _refuse_closed(path)
    return with_unlabelled(path, _labelled(path))


def _labelled(path: Path) -> tuple[str, ...]:
    """Return the splits in a folder for which there is a file."""
    return () if path.is_file() else tuple(split for split in SPLITS if _of_split(path, split))


def _refuse_closed(path: Path) -> None:
    """Raise InputError where a folder that may hold annotations may not be looked into."""
    for folder in (path, path / "annotations", *(path / n for n in split_folders(path).values())):
        names_in(folder)


def read(path: Path, split: str | None, images: Path | None) -> Contents:
    """Read a COCO JSON file. Raises InputError."""
    left_out = refuse_unlabelled(path, split, _labelled(path), "a COCO JSON file for them")
    file = _file(path, split)
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise InputError(f"annotations {file}: {error.strerror}") from error
    try:
        given = decoded(raw, str(file), once)
    except RepeatedKey as error:
        raise InputError(
            f"{file}: {error}, and what the first one holds would be lost; take one of them out, or join them"
        ) from error
    data, remarks = repaired(given)
    said = (*left_out, *remarks)
    return Contents(data, str(file), raw if data is given else None, remarks=said)


def read_lvis(path: Path, split: str | None, images: Path | None) -> Contents:
    """Read an LVIS JSON file. Raises InputError where no image says which classes it was checked for."""
    contents = read(path, split, images)
    entries = contents.coco.get("images")
    of_image = entries[0] if isinstance(entries, list) and entries else None
    if not isinstance(of_image, dict) or any(name not in of_image for name in COVERAGE):
        raise InputError(
            f"{contents.source}: --format lvis: expected {' and '.join(COVERAGE)} in images[0]; "
            "without them give --format coco"
        )
    return contents


def _file(path: Path, split: str | None) -> Path:
    if path.is_file():
        return path
    found = _of_split(path, split) if split else list(_files(path))
    if len(found) != 1:
        shown = ", ".join(str(p.relative_to(path)) for p in found[:4]) or "none"
        raise InputError(
            f"{path}: expected one COCO JSON file, found {shown}; name the file itself"
        )
    return found[0]


def _of_split(path: Path, split: str) -> list[Path]:
    for place in _PLACES:
        found = [p for p in sorted(path.glob(place.format(split=split))) if _is_of(p, split)]
        if found:
            return found
    return []


def _is_of(path: Path, split: str) -> bool:
    """Return whether val*.json is val.json or val2017.json, and not validation.json, and COCO's form."""
    stem = path.stem.removeprefix("instances_").removeprefix("lvis_v1_")
    named = path.name in _AMONG_IMAGES or re.fullmatch(f"{split}\\d*", stem)
    return bool(named) and (is_closed(path) or _looks_like_coco(path))


def _files(path: Path) -> Iterator[Path]:
    """Yield the JSON files of COCO's form in a folder, its folder "annotations" and its folders of splits."""
    own = (f"{f}/{name}" for f in split_folders(path).values() for name in _AMONG_IMAGES[1:])
    for pattern in ("*.json", "annotations/*.json", f"*/{_AMONG_IMAGES[0]}", *own):
        yield from (p for p in sorted(path.glob(pattern)) if _looks_like_coco(p))


def _looks_like_coco(path: Path) -> bool:
    """Return whether a file has the lists of COCO's form; a short one that only lists classes has not."""
    head = head_of(path)
    cut = not head.rstrip().endswith("}")
    wanted = ("images", "annotations", "categories") if cut else ("images",)
    return any(f'"{name}"' in head for name in wanted)


COCO = Format("COCO JSON", recognises, splits, read)
LVIS = Format("LVIS JSON", lambda path: False, splits, read_lvis)
