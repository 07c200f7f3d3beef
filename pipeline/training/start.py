"""The start from another run's weights: first heads on the cache, then all with the backbone unfrozen."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...cache.errors import InputError, KeyMismatch
from ..runs.checkpoint import load_weights
from ..runs.info import FREE, FRESH, RunInfo
from ..runs.model import Model
from ..runs.pairing import differences
from ..runs.position import BEST
from .checks import weights_to_start_from


def start_digest(run: Path | None) -> str:
    """Return what run.json states of a run that starts from `run`: a digest of its weights, or FRESH.

    Raises InputError where it has no weights.
    """
    if run is None:
        return FRESH
    RunInfo.read(run)
    return hashlib.sha256(weights_to_start_from(run).read_bytes()).hexdigest()


def start_from(run: Path, info: RunInfo, model: Model, given: str = "--start") -> None:
    """Load the best weights of another run.

    given: the option that named that run. Raises InputError for another detector, KeyMismatch for other
    features.
    """
    before = RunInfo.read(run)
    fatal = [str(d) for d in differences(before, info) if d.fatal]
    if fatal:
        raise KeyMismatch(
            f"{given} {run} was trained on other features: {'; '.join(fatal)} (here: that run, there: "
            "this one)"
        )
    for name in ("neck", "head"):
        mine, theirs = (
            _settings_of_weights(getattr(config, name)) for config in (info.config, before.config)
        )
        if mine != theirs:
            raise InputError(
                f"{given} {run}: this run has another {name}; give the same settings: "
                f"{' '.join(_assignments(name, theirs, mine))}"
            )
    if (before.class_ids, before.class_names) != (info.class_ids, info.class_names):
        raise InputError(
            f"{given} {run}: it knows the classes {before.class_names}, this run {info.class_names}"
        )
    if before.embedding != info.embedding:
        raise InputError(
            f"{given} {run}: its class embeddings have {before.embedding} values, this run's have "
            f"{info.embedding} (0: none); give those of the same encoder"
        )
    _check_backbone(run, before, info, given)
    before.check_size(run / BEST)
    own = before.own_backbone or before.tail is not None
    load_weights(run / BEST, model if own else Model(model.detector), before)


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
    if before.levels != info.levels:
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
