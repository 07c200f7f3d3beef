"""The folder in which the images of a data set lie, and the file that each of its names means."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath

from ....cache.errors import InputError
from .files import SUFFIXES, is_hidden, is_output
from .names import folded, valid_name

# What folders of images are also called; "data" is FiftyOne's.
_OTHERS = ("data", "Images", "JPEGImages", "imgs", "img")
# How many names are looked for before a folder is taken for that of the images.
_TRIED = 50


def images_folder(file: Path, names: Sequence[str], *, any_suffix: bool = True) -> Path:
    """Return the folder beside an annotation file in which the images lie.

    names: their names as given, of which some may be missing. Where no folder has more than half of them,
    names count that differ by their folders, their case or their encoding alone, and with any_suffix then
    those that also differ by their suffix. Raises InputError where there are not that many either.
    """
    tried = names[:: max(1, len(names) // _TRIED)][:_TRIED]
    looked = list(dict.fromkeys(_candidates(file)))
    for count in (_exact, _alike, *([_stems] if any_suffix else [])):
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
    """Return how many names end, but for case and encoding, with those of files in a folder."""
    listed: dict[Path, dict[str, list[str]]] = {}
    return sum(_leads(folder, name, listed) for name in names)


def _leads(folder: Path, name: str, listed: dict[Path, dict[str, list[str]]]) -> bool:
    return any(any(paths_alike(folder, end.split("/"), listed)) for end in _ends(name))


def _stems(folder: Path, names: Sequence[str]) -> int:
    """Return how many names are, but for their folders and suffixes, those of images in a folder."""
    there = {
        _stem(name) for name in _folded_names(folder) if PurePosixPath(name).suffix in SUFFIXES
    }
    return sum(_stem(name) in there for name in names)


def _stem(name: str) -> str:
    """Return the folded last part of a name without the suffix of an image."""
    last = PurePosixPath(name.replace("\\", "/"))
    return folded(last.stem if last.suffix.lower() in SUFFIXES else last.name)


def paths_alike(
    folder: Path, parts: Sequence[str], listed: dict[Path, dict[str, list[str]]]
) -> Iterator[Path]:
    """Yield what a path leads to from a folder, but for case and encoding.

    listed: what lies in the folders that were looked into, by its folded name; it is extended.
    """
    if not parts:
        yield folder
        return
    if folder not in listed:
        listed[folder] = _folded_names(folder)
    for name in listed[folder].get(folded(parts[0]), ()):
        yield from paths_alike(folder / name, parts[1:], listed)


def _folded_names(folder: Path) -> dict[str, list[str]]:
    """Return the names of what lies in a folder by their folded form; none where it cannot be listed."""
    by_name: defaultdict[str, list[str]] = defaultdict(list)
    with suppress(OSError):
        for name in os.listdir(folder):  # noqa: PTH208
            by_name[folded(name)].append(name)
    return by_name


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
    return next((end for end in _ends(name) if is_file(folder / end)), "")


def _ends(name: str) -> Iterator[str]:
    """Yield the ends of a path that are names of files below a folder, the longest first."""
    parts = [
        part for part in PurePosixPath(name.replace("\\", "/")).parts if part not in ("/", "..")
    ]
    yield from filter(None, (valid_name("/".join(parts[k:])) for k in range(len(parts))))


def files_below(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """Return what `file_below` does for each name, and else the file that is so but for its case, if one is.

    Of names that mean no file, but begin as all others do with what does not lie in the folder, the rest is
    returned: the name of a file that is missing. "" stands for what means nothing.
    """
    found = {name: file_below(folder, name) for name in names}
    if not all(found.values()) and folder.is_dir():
        by_path, _ = _listed(folder)
        for name in (name for name, end in found.items() if not end):
            alike = (by_path.get(folded(end), []) for end in _ends(name))
            files = next(filter(None, alike), [])
            found[name] = files[0] if len(files) == 1 else ""
    starts = {_start(name, end) for name, end in found.items() if end}
    if len(starts) == 1 and (start := starts.pop()):
        for name in (name for name, end in found.items() if not end):
            plain = name.replace("\\", "/")
            found[name] = valid_name(plain[len(start) :]) if plain.startswith(start) else ""
    return found


def _start(name: str, end: str) -> str:
    """Return what a path has before its end, which may be spelt in another way."""
    plain = name.replace("\\", "/")
    return "/".join(plain.split("/")[: -len(end.split("/"))]) + "/"


def _candidates(file: Path) -> Iterator[Path]:
    split = re.sub(r"^(instances_|lvis_v1_)", "", file.stem)
    for base in (file.parent, file.parent.parent):
        yield from (base / "images", base / split, base / "images" / split, base)
        yield from (base / re.sub(r"\d+$", "", split), base / "train2017", base / "val2017")
        yield from (base / name for name in _OTHERS)


def actual_names(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """Return the name that each missing file has after all, where that is beyond doubt.

    Names are compared without regard to how letters are composed and to their case. Where the folders of all
    names differ from those on the disk, the last part decides, if one file alone has it, and else the last
    part without its suffix, if one image alone has that; where some names are right, a missing file is
    missing, and one of that name in another folder is another picture. Names that are there, and those that
    are nowhere or in several places, are left out.
    """
    missing = [name for name in names if not is_file(folder / name)]
    if not missing or not folder.is_dir():
        return {}
    by_path, by_last = _listed(folder)
    known = {name: by_path.get(folded(name), []) for name in missing}
    if len(missing) == len(names) and not any(known.values()):
        known = {name: by_last.get(folded(PurePosixPath(name).name), []) for name in missing}
    if len(missing) == len(names) and not any(known.values()):
        by_stem = _by_stem(by_last)
        known = {name: by_stem.get(_stem(name), []) for name in missing}
    found = {name: files[0] for name, files in known.items() if len(files) == 1}
    # Two names that would mean one file are in doubt both.
    counts: dict[str, int] = defaultdict(int)
    for actual in [*found.values(), *(set(names) - set(missing))]:
        counts[actual] += 1
    return {name: actual for name, actual in found.items() if counts[actual] == 1}


def _by_stem(by_last: Mapping[str, list[str]]) -> Mapping[str, list[str]]:
    """Return the images of a folder by their folded last part without its suffix."""
    by_stem: defaultdict[str, list[str]] = defaultdict(list)
    for last, files in by_last.items():
        if PurePosixPath(last).suffix in SUFFIXES:
            by_stem[_stem(last)] += files
    return by_stem


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
