"""The evaluations that are kept in a run directory: evaluation-<cache>.json and detections-<cache>.json.

"of" in an evaluation says what it was computed from, by digests: the weights, the cache, its image files,
the annotations and the detections. Evaluations by an older fdet lack some of these, or all. Those of several
caches are kept side by side: the first of one name has the plain name, others get a part of the cache's id.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...cache.disk.files import read_below
from ...cache.errors import CorruptCache, InputError, StorageError
from ...cache.format.sealed import parse_json
from .info import MAX_BYTES

log = logging.getLogger(__name__)

_PREFIX, _DETECTIONS = "evaluation-", "detections-"
# What tells evaluations of one run apart that are kept side by side.
_DATA = ("cache", "images", "annotations", "second")
# The number of digits of an id in a file's name.
_DIGITS = 8


@dataclass(frozen=True, slots=True)
class KeptEvaluation:
    """An evaluation that was read. modified: when its file was written, in nanoseconds."""

    path: Path
    content: Mapping[str, Any]
    modified: int

    @property
    def of(self) -> Mapping[str, Any]:
        """The inputs that it was computed from; {} where an older fdet did not write them."""
        of = self.content.get("of")
        return of if isinstance(of, dict) else {}

    @property
    def detections(self) -> Path:
        """The path of the detections."""
        return detections_path(self.path)

    def is_of(self, wanted: Mapping[str, str]) -> bool:
        """Return whether it was computed from these; annotations that it does not name are not compared."""
        known = {k: v for k, v in wanted.items() if k != "annotations" or "annotations" in self.of}
        return bool(self.of) and all(self.of.get(name) == value for name, value in known.items())

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
    return evaluation.with_name(evaluation.name.replace(_PREFIX, _DETECTIONS, 1))


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
