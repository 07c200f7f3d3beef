"""A check of the image files against the annotations, made before long work starts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ...cache.errors import InputError
from ...cache.layout import ImageEntry
from ...cache.windows import Window
from ...cache.wording import counted
from ..machines.progress import progress_line
from .formats.files import first_few, with_reasons
from .images.decoding import ImageError, ImageHeader, read_header, read_header_of_any_size
from .tiling import files_of, is_tiled, photographs_of

log = logging.getLogger(__name__)


def check_images(folder: Path, images: Sequence[ImageEntry]) -> None:
    """Compare the header of every file with the annotations; unreadable files are logged.

    Of tiles the photographs are looked at, in which they must lie. Raises InputError for missing files and
    for sizes that differ. Messages give their number and the first few.
    """
    check_there(folder, images)
    tiled = is_tiled(images)
    files = photographs_of(images) if tiled else images
    differing, unread, turned, ignored = [], dict[str, str](), 0, 0
    with (
        progress_line("reading image headers", len(files)) as progress,
        ThreadPoolExecutor(8) as pool,
    ):
        read = read_header_of_any_size if tiled else read_header
        headers = pool.map(lambda image: _header(read, folder / image.file_name), files)
        for image, header in zip(files, headers, strict=True):
            progress.advance()
            if isinstance(header, str):
                unread[image.file_name] = header
                continue
            rotate = header.rotate(image.hw)
            if tiled and Window(0, 0, image.hw[1], image.hw[0]).lies_in(header.upright_hw):
                continue
            if rotate is None or tiled:
                differing.append(
                    f"{image.file_name} (file {_size(header.upright_hw)}, "
                    f"annotations {_size(image.hw)})"
                )
            elif header.orientation != 1:
                turned, ignored = turned + rotate, ignored + (not rotate)
    _tell(differing, unread, len(files))
    if turned or ignored:
        log.warning(
            "EXIF rotation: applied to %d images; ignored for %d, whose annotations name the size "
            "of the unrotated file",
            turned,
            ignored,
        )


def _tell(differing: Sequence[str], unread: Mapping[str, str], count: int) -> None:
    """Raise InputError for files of other sizes, and log those that cannot be read."""
    if differing:
        raise InputError(
            f"{counted(len(differing), 'image differs', 'images differ')} in size from what the annotations "
            f"say: {first_few(differing)}; these annotations belong to other files"
        )
    if unread:
        log.warning(
            "%d of %s cannot be read, and %s left out: %s",
            len(unread),
            counted(count, "image"),
            "is" if len(unread) == 1 else "are",
            first_few(with_reasons(unread)),
        )


def check_there(folder: Path, images: Sequence[ImageEntry]) -> None:
    """Check that every image file exists. Raises InputError for missing files."""
    if not folder.is_dir():
        raise InputError(f"--images {folder}: no such folder")
    names = files_of(images)
    missing = [name for name in names if not _is_file(folder / name)]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(names)} images are missing below {folder}: {first_few(missing)}; "
            "check --images"
        )


def _is_file(path: Path) -> bool:
    """Return whether a file is there. Raises InputError where its folder is closed."""
    try:
        return path.is_file()
    except PermissionError as error:
        raise InputError(f"--images: {path}: {error.strerror}") from error
    except OSError:  # The name is too long.
        return False


def _header(read: Callable[[Path], ImageHeader], path: Path) -> ImageHeader | str:
    """Return the header of a file, or why it cannot be read."""
    try:
        return read(path)
    except ImageError as error:
        return str(error)


def _size(hw: tuple[int, int]) -> str:
    return f"{hw[1]}x{hw[0]}"
