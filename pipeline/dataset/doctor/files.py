"""The image files of the splits, read in threads by header or as a whole, and what their folders hold."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from ..images.decoding import ImageError, file_sha256, load_deep_values, load_image, read_header
from ..images.depth import Range
from ..images.files import SUFFIXES, is_hidden
from ..images.threads import in_threads
from .subject import ImageFile, Split

# The step between the rows and columns that are looked at for colours, and what colours of grey may differ.
_GREY_STEP, _GREY_LEVELS = 4, 4


def read_files(splits: Sequence[Split], *, pixels: bool) -> dict[Path, ImageFile]:
    """Return what is known of each image file that the splits name.

    pixels: whether to read and decode the whole file, or only its header.
    """
    paths = list(dict.fromkeys(s.path(image) for s in splits for image in s.images))
    title = "reading images" if pixels else "reading image headers"
    files = in_threads(title, _decoded if pixels else _opened, paths)
    return dict(zip(paths, files, strict=True))


def _opened(path: Path) -> ImageFile:
    """Return what the header of a file says."""
    if not _exists(path):
        return ImageFile(missing=True)
    try:
        return ImageFile(header=read_header(path))
    except ImageError as error:
        return ImageFile(fault=str(error))


def _decoded(path: Path) -> ImageFile:
    """Return what the bytes and the pixels of a file say."""
    opened = _opened(path)
    header = opened.header
    if header is None:
        return opened
    try:
        values = load_deep_values(path) if header.deep else None
        if values is not None:
            if not np.isfinite(values).all():
                return ImageFile(fault="it stores pixels that are NaN or infinite")
            floating = values.dtype.kind == "f"
            deep = Range(path.name, float(values.min()), float(values.max()), floating)
            return ImageFile("", header, file_sha256(path), values.ndim == 2, deep)
        image, sha256 = load_image(path)
        return ImageFile("", header, sha256, _is_grey(image))
    except ImageError as error:
        return ImageFile(fault=str(error))


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError:  # Its header says why it cannot be read.
        return True
    except (OSError, ValueError):  # No file can have such a name.
        return False


def _is_grey(image: Image.Image) -> bool:
    """Return whether the three colours are the same in a sample of the pixels of an RGB image."""
    pixels = np.asarray(image)[::_GREY_STEP, ::_GREY_STEP].astype(np.int16)
    return int(np.ptp(pixels, axis=2).max()) <= _GREY_LEVELS


def listed_files(splits: Sequence[Split]) -> dict[Path, list[str]]:
    """Return the image files that lie in the folders of the splits' images, relative to the image folder.

    A folder in which no named image lies is not looked into: it may belong to another split.
    """
    folders: defaultdict[Path, set[str]] = defaultdict(set)
    for split in splits:
        if split.data.images is not None:
            names = [*(image.file_name for image in split.images), *split.data.unread]
            parents = (str(PurePosixPath(name).parent) for name in names)
            folders[split.data.images].update(parents)
    return {
        root: [name for inside in sorted(below) for name in _images_in(root, inside)]
        for root, below in folders.items()
    }


def _images_in(root: Path, folder: str) -> list[str]:
    """Return the names of the image files in a folder, relative to the root, in their order."""
    try:
        with os.scandir(root / folder) as entries:
            names = [e.name for e in entries if _is_image_name(e.name) and e.is_file()]
    except (OSError, ValueError):
        return []  # The rule on missing images says it.
    return [str(PurePosixPath(folder) / name) for name in sorted(names)]


def _is_image_name(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in SUFFIXES and not is_hidden(name)
