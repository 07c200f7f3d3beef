"""The score from which on a detection counts, for each class: the best of an evaluation that a run keeps.

An evaluation names the weights that it is of by their digest, so thresholds never go with other weights.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...cache.format.json_values import mapping_of, number_of
from .evaluations import KeptEvaluation, caches_of, class_labels, kept_evaluations
from .info import RunInfo
from .threshold_option import AUTO, DRAWN, Auto

log = logging.getLogger(__name__)

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The score that a detection of each class must reach, by label.

    source: the evaluation that they are from; None where they were given, or where there is none.
    """

    scores: tuple[float, ...]
    source: Path | None = None

    @classmethod
    def same(cls, score: float, classes: int) -> Thresholds:
        """Return one threshold for all classes."""
        return cls((score,) * classes)

    def reached(self, scores: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> Bools:
        """Return which detections reach the threshold of their class, (N,) bool."""
        return np.asarray(scores >= np.array(self.scores)[labels], dtype=bool)

    @property
    def shown(self) -> str:
        """The threshold, or the lowest and the highest: "0.3", "0.21 to 0.64"."""
        low, high = (f"{value:.2g}" for value in (min(self.scores), max(self.scores)))
        return low if low == high else f"{low} to {high}"

    @property
    def described(self) -> str:
        """The score that was given, or the evaluation with a digest of its thresholds."""
        if self.source is None:
            return f"{self.scores[0]:g}" if self.scores else "none"
        digest = hashlib.sha256(json.dumps(self.scores).encode()).hexdigest()
        return f"{AUTO} ({self.source.name}, {digest[:8]})"


def thresholds_of(
    run: Path, known: RunInfo, checkpoint: str, given: float | Auto = AUTO
) -> Thresholds:
    """Return the thresholds of a run: those given, or the best that it keeps for its weights.

    known: the run, with the classes and the NMS that are used. Of several evaluations of the same weights,
    classes and NMS, one on the validation images is taken; without one, the newest on other images; and one
    on the training images last. A line in the log says which, or that it is 0.3 because there is none.
    """
    classes = len(known.class_ids)
    if given != AUTO:
        return Thresholds.same(given, classes)
    labels = class_labels(known.class_names, known.class_ids)
    for kept in _by_preference(run, known, checkpoint):
        scores = _scores_in(kept, labels)
        if scores is not None:
            found = Thresholds(scores, kept.path)
            log.info("thresholds %s, the best of each class in %s", found.shown, kept.path)
            return found
    options = {
        "--checkpoint": checkpoint if checkpoint != "best" else "",
        "--nms": _nms(run, known),
    }
    given_too = "".join(f" {flag} {value}" for flag, value in options.items() if value)
    log.info(
        "no evaluation in %s has thresholds for these weights%s: %g for all classes; `fdet evaluate%s` "
        "finds the best",
        run,
        f" with{given_too}" if given_too else "",
        DRAWN,
        given_too,
    )
    return Thresholds.same(DRAWN, classes)


def _by_preference(run: Path, known: RunInfo, checkpoint: str) -> list[KeptEvaluation]:
    """Return the evaluations of these weights and this NMS, in the order in which they are to be used."""
    weights, wanted = run / f"{checkpoint}.safetensors", _nms(run, known)
    kept = [
        each
        for each in kept_evaluations(run)
        if each.of and each.nms == wanted and each.may_be_of_weights(weights)
    ]
    validated, trained = (caches_of(known, part) for part in ("validation", "training"))

    def rank(each: KeptEvaluation) -> int:
        cache = each.of.get("cache")
        return 0 if cache in validated else 2 if cache in trained else 1

    return sorted(kept, key=rank)  # It is stable, so the newest stays the first.


def _nms(run: Path, known: RunInfo) -> str:
    """Return the NMS that is used, "" where it is the run's own."""
    nms = known.config.head.suppression
    return "" if nms == RunInfo.read(run).config.head.suppression else nms


def _scores_in(kept: KeptEvaluation, labels: Sequence[str]) -> tuple[float, ...] | None:
    """Return the threshold of each class, None where the evaluation has none or is of other classes."""
    try:
        classes: dict[str, Any] = mapping_of(mapping_of(kept.content["scores"])["classes"])
        if list(classes) != list(labels):
            return None
        values = [mapping_of(of_class)["threshold"] for of_class in classes.values()]
        return None if None in values else tuple(number_of(value, 0, 1) for value in values)
    except KeyError:
        return None
    except (TypeError, ValueError) as error:
        log.warning("%s: its thresholds cannot be read (%s)", kept.path, error)
        return None
