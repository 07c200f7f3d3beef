"""The files that name the classes of a YOLO data set: a text file such as classes.txt, or a YAML file."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ....cache.errors import InputError
from .files import head_of, names_in, read_text
from .splits import SPLITS
from .yolo_yaml import yaml_mapping, yaml_names

YAML = (".yaml", ".yml")
"""The suffixes of YAML files."""
USUAL = ("data.yaml", "dataset.yaml", "data.yml", "dataset.yml")
"""The usual names of the YAML file of a data set."""
NAME_FILES = (
    "classes.txt",
    "obj.names",
    "_darknet.labels",
    "classes.names",
    "predefined_classes.txt",
)
"""The usual names of the text file that lists the classes."""
KEYPOINTS, NO_KEYPOINTS = "kpt_shape", "keypoints are left out: only boxes are read"
"""The key of a YAML file that says that keypoints follow each box, and the remark on it."""


def names_files(folder: Path) -> list[Path]:
    """Return the files of a folder that name the classes and say nothing of splits."""
    plain = [folder / name for name in NAME_FILES]
    yamls = [folder / name for name in names_in(folder) if name.lower().endswith(YAML)]
    found = [p for p in yamls if p.is_file() and _names_alone(head_of(p))]
    usual = [p for p in found if p.name.lower() in USUAL]
    return [*(p for p in plain if p.is_file()), *(usual or found)]


def _names_alone(text: str) -> bool:
    """Return whether the beginning of a YAML file has names, but does not say where images are."""
    return has_key(text, "names") and not has_key(text, *SPLITS, "path")


def names_above(folder: Path) -> list[Path]:
    """Return the files that name the classes of the folders below: of YAML files the usual ones alone."""
    if not os.access(folder, os.R_OK | os.X_OK):
        return []
    usual = (*NAME_FILES, *USUAL)
    return [file for file in names_files(folder) if file.name.lower() in usual]


def names_of(file: Path) -> dict[int, str]:
    """Return the class names of a YAML file, or of a text file with a name in each line."""
    if file.suffix.lower() in YAML:
        return yaml_names(yaml_mapping(file), file)
    return listed_names(file)


def with_keypoints(file: Path) -> bool:
    """Return whether a file of names says that keypoints follow each box."""
    return file.suffix.lower() in YAML and KEYPOINTS in yaml_mapping(file)


def has_key(text: str, *keys: str) -> bool:
    """Return whether the beginning of a YAML file has one of the keys."""
    return bool(re.search(rf"(?m)^[\"']?({'|'.join(keys)})[\"']?\s*:", text))


def listed_names(file: Path) -> dict[int, str]:
    """Return the class names of a file with a name in each line."""
    rows = re.split(r"\r\n|\r|\n", read_text(file).rstrip())
    for line, row in enumerate(rows, 1):
        if not row.strip():
            raise InputError(
                f"{file}: line {line}: expected the name of class {line - 1}, got nothing"
            )
    return {k: row.strip() for k, row in enumerate(rows)}
