"""The image that each XML file of Pascal VOC belongs to: the one it names, or the one of its own name."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from ....cache.errors import InputError
from ....cache.wording import counted
from ..images.files import SUFFIXES, is_hidden
from ..images.names import folded
from .files import first_few, plain_path, shared_folder
from .voc_xml import VocImage

# The folders that XML files lie in where their images lie in one of the others.
_OF_XML = ("annotations", "annotation", "xmls", "xml", "labels")
_OF_IMAGES = ("JPEGImages", "images", "Images", "image", "imgs", "img")


def named_images(
    parsed: Sequence[VocImage], path: Path, images: Path | None, known: set[str]
) -> tuple[list[str], Path | None, list[str]]:
    """Return the name of the image of each XML file, the folder that names are relative to, and remarks.

    path: the data set. images: the folder that the user named. known: the names, without suffix, of all XML
    files of the data set. The folder is None where no image is found. Raises InputError where two files
    belong to one image.
    """
    finder = _Finder(path, images)
    found = [finder.image_of(entry) for entry in parsed]
    _refuse_shared(parsed, found)
    there = [file for file in found if file is not None]
    if not there:
        return [_given_name(entry) for entry in parsed], None, []
    root = plain_path(images) if images else shared_folder(there)
    names = [
        _given_name(entry) if file is None else file.relative_to(root).as_posix()
        for entry, file in zip(parsed, found, strict=True)
    ]
    return names, root, finder.remarks(list(zip(parsed, found, strict=True)), known)


def _given_name(entry: VocImage) -> str:
    """Return the name of an image that is not there, for the message that says so."""
    return PurePosixPath(entry.filename).name or f"{entry.file.stem}.jpg"


def _refuse_shared(parsed: Sequence[VocImage], found: Sequence[Path | None]) -> None:
    owners: dict[Path, Path] = {}
    for entry, file in zip(parsed, found, strict=True):
        if file is not None and (other := owners.setdefault(file, entry.file)) != entry.file:
            raise InputError(
                f"{entry.file}: filename: {entry.filename!r} means the image {file}, and so does {other}; "
                "take <filename> out where it is wrong: then the name of the XML file counts"
            )


@dataclass(slots=True)
class _Finder:
    """A finder of images, which lists each folder once; names are compared as `folders.actual_names` does."""

    path: Path
    images: Path | None
    listed: dict[Path, dict[str, list[str]]] = field(default_factory=dict)
    looked: dict[Path, list[Path]] = field(default_factory=dict)

    def image_of(self, entry: VocImage) -> Path | None:
        """Return the image of an XML file; None where there is none."""
        here = entry.file.parent
        if here not in self.looked:
            self.looked[here] = list(dict.fromkeys(self._folders(plain_path(here))))
        given = PurePosixPath(entry.filename)
        tried = [given.name, given.stem] if entry.filename else []
        for name in [*tried, entry.file.stem]:
            for folder in self.looked[here]:
                if len(found := self._in(folder).get(folded(name), [])) == 1:
                    return folder / found[0]
        return None

    def remarks(self, pairs: Sequence[tuple[VocImage, Path | None]], known: set[str]) -> list[str]:
        """Return sentences on images under another name than the XML says, and on those without XML."""
        there = [file for _, file in pairs if file is not None]
        other = [
            f"{entry.filename} as {file.name}"
            for entry, file in pairs
            if file is not None and PurePosixPath(entry.filename).name not in ("", file.name)
        ]
        used, stems = set(there), {folded(stem) for stem in known}
        without = [
            name
            for folder in dict.fromkeys(file.parent for file in there)
            for name in ([] if self.path.is_file() else _image_names(folder))
            if folder / name not in used and folded(PurePosixPath(name).stem) not in stems
        ]
        said = []
        if other:
            what = counted(
                len(other),
                "image has another name than its XML says",
                "images have another name than their XML says",
            )
            said.append(f"{what}: {first_few(other)}")
        if without:
            what = counted(
                len(without),
                "image has no XML file and is left out",
                "images have no XML file and are left out",
            )
            said.append(f"{what}: {first_few(without)}")
        return said

    def _folders(self, here: Path) -> Iterator[Path]:
        """Yield the folders in which the images of a folder of XML files may be, the likeliest first."""
        if self.images is not None:
            root = plain_path(self.images)
            yield from self._mirrored(root, here)
            return
        yield here
        parts = here.parts
        for k in range(len(parts) - 1, 0, -1):
            if parts[k].casefold() in _OF_XML:
                above = k - 1 if parts[k - 1].casefold() in _OF_XML else k  # annotations/xmls
                for name in _OF_IMAGES:
                    yield Path(*parts[:above], name, *parts[k + 1 :])
                    yield Path(*parts[:above], name)
                yield Path(*parts[:above])
                break
        bases = (
            (here, here.parent)
            if self.path.is_file()
            else (here, here.parent, plain_path(self.path))
        )
        for base in bases:
            yield from (base / name for name in _OF_IMAGES)

    def _mirrored(self, root: Path, here: Path) -> Iterator[Path]:
        """Yield the folders below the images' folder that correspond to that of an XML file, then itself."""
        parts = here.parts
        for k in range(len(parts) - 1, 0, -1):
            yield root.joinpath(*parts[k:])
            yield from (root.joinpath(*parts[k:], name) for name in _OF_IMAGES)
        yield root
        yield from (root / name for name in _OF_IMAGES)

    def _in(self, folder: Path) -> dict[str, list[str]]:
        """Return the names of the images in a folder by their folded name, and by that without suffix."""
        if folder not in self.listed:
            by_name: dict[str, list[str]] = {}
            for name in _image_names(folder):
                for key in {folded(name), folded(PurePosixPath(name).stem)}:
                    by_name.setdefault(key, []).append(name)
            self.listed[folder] = by_name
        return self.listed[folder]


def _image_names(folder: Path) -> list[str]:
    """Return the names of the images in a folder; none where there is no such folder."""
    if not folder.is_dir():
        return []
    names = sorted(os.listdir(folder))  # noqa: PTH208
    return [n for n in names if PurePosixPath(n).suffix.lower() in SUFFIXES and not is_hidden(n)]
