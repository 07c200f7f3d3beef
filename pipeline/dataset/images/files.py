"""The image files that paths name: a file as it is, and all images below a folder."""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from ....cache.disk.files import read_below
from ....cache.errors import FdetError, InputError
from .decoding import ImageError, read_header

log = logging.getLogger(__name__)

# The suffixes of the formats that are read (`images.FORMATS`).
SUFFIXES = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".bmp", ".dib", ".tif", ".tiff"),
        *(".webp", ".gif", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
        *(".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
    }
)
# What systems and programs leave in folders of images, besides names that begin with a dot.
_HIDDEN = frozenset(
    {"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin"}
)
_TO_JPEG = (".heic", ".heif", ".avif", ".jxl", ".cr2", ".cr3", ".nef", ".arw", ".dng", ".raf")
_TO_PNG = (".psd", ".svg", ".pdf", ".dcm", ".exr", ".hdr", ".tga", ".npy", ".ico", ".fits")
_ADVICE = {
    **dict.fromkeys(_TO_JPEG, "convert it to JPEG"),
    **dict.fromkeys(_TO_PNG, "convert it to PNG or TIFF"),
    **dict.fromkeys((".mp4", ".avi", ".mov", ".mkv", ".webm"), "extract its frames"),
    **dict.fromkeys((".zip", ".tar", ".gz", ".tgz", ".7z", ".rar"), "unpack it"),
    "subfolder": "see --recursive",
}
# Kinds of what is skipped that are no suffixes, and their plurals.
HIDDEN_FILE, HIDDEN_FOLDER, BROKEN = "hidden file", "hidden folder", "broken link"
SPECIAL, CLOSED, BARE = "pipe or device", "unreadable folder", "file without a suffix"
OUTPUT, SUBFOLDER = "folder that fdet wrote", "subfolder"
_PLURALS = {
    OUTPUT: "folders that fdet wrote",
    **{kind: f"{kind}s" for kind in (HIDDEN_FILE, HIDDEN_FOLDER, BROKEN, CLOSED, SUBFOLDER)},
    SPECIAL: "pipes or devices",
    BARE: "files without a suffix",
}
# The maximum number of kinds that a line names.
_KINDS = 8
# Files that fdet writes into folders with pictures of its own, and some of their keys.
_OUTPUTS = {
    "fdet.json": {"key", "layout", "store"},
    "run.json": {"format", "key", "config"},
    "fit.json": {"format", "options", "chosen", "done"},
    "compare.json": {"runs_planned", "sources", "findings"},
    "ablation.json": {"format", "trials"},
    "prediction.json": {"format", "run", "images"},
}
_MAX_BYTES = 2**28
# What `fdet predict` left before it had prediction.json: detections beside pictures, and nothing else.
_DETECTIONS, _PICTURES = "detections.json", "pictures"
_HEADS = (b"[]", b'[{"image_id": ')


def find_images(
    paths: Sequence[Path], *, quiet: bool = False, recursive: bool = True, all_folders: bool = False
) -> list[tuple[Path, str]]:
    """Return every image once, as its path and the name to display, relative to the folder given.

    Names that several images would have are preceded by as many folders as make them differ.
    A file that is named is taken whatever it is. Below a folder, images are found by their suffix, or by
    their content where they have none; links are followed, and each folder is looked into once. Folders that
    fdet wrote, such as runs, are left out where they are below the given one. What is skipped is logged in
    one line, unless quiet. recursive: whether subfolders are looked into too. all_folders: whether one that
    may not be listed is refused, not skipped. Raises InputError, also where there is no image.
    """
    files: dict[Path, str] = {}
    skipped: Counter[str] = Counter()
    for path in paths:
        if path.is_dir():
            for found in _images_below(path, skipped, recursive, all_folders):
                files.setdefault(found, found.relative_to(path).as_posix())
        elif path.exists():
            files.setdefault(path, path.name)
        else:
            raise InputError(f"{path}: no such file or folder")
    what = described(skipped)
    if not files:
        known = ", ".join(sorted(SUFFIXES))
        also = f" (skipped: {what})" if skipped else ""
        raise InputError(f"no images in {', '.join(map(str, paths))}{also}; known: {known}")
    if skipped and not quiet:
        log.warning("skipped: %s", what)
    return _distinguished(files)


def _distinguished(files: Mapping[Path, str]) -> list[tuple[Path, str]]:
    """Return the files with names that differ: where some are equal, with more folders in front of these.

    One file that is given in two ways keeps one name twice.
    """
    names = dict(files)
    deepest = max(len(path.absolute().parts) for path in files)
    for more in range(1, deepest):
        count = Counter(names.values())
        for path, name in names.items():
            if count[name] > 1:
                parts = path.absolute().parts[1:]
                names[path] = "/".join(parts[-len(Path(files[path]).parts) - more :])
    return list(names.items())


def is_hidden(name: str) -> bool:
    """Return whether a file or folder of that name is hidden, or belongs to the system."""
    return name.startswith(".") or name.lower() in _HIDDEN


def described(skipped: Counter[str]) -> str:
    """Return the kinds of what was skipped, each with its number and what to do about it."""
    kinds = sorted(skipped.items(), key=lambda kind: (-kind[1], kind[0]))
    parts = []
    for kind, count in kinds[:_KINDS]:
        name = _PLURALS.get(kind, kind) if count > 1 else kind
        advice = f" ({_ADVICE[kind]})" if kind in _ADVICE else ""
        parts.append(f"{count} {name}{advice}")
    others = sum(count for _, count in kinds[_KINDS:])
    return ", ".join([*parts, *([f"{others} others"] if others else [])])


def _images_below(
    folder: Path, skipped: Counter[str], recursive: bool, all_folders: bool
) -> list[Path]:
    """Return the images below a folder in the order of their paths; count what is skipped, by kind."""

    def closed(error: OSError) -> None:
        if all_folders:
            raise InputError(f"{error.filename}: {error.strerror}") from error
        skipped.update([CLOSED])

    found: list[Path] = []
    seen: set[tuple[int, int]] = set()
    # A folder that is linked to is looked into after all others, and not if it is one of them.
    waiting = [folder]
    while waiting:
        top = waiting.pop(0)
        for root, folders, files in os.walk(top, onerror=closed):
            status = Path(root).stat()
            if (status.st_dev, status.st_ino) in seen:
                folders.clear()
                continue
            seen.add((status.st_dev, status.st_ino))
            if Path(root) != folder and is_output(Path(root), folders, files):
                skipped[OUTPUT] += 1
                folders.clear()
                continue
            visible = sorted(name for name in folders if not is_hidden(name))
            skipped.update([HIDDEN_FOLDER] * (len(folders) - len(visible)))
            if not recursive:
                skipped.update([SUBFOLDER] * len(visible))
                visible = []
            folders[:] = visible
            waiting += [path for name in visible if (path := Path(root, name)).is_symlink()]
            for path in (Path(root, name) for name in files):
                if (why := _why_skipped(path)) is None:
                    found.append(path)
                else:
                    skipped[why] += 1
    return sorted(found)


def is_output(folder: Path, folders: Sequence[str], files: Sequence[str]) -> bool:
    """Return whether fdet wrote a folder, which holds these folders and files."""
    names = {name for name in files if not is_hidden(name)}
    if names == {_DETECTIONS} and list(folders) == [_PICTURES]:
        return _begins(folder / _DETECTIONS, _HEADS)
    return any(_has_keys(folder, name, _OUTPUTS[name]) for name in names & _OUTPUTS.keys())


def _begins(path: Path, heads: tuple[bytes, ...]) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(max(map(len, heads))).startswith(heads)
    except OSError:
        return False


def _has_keys(folder: Path, name: str, keys: set[str]) -> bool:
    """Return whether a file is a JSON object with these keys."""
    try:
        content = json.loads(read_below(folder, name, _MAX_BYTES))
    except (FdetError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and keys <= content.keys()


def _why_skipped(path: Path) -> str | None:
    """Return the kind of a file in a folder that is no image; None for an image."""
    if is_hidden(path.name):
        return HIDDEN_FILE
    if not path.exists():
        return BROKEN
    if not path.is_file():
        return SPECIAL
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        return None
    # The frames of a video may be numbered like suffixes.
    bare = not suffix.removeprefix(".") or suffix.removeprefix(".").isdecimal()
    if not bare:
        return suffix
    return None if _is_image(path) else BARE


def _is_image(path: Path) -> bool:
    try:
        read_header(path)
    except ImageError:
        return False
    return True
