"""What --weights names: FILE, or FILE#NAME for one of several sets of tensors in a file; without torch."""

from __future__ import annotations

import re
from pathlib import Path

from ...cache.errors import InputError, asked, near_names

# How files of weights are named, those that can be read safely by any program first.
SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".tar")
# What other programs call the weights of the library.
_OF_THE_LIBRARY = frozenset({"pretrained", "imagenet", "default", "none", "true"})


def file_and_name(given: str) -> tuple[Path, str | None]:
    """Return the file that is named, and the name of a set in it, or None for none."""
    path, mark, name = given.rpartition("#")
    return (Path(path), name) if mark and path and not Path(given).exists() else (Path(given), None)


def absolute(given: str) -> str:
    """Return the option in a form that other folders can use."""
    path, name = file_and_name(given)
    if not path.is_file():
        return given
    return str(path.absolute()) + ("" if name is None else f"#{name}")


def check_file(given: str, option: str = "--weights") -> Path:
    """Return the file that is named. Raises InputError where it is none, with what may be meant.

    option: the option by which it was given.
    """
    path, _ = file_and_name(given)
    try:
        if path.is_file():
            return path
        is_folder = path.is_dir()
    except OSError as error:
        raise InputError(f"{option} {path}: {error.strerror}") from error
    if is_folder:
        example = "".join(f", such as {held}" for held in _weights_in(path)[:1])
        raise InputError(f"{option} {path}: it is a folder; expected a file{example}")
    if str(path).lower() in _OF_THE_LIBRARY:
        hint = f"; for the library's own weights leave {option} out"
    elif re.match(r"\w+:/", str(path)):
        hint = "; expected a file on this machine, so download it first"
    else:
        hint = asked(near_names(str(path), map(str, _weights_in(path.parent))))
    raise InputError(f"{option} {path}: no such file{hint}")


def _weights_in(folder: Path) -> list[Path]:
    """Return the files in a folder that are named as weights are."""
    try:
        files = [p for p in folder.iterdir() if p.suffix in SUFFIXES and p.is_file()]
    except OSError:
        return []
    return sorted(files, key=lambda p: (SUFFIXES.index(p.suffix), p))
