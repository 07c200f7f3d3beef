"""The options of `fdet fit`; what is left out is chosen from the data, the room and the time."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any

from ....cache.disk.sizes import parse_bytes
from ....cache.key import MAX_BITS, MIN_BITS
from ....heads.ranges import at_least, between
from ...command import (
    DATA,
    FORMAT,
    MODEL,
    Assignments,
    Device,
    Threads,
    argument,
    opt,
)
from ...dataset.tiling import MIN_SIDE, Tiling
from ...dataset.tiling_option import Overlap, tiling_from
from ...extraction.options import FEATURES, Long, Short, Size
from ...machines.duration import parse_duration
from ...runs.config_option import ConfigFile
from .paths import tidied, tidied_file, word_of

LIMITS = "Limits"


def _time(text: str) -> float:
    return parse_duration(text, "--time")


def _disk(text: str) -> int:
    return parse_bytes(text, "--disk")


def _memory_limit(text: str) -> str:
    parse_bytes(text, "--memory-limit")
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class FitOptions:
    """Everything that `fdet fit` takes. Options that are given are kept; None is for a choice of fdet's.

    time: the seconds that everything together may take. disk: the bytes that the caches may take.
    memory_limit: as it was written, for `fdet train-heads`.
    """

    data: Annotated[Path, argument("data set: a COCO JSON, YOLO, VOC or CSV file or folder")]
    out: Annotated[Path, opt("folder to make or to continue", group=DATA)]
    val: Annotated[
        Path | None,
        opt(
            "data set for validation; default: a split of the data set, else a fifth of its images",
            group=DATA,
        ),
    ] = None
    images: Annotated[
        Path | None, opt("folder of the images; default: found beside the annotations", group=DATA)
    ] = None
    val_images: Annotated[
        Path | None, opt("folder of the validation images; default: --images", group=DATA)
    ] = None
    format: Annotated[str | None, opt(FORMAT, group=DATA)] = None
    split: Annotated[
        str | None, opt("split to train on; default: the one named train", group=DATA)
    ] = None
    val_split: Annotated[
        str | None, opt("split for validation; default: the one named val or valid", group=DATA)
    ] = None
    time: Annotated[
        float | None,
        opt(
            "time that everything may take, e.g. 30m or 1h30m: size, views, detector and epochs follow from "
            "rates that are measured",
            group=LIMITS,
            parser=_time,
            metavar="TIME",
        ),
    ] = None
    disk: Annotated[
        int | None,
        opt(
            "disk space that the caches may take, e.g. 20GB; default: what is free",
            group=LIMITS,
            parser=_disk,
            metavar="SIZE",
        ),
    ] = None
    memory_limit: Annotated[
        str | None,
        opt(
            "memory that training may take, or its accelerator's, e.g. 4GiB",
            group=LIMITS,
            parser=_memory_limit,
            metavar="SIZE",
        ),
    ] = None
    size: Size = None
    short: Short = None
    long: Long = None
    tiles: Annotated[
        int | None,
        at_least(MIN_SIDE),
        opt("cut images larger than N px into tiles of N x N px, as in fdet extract", group=DATA),
    ] = None
    overlap: Overlap = None
    views: Annotated[
        str | None, opt("views of each training image, as in fdet extract", group=FEATURES)
    ] = None
    codec: Annotated[
        str | None,
        opt(
            "how maps are stored; default: int5, or a coarser one for lack of room", group=FEATURES
        ),
    ] = None
    bits: Annotated[
        int | None,
        between(MIN_BITS, MAX_BITS),
        opt(
            "bits of deep pixels, which are read as 0 to 2^N - 1; default: looked at in the training images",
            group=FEATURES,
        ),
    ] = None
    backbone: Annotated[
        str | None, opt("backbone; default: that of fdet extract", group=FEATURES)
    ] = None
    weights: Annotated[
        str | None, opt("weights FILE of the backbone, or 'random'", group=FEATURES)
    ] = None
    config: ConfigFile = None
    assignments: Assignments = ()
    seed: Annotated[
        int,
        between(0, 2**32 - 1),
        opt("seed of the split, the views and the training", group=MODEL),
    ] = 0
    ignore_errors: Annotated[
        bool, opt("go on where fdet dataset check finds errors in the data", group=DATA)
    ] = False
    device: Device = "auto"
    threads: Threads = None

    @property
    def tiling(self) -> Tiling | None:
        """The tiling of large images, None where they stay whole."""
        return tiling_from(self.tiles, self.overlap, whole=False)

    def to_json(self) -> dict[str, Any]:
        """Return the options as values for a JSON file, with absolute paths.

        Of the files of --config and --weights the sha256 stands beside their paths, None where there is none.
        """
        values = {name: _plain(value) for name, value in self._values().items()}
        if self.weights is not None:
            values["weights"] = tidied_file(self.weights)
        weights = None if self.weights is None else Path(self.weights.partition("#")[0])
        return {**values, "config_file": _sha256(self.config), "weights_file": _sha256(weights)}

    def without_dashes(self) -> FitOptions:
        """Return the options with paths that no command takes for options: none begins with "-".

        The folder of the fit is never ".", so that paths in it begin with its name.
        """
        paths: dict[str, Any] = {
            name: value.absolute()
            for name, value in self._values().items()
            if isinstance(value, Path) and str(value).startswith("-")
        }
        if self.out == Path():
            paths["out"] = self.out.absolute()
        if self.weights is not None:
            paths["weights"] = word_of(self.weights)
        return replace(self, **paths)

    def absolute(self) -> FitOptions:
        """Return the options with absolute paths. `config` may be the name of a preset, which stays."""
        paths: dict[str, Any] = {
            name: tidied(value) for name, value in self._values().items() if isinstance(value, Path)
        }
        if self.weights is not None:
            paths["weights"] = tidied_file(self.weights)
        if self.config is not None and not self.config.exists():
            del paths["config"]
        return replace(self, **paths)

    def _values(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}


def _sha256(path: Path | None) -> str | None:
    """Return the sha256 of a file, None where there is none that can be read."""
    if path is None or not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(tidied(value)) if value.exists() else str(value)
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
