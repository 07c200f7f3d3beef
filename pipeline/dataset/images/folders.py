"""The folder in which the images of a data set lie, and the file that each of its names means."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from ....cache.errors import InputError
from .files import is_hidden, is_output
from .names import folded, valid_name

# How many names are looked for before a folder is taken for that of the images.
_TRIED = 50


def images_folder(file: Path, names: Sequence[str]) -> Path:
    """Return the folder beside an annotation file in which the images lie.

    names: their names as given, of which some may be missing. Where no folder has more than half of them,
    names count that differ by their folders, their case or their encoding alone. Raises InputError where
    there are not that many either.
    """
    tried = names[:: max(1, len(names) // _TRIED)][:_TRIED]
    looked = list(dict.fromkeys(_candidates(file)))
    for count in (_exact, _alike):
        there = {folder: count(folder, tried) for folder in looked}
        best = max(looked, key=there.__getitem__)
        if there[best] > len(tried) / 2:
            return best
    if closed := next((folder for folder in looked if _is_closed(folder)), None):
        raise InputError(f"{closed}: Permission denied, and the images of {file} may be in it")
    shown = ", ".join(str(folder) for folder in looked if folder.is_dir())
    raise InputError(
        f"{file}: its images, such as {names[0] if names else '(none)'}, are in none of {shown}; give "
        "--images FOLDER"
    )


def _exact(folder: Path, names: Sequence[str]) -> int:
    """Return how many names mean a file of a folder."""
    return sum(file_below(folder, name) != "" for name in names)


def _alike(folder: Path, names: Sequence[str]) -> int:
    """Return how many names are, but for their folders, case and encoding, those of files in a folder."""
    try:
        there = {folded(name) for name in os.listdir(folder)}  # noqa: PTH208
    except OSError:
        return 0
    return sum(folded(PurePosixPath(name.replace("\\", "/")).name) in there for name in names)


def _is_closed(folder: Path) -> bool:
    return folder.is_dir() and not os.access(folder, os.R_OK | os.X_OK)


def file_below(folder: Path, name: str) -> str:
    """Return the name of the file of a folder that a given name means, "" where it means none.

    Of a path that leaves the folder, such as an absolute one, the longest end that is a file there counts.
    """
    # A backslash may be a letter of a name here.
    if "\\" in name and (literal := valid_name(name, literal=True)) and is_file(folder / literal):
        return literal
    if valid := valid_name(name):
        return valid if is_file(folder / valid) else ""
    root = folder.absolute().as_posix().rstrip("/") + "/"
    if name.startswith(root):
        return file_below(folder, name[len(root) :])
    parts = PurePosixPath(name.replace("\\", "/")).parts
    parts = tuple(part for part in parts if part not in ("/", ".."))
    ends = (valid_name("/".join(parts[k:])) for k in range(len(parts)))
    return next((end for end in ends if end and is_file(folder / end)), "")


def _candidates(file: Path) -> Iterator[Path]:
    split = re.sub(r"^(instances_|lvis_v1_)", "", file.stem)
    for base in (file.parent, file.parent.parent):
        yield from (base / "images", base / split, base / "images" / split, base)
        yield from (base / re.sub(r"\d+$", "", split), base / "train2017", base / "val2017")


def actual_names(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """Return the name that each missing file has after all, where that is beyond doubt.

    Names are compared without regard to how letters are composed and to their case. Where the folders of all
    names differ from those on the disk, the last part decides, if one file alone has it; where some names
    are right, a missing file is missing, and one of that name in another folder is another picture. Names
    that are there, and those that are nowhere or in several places, are left out.
    """
    missing = [name for name in names if not is_file(folder / name)]
    if not missing or not folder.is_dir():
        return {}
    by_path, by_last = _listed(folder)
    known = {name: by_path.get(folded(name), []) for name in missing}
    if len(missing) == len(names) and not any(known.values()):
        known = {name: by_last.get(folded(PurePosixPath(name).name), []) for name in missing}
    found = {name: files[0] for name, files in known.items() if len(files) == 1}
    # Two names that would mean one file are in doubt both.
    counts: dict[str, int] = defaultdict(int)
    for actual in [*found.values(), *(set(names) - set(missing))]:
        counts[actual] += 1
    return {name: actual for name, actual in found.items() if counts[actual] == 1}


def _listed(folder: Path) -> tuple[Mapping[str, list[str]], Mapping[str, list[str]]]:
    """Return the files below a folder by their folded path, and by its folded last part."""
    by_path, by_last = defaultdict(list), defaultdict(list)
    for root, folders, files in os.walk(folder):
        if Path(root) != folder and is_output(Path(root), folders, files):
            folders.clear()
            continue
        folders[:] = [name for name in folders if not is_hidden(name)]
        for file in files:
            if not is_hidden(file):
                name = (Path(root) / file).relative_to(folder).as_posix()
                by_path[folded(name)].append(name)
                by_last[folded(file)].append(name)
    return by_path, by_last


def is_file(path: Path) -> bool:
    """Return whether a path is a file; names that the system cannot have are none."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # The name is too long, or has a zero byte.
        return False
