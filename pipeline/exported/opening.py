"""What a path names: a run, or an exported file, which is one more kind of detector."""

from __future__ import annotations

from pathlib import Path

from ...cache.errors import InputError
from ..runs.info import RunInfo
from ..runs.position import check_there
from ..runs.threshold_option import AUTO, Auto
from ..runs.thresholds import Thresholds, thresholds_of
from .description import read_description
from .runtimes import is_exported


def read_detector(path: Path) -> RunInfo:
    """Return the info of a run, or of the run that an exported file is from.

    Raises InputError, CorruptCache.
    """
    return read_description(path).info if is_exported(path) else RunInfo.read(path)


def weights_of(path: Path, checkpoint: str) -> Path:
    """Return the file that holds the weights: a checkpoint of a run, or the exported file itself."""
    return path if is_exported(path) else path / f"{checkpoint}.safetensors"


def check_weights_there(path: Path, checkpoint: str) -> None:
    """Raise InputError where a run has no such checkpoint."""
    if not is_exported(path):
        check_there(weights_of(path, checkpoint))


def detector_thresholds(
    path: Path, known: RunInfo, checkpoint: str, given: float | Auto = AUTO
) -> Thresholds:
    """Return the thresholds of a run, as `thresholds_of` does, or those that an exported file has."""
    if given == AUTO and is_exported(path):
        return Thresholds(read_description(path).thresholds, path)
    return thresholds_of(path, known, checkpoint, given)


def refuse_fixed(path: Path, **given: object) -> None:
    """Raise InputError for the first option, by name, that an exported file cannot take any more."""
    for name, value in given.items():
        if value is not None and is_exported(path):
            option = name.strip("_").replace("_", "-")
            raise InputError(
                f"--{option}: {path} is an exported file, which has that inside; leave it out"
            )
