"""The start from another run's weights, also with other classes or on other features."""

from __future__ import annotations

import hashlib
import json
import logging
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from ...cache.errors import InputError, KeyMismatch
from ...cache.key import Difference
from ...heads.detector import Detector
from ...heads.moving import Moved, moved, readers
from ..runs.checkpoint import load_weights
from ..runs.config import RunConfig
from ..runs.info import FREE, FRESH, RunInfo
from ..runs.model import Model
from ..runs.pairing import differences
from ..runs.position import BEST
from .checks import weights_to_start_from

log = logging.getLogger(__name__)

# How images become canvases, which a detector learns from but is not made for.
_CANVASES = frozenset({"short", "long", "square", "divisor", "interpolation", "bits", "precision"})
_NAMES_SHOWN = 5


def start_digest(run: Path | None) -> str:
    """Return what run.json states of a run that starts from `run`: a digest of its weights, or FRESH.

    Raises InputError where it has no weights.
    """
    if run is None:
        return FRESH
    RunInfo.read(run)
    return hashlib.sha256(weights_to_start_from(run).read_bytes()).hexdigest()


def belonging(config: RunConfig, before: RunConfig) -> RunConfig:
    """Return the settings with those "auto" values of `before` that its weights are made for.

    Its anchors are among them. Values that follow from the data, such as the normaliser, stay "auto".
    """
    head = config.adopting(before).head
    free = {f.name: getattr(config.head, f.name) for f in fields(head) if f.name in FREE}
    return replace(config, head=replace(head, **free))


def start_from(run: Path, info: RunInfo, model: Model) -> None:
    """Load the best weights of another run, as far as they fit, and say what does not.

    Classes are matched by name. On features of another backbone the layers that read them stay fresh. Raises
    InputError for another detector and for a detector that belongs to another backbone than this run has,
    KeyMismatch where that one was trained too.
    """
    before = RunInfo.read(run)
    fatal = [d for d in differences(before, info) if d.fatal]
    if fatal and before.brings_backbone:
        raise KeyMismatch(_other_features("--start", run, fatal))
    _check_detector(run, before, info, "--start")
    if not fatal and before.levels != info.levels:  # those of a tail, which no key has
        there, here = (", ".join(of.levels.names) for of in (before, info))
        fatal = [Difference("levels", there, here, True)]
    theirs = _load(run, before, before.fresh_detector(), model)
    others = [d for d in fatal if d.field.removeprefix("second cache's ") not in _CANVASES]
    without = readers(info.levels, info.config.neck, info.config.head) if others else frozenset()
    labels = _matched(info.class_names, before.class_names)
    result = moved(model.detector, theirs, labels, without)
    if info.config.head.refine:
        _check_whole(run, info, labels, result)
    if len(result.fresh) == len(result.tensors):
        raise InputError(f"{_other_features('--start', run, fatal)}; none of its weights fits")
    model.detector.load_state_dict(result.tensors)
    if fatal:
        log.warning("%s; %s", _other_features("--start", run, fatal), _extent(result))
    if not info.embedding and info.class_names != before.class_names:
        _say_classes(run, info.class_names, before.class_names, labels)


def _check_whole(run: Path, info: RunInfo, labels: Mapping[int, int], result: Moved) -> None:
    """Raise InputError where a part that a refiner leaves as it is does not come from the other run."""
    classes = [name for k, name in enumerate(info.class_names) if k not in labels]
    parts = [name for name in result.fresh if not name.startswith("refiner.")]
    if classes or parts:
        raise InputError(
            f"--start {run}: head.refine={info.config.head.refine} freezes the whole detector, and this one "
            f"lacks {_named(classes or parts)}; give a run on the same features and classes"
        )


def load_same(run: Path, info: RunInfo, model: Model) -> None:
    """Load the best weights of a run that is the same detector on the same classes and features.

    Raises InputError for another detector or other classes, KeyMismatch for other features.
    """
    before = RunInfo.read(run)
    fatal = [d for d in differences(before, info) if d.fatal]
    if fatal:
        raise KeyMismatch(_other_features("run", run, fatal))
    _check_detector(run, before, info, "run")
    if (before.class_ids, before.class_names) != (info.class_ids, info.class_names):
        raise InputError(
            f"run {run}: it knows the classes {before.class_names}, these data {info.class_names}"
        )
    _load(run, before, model.detector, model)


def _load(run: Path, before: RunInfo, detector: Detector, model: Model) -> Detector:
    """Load a run's weights into a detector like its own, and into the model's backbone what it has of one."""
    before.check_size(run / BEST)
    load_weights(
        run / BEST, Model(detector, model.backbone if before.brings_backbone else None), before
    )
    return detector


def _other_features(given: str, run: Path, differences: Sequence[Difference]) -> str:
    return (
        f"{given} {run} was trained on other features: {'; '.join(map(str, differences))} (here: that run, "
        "there: this one)"
    )


def _matched(mine: Sequence[str], theirs: Sequence[str]) -> dict[int, int]:
    """Return the label there of each label here, for the classes whose names both have, and only once."""
    if mine == theirs:
        return {k: k for k in range(len(mine))}
    return {
        k: theirs.index(name)
        for k, name in enumerate(mine)
        if mine.count(name) == theirs.count(name) == 1
    }


def _say_classes(
    run: Path, mine: Sequence[str], theirs: Sequence[str], labels: Mapping[int, int]
) -> None:
    kept = [mine[k] for k in labels]
    fresh = [name for k, name in enumerate(mine) if k not in labels]
    lost = [name for k, name in enumerate(theirs) if k not in labels.values()]
    log.info(
        "--start %s: classes whose weights move: %s; that begin fresh: %s; that are dropped: %s",
        run,
        *map(_named, (kept, fresh, lost)),
    )


def _named(names: Sequence[str]) -> str:
    more = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "") or "none"


def _extent(result: Moved) -> str:
    """Return how much has moved, e.g. "all weights move"."""
    if not result.fresh:
        return "all weights move"
    count = len(result.tensors)
    return (
        f"{count - len(result.fresh)} of {count} tensors move, and those that read them begin fresh"
    )


def _check_detector(run: Path, before: RunInfo, info: RunInfo, given: str) -> None:
    """Raise InputError where the other run has another neck, another head, or other class embeddings."""
    for name in ("neck", "head"):
        mine, theirs = (
            _settings_of_weights(getattr(config, name)) for config in (info.config, before.config)
        )
        if mine != theirs:
            raise InputError(
                f"{given} {run}: this run has another {name}; give the same settings: "
                f"{' '.join(_assignments(name, theirs, mine))}"
            )
    if before.embedding != info.embedding:
        raise InputError(
            f"{given} {run}: its class embeddings have {before.embedding} values, this run's have "
            f"{info.embedding} (0: none); give those of the same encoder"
        )
    _check_backbone(run, before, info, given)


def _check_backbone(run: Path, before: RunInfo, info: RunInfo, given: str) -> None:
    """Raise InputError where the other run's detector belongs to a backbone that this run does not have."""
    if before.trains_backbone and not info.trains_backbone:
        raise InputError(
            f"{given} {run}: it trained a backbone of its own, and --source {info.source} uses "
            "another; use --source finetune"
        )
    mine, theirs = info.config.backbone, before.config.backbone
    if before.tail is not None and (before.tail, theirs.train_from) != (info.tail, mine.train_from):
        raise InputError(
            f"{given} {run}: its backbone has a tail of its own from {theirs.train_from} on; use --source "
            f"{before.source} --set backbone.train_from={theirs.train_from}, on the same levels"
        )
    if before.brings_backbone and before.levels != info.levels:
        raise InputError(
            f"{given} {run}: its detector has the levels {', '.join(before.levels.names)}, and this run's "
            f"has {', '.join(info.levels.names)}; give a run on the same levels"
        )
    adapted = theirs.adapters or (before.tail is not None and mine.adapters)
    if adapted and mine != theirs:
        raise InputError(
            f"{given} {run}: it has {'' if theirs.adapters else 'no '}adapters in its backbone, by the "
            f"settings {theirs}, this run's are {mine}; use --source {before.source} with the same settings "
            f"(--config {run / 'config.toml'})"
        )


def _assignments(section: str, wanted: dict[str, Any], given: dict[str, Any]) -> Iterator[str]:
    """Yield the options that give a section the settings that are wanted."""
    for name, value in wanted.items():
        if given.get(name) != value:
            yield shlex.join(["--set", f"{section}.{name}={json.dumps(value)}"])


def _settings_of_weights(settings: Any) -> dict[str, Any]:
    return {name: value for name, value in asdict(settings).items() if name not in FREE}
