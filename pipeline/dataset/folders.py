"""Where the images of a data set lie, and which file each of its names means."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from ...cache.errors import InputError

# How many names are looked for before a folder is taken for that of the images.
_TRIED = 50


def images_folder(file: Path, names: Sequence[str]) -> Path:
    """Return the folder beside an annotation file in which the images lie.

    names: their names below it, of which some may be missing. Raises InputError where no folder has most of
    them.
    """
    tried = names[:: max(1, len(names) // _TRIED)][:_TRIED]
    looked = list(dict.fromkeys(_candidates(file)))
    most = 0
    for folder in looked:
        there = sum(_is_file(folder / name) for name in tried)
        if there == len(tried):
            return folder
        if there > most:
            best, most = folder, there
    if most > len(tried) / 2:
        return best
    shown = ", ".join(str(folder) for folder in looked if folder.is_dir())
    raise InputError(
        f"{file}: its images, such as {names[0] if names else '(none)'}, are in none of {shown}; give "
        "--images FOLDER"
    )


def _candidates(file: Path) -> Iterator[Path]:
    split = re.sub(r"^(instances_|lvis_v1_)", "", file.stem)
    for base in (file.parent, file.parent.parent):
        yield from (base / "images", base / split, base / "images" / split, base)
        yield from (base / re.sub(r"\d+$", "", split), base / "train2017", base / "val2017")


def actual_names(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """Return the name that each missing file has after all, where that is beyond doubt.

    Names are compared without regard to how letters are composed and to their case; then, of a name whose
    folder differs, the last part alone, where one file has it. Names that are there, and those that are
    nowhere or in several places, are left out.
    """
    missing = [name for name in names if not _is_file(folder / name)]
    if not missing or not folder.is_dir():
        return {}
    by_path, by_last = _listed(folder)
    found = {}
    for name in missing:
        known = by_path.get(_folded(name)) or by_last.get(_folded(PurePosixPath(name).name), [])
        if len(known) == 1:
            found[name] = known[0]
    # Two names that would mean one file are in doubt both.
    counts: dict[str, int] = defaultdict(int)
    for actual in [*found.values(), *(set(names) - set(missing))]:
        counts[actual] += 1
    return {name: actual for name, actual in found.items() if counts[actual] == 1}


def _listed(folder: Path) -> tuple[Mapping[str, list[str]], Mapping[str, list[str]]]:
    """Return the files below a folder by their folded path, and by its folded last part."""
    by_path, by_last = defaultdict(list), defaultdict(list)
    for root, _, files in os.walk(folder):
        for file in files:
            name = (Path(root) / file).relative_to(folder).as_posix()
            by_path[_folded(name)].append(name)
            by_last[_folded(file)].append(name)
    return by_path, by_last


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # The name is too long.
        return False
