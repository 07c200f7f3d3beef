"""The files that a prediction reads: images, images of folders, and videos that are named."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from ....cache.errors import InputError
from ...dataset.images.files import find_images

# The suffixes of files that are opened as videos where they are named.
VIDEOS = frozenset(
    {
        *(".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".wmv", ".flv"),
        *(".mpg", ".mpeg", ".mts", ".m2ts", ".3gp", ".ogv"),
    }
)


def is_video(path: Path) -> bool:
    """Return whether a file that is named is opened as a video, judged by its suffix."""
    return path.suffix.lower() in VIDEOS and not path.is_dir()


def check_decoder(paths: Sequence[Path]) -> None:
    """Raise InputError where a video is named and the library that decodes it is not installed."""
    video = next((path for path in paths if is_video(path)), None)
    if video is not None and find_spec("av") is None:
        raise InputError(
            f"{video}: videos need one more library; install it with pip install 'frozendet[video]'"
        )


def find_files(paths: Sequence[Path], *, recursive: bool, every: int = 1) -> list[tuple[Path, str]]:
    """Return the path and the displayed name of every file to read, those of folders in their order.

    every: of the images in a folder, only every N-th one is taken. Raises InputError where there are none.
    """
    try:
        found = find_images(paths, recursive=recursive)
    except InputError as error:
        if not recursive and (deep := _below(paths)):
            raise InputError(
                f"no images directly in {', '.join(map(str, paths))}, but {deep} in subfolders: add "
                "--recursive to take them"
            ) from error
        raise
    if every == 1:
        return found
    named = {path for path in paths if not path.is_dir()}
    of_folders = sorted(
        (file for file in found if file[0] not in named), key=lambda file: _natural(file[1])
    )
    taken = set(of_folders[::every])
    return [file for file in found if file[0] in named or file in taken]


def _below(paths: Sequence[Path]) -> int:
    """Return the number of images in folders and their subfolders, 0 where there are none."""
    try:
        return len(find_images(paths, quiet=True))
    except InputError:
        return 0


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts frame-9 before frame-10."""
    return [
        (int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)
    ]
