"""The evaluations that are kept in a run directory: evaluation-<cache>.json and detections-<cache>.json.

"of" in an evaluation says what it was computed from, by digests: the weights, the cache, its image files,
the annotations and the detections. Evaluations by an older fdet lack some of these, or all. Those of several
caches, and those with another NMS than the run's own, are kept side by side: the first of one name has the
plain name, others get a part of the cache's id.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...cache.disk.files import read_below
from ...cache.errors import CorruptCache, FdetError, InputError, StorageError
from ...cache.format.sealed import parse_json
from .history import evaluations_of, has_ended, read_history
from .info import MAX_BYTES, RunInfo

log = logging.getLogger(__name__)

_PREFIX, _DETECTIONS = "evaluation-", "detections-"
# What tells evaluations of one run apart that are kept side by side.
_DATA = ("cache", "images", "annotations", "second", "nms")
# The number of digits of an id in a file's name.
_DIGITS = 8


@dataclass(frozen=True, slots=True)
class KeptEvaluation:
    """An evaluation that was read. modified: when its file was written, in nanoseconds."""

    path: Path
    content: Mapping[str, Any]
    modified: int

    @property
    def of(self) -> Mapping[str, str]:
        """The inputs that it was computed from; {} where an older fdet did not write them."""
        of = self.content.get("of")
        texts = of.items() if isinstance(of, dict) else ()
        return {name: value for name, value in texts if isinstance(value, str)}

    @property
    def nms(self) -> str:
        """The value of head.nms that it was computed with, "" where that is the run's own."""
        return str(self.of.get("nms", ""))

    @property
    def detections(self) -> Path:
        """The path of the detections."""
        return detections_path(self.path)

    def is_of(self, wanted: Mapping[str, str]) -> bool:
        """Return whether it was computed from these; annotations that it does not name are not compared."""
        known = {k: v for k, v in wanted.items() if k != "annotations" or "annotations" in self.of}
        same = all(self.of.get(name) == value for name, value in known.items())
        return bool(self.of) and self.nms == wanted.get("nms", "") and same

    def may_be_of_weights(self, weights: Path) -> bool:
        """Return whether it is of weights, or by an older fdet, which did not name them, and newer than they.

        Raises OSError.
        """
        if self.of:
            return self.of.get("weights") == _digest_of(weights)
        return self.modified >= weights.stat().st_mtime_ns


def kept_evaluations(run: Path) -> list[KeptEvaluation]:
    """Return the evaluations in a run directory, the newest first.

    A warning names those that cannot be read.
    """
    return sorted(_readable(run), key=lambda kept: kept.modified, reverse=True)


def _readable(run: Path) -> Iterator[KeptEvaluation]:
    for path in sorted(run.glob(f"{_PREFIX}*.json")):
        try:
            content = parse_json(read_below(run, path.name, MAX_BYTES), path)
            yield KeptEvaluation(path, content, path.stat().st_mtime_ns)
        except (CorruptCache, InputError, StorageError, OSError) as error:
            log.warning("%s: the evaluation cannot be read (%s)", path, error)


def evaluation_path(folder: Path, name: str, of: Mapping[str, str]) -> Path:
    """Return where an evaluation of `of` is kept: a file that is absent, or was computed from the same data.

    name: the name of the cache. The caller holds the folder.
    """
    data = {part: of[part] for part in _DATA if part in of}
    all_digits = hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
    by_id = f"{name}-{of['cache'][:_DIGITS]}" if of.get("cache") else name
    names = [name, by_id, f"{by_id}-{all_digits[:_DIGITS]}"]
    paths = [folder / f"{_PREFIX}{each}.json" for each in names]
    return next((path for path in paths if _is_free(path, data)), paths[-1])


def _is_free(path: Path, data: Mapping[str, str]) -> bool:
    """Return whether a file may be replaced: it is absent, unreadable or an evaluation of the same data."""
    try:
        content = parse_json(read_below(path.parent, path.name, MAX_BYTES), path)
    except CorruptCache:
        return True
    except StorageError:
        return False
    kept = KeptEvaluation(path, content, 0)
    return {part: kept.of[part] for part in _DATA if part in kept.of} == data


def detections_path(evaluation: Path) -> Path:
    """Return the path of the detections of an evaluation."""
    return beside(evaluation, _DETECTIONS, ".json")


def beside(evaluation: Path, prefix: str, suffix: str) -> Path:
    """Return the path of another file of an evaluation: "curves-", ".png" -> curves-val.png."""
    return evaluation.with_name(prefix + evaluation.stem.removeprefix(_PREFIX) + suffix)


def caches_of(info: RunInfo, part: str) -> set[str]:
    """Return the ids of the caches that a run read. part: "training" or "validation"."""
    return set(info.data.get(f"{part} data", "none").split()[:-1])


def unfinished_of(run: Path, info: RunInfo) -> dict[str, int] | None:
    """Return the "epochs" that a run has done, and those that it is "of"; None where it is finished.

    It is also None where that is not known, as last.safetensors is damaged.
    """
    try:
        history = read_history(run)
        if has_ended(run, info, history):
            return None
        done = max((each.epoch for each in evaluations_of(history)), default=0)
    except FdetError as error:
        log.warning("%s: whether it is finished is not known: %s", run, error)
        return None
    epochs = info.config.train.epochs
    return {"epochs": done, "of": 0 if epochs == "auto" else epochs}


def class_labels(names: Sequence[str], ids: Sequence[int]) -> list[str]:
    """Return the names of classes as evaluations have them: those that occur twice with their ids."""
    count = Counter(names)
    pairs = zip(names, ids, strict=True)
    return [name if count[name] == 1 else f"{name} ({class_id})" for name, class_id in pairs]


def _digest_of(weights: Path) -> str:
    """Return the sha256 of a file of weights, which is read once as long as it stays the same."""
    status = weights.stat()
    return _digest_of_state(weights.absolute(), status.st_ino, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=64)
def _digest_of_state(weights: Path, *state: int) -> str:
    return file_digest(weights)


def file_digest(path: Path) -> str:
    """Return the sha256 of a file. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
