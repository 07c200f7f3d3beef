"""The facts of a run, read from its folder, and the sentences that follow from them."""

from __future__ import annotations

import logging
import math
import shlex
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from ...cache.disk.objects import located
from ...cache.errors import FdetError
from ...cache.format.header import CacheHeader
from ...heads.family import NMSSettings
from .advice.facts import Facts, Scores
from .advice.rules import About, advise
from .config import RunConfig
from .evaluations import KeptEvaluation, caches_of, kept_evaluations
from .history import Steps, evaluations_of, has_ended, read_history, steps_of
from .info import RunInfo
from .kept_options import read_options
from .names import shell_word
from .position import BEST

log = logging.getLogger(__name__)

HEADING = "what to do next:"


def inspected(run: Path) -> Facts:
    """Return the facts of a run. Raises InputError where there is none, CorruptCache, StorageError."""
    info, history = RunInfo.read(run), read_history(run)
    evaluations, steps = evaluations_of(history), steps_of(history)
    best = max(evaluations, key=lambda evaluation: evaluation.ap, default=None)
    kept = _of_best_weights(run)
    trained, validated = (caches_of(info, part) for part in ("training", "validation"))
    of_validation = next((k for k in kept if k.of.get("cache") in validated), None)
    on_trained = next((k for k in kept if k.of.get("cache") in trained - validated), None)
    metrics = best.metrics if of_validation is None and best else None
    return Facts(
        run=shlex.quote(str(run)),
        val=_validation_words(run, info),
        finished=has_ended(run, info, history),
        done=max((entry.epoch for entry in history), default=0),
        curve=tuple((evaluation.epoch, evaluation.ap) for evaluation in evaluations),
        losses=tuple(_losses(steps)),
        diverged=next(((s.diverged, s.step) for s in steps[-1:] if s.diverged), None),
        scores=scores_of(of_validation.content if of_validation else metrics),
        training_ap=_number(on_trained.content.get("ap")) if on_trained else None,
        same_images=bool(trained & validated),
        **_of_data(info),
        **_of_settings(info.config),
    )


def steps_after_training(run: Path) -> list[str]:
    """Return the lines on what to do next that `fdet train-heads` prints; none where no rule applies.

    A warning says why where the facts of the run cannot be read.
    """
    return _lines(run, lambda: inspected(run))


def steps_after_evaluation(
    run: Path,
    checkpoint: str,
    cache: Path,
    metrics: Mapping[str, Any],
    images: Path | None = None,
) -> list[str]:
    """Return the lines that `fdet evaluate` prints, of the rules about the evaluation alone.

    checkpoint: the weights that were evaluated, "best" or "last". metrics: as Metrics.to_json gives them.
    images: the folder of the images, where it was given.
    """

    def facts() -> Facts:
        info, known, header = RunInfo.read(run), inspected(run), CacheHeader.read(cache)
        if header.id in caches_of(info, "training") - caches_of(info, "validation"):
            ap = _number(metrics.get("ap")) if checkpoint == "best" else None
            return replace(known, training_ap=ap)
        return replace(known, scores=scores_of(metrics), val=_val_words(cache, images))

    about: Sequence[About] = ("evaluation",)
    return _lines(run, facts, about)


def _lines(
    run: Path, facts: Callable[[], Facts], about: Collection[About] = ("training", "evaluation")
) -> list[str]:
    try:
        found = advise(facts(), about)
    except (FdetError, OSError) as error:
        log.warning("%s: what to do next is not known: %s", run, error)
        return []
    return [HEADING, *(f"- {advice.text}" for advice in found)] if found else []


def scores_of(metrics: Mapping[str, Any] | None) -> Scores | None:
    """Return the figures of an evaluation, as Metrics.to_json gives them, or None where it has no AP."""
    if metrics is None or (ap := _number(metrics.get("ap"))) is None:
        return None
    return Scores(
        ap,
        ap50=_number(metrics.get("ap50")),
        ap75=_number(metrics.get("ap75")),
        ap_small=_number(metrics.get("ap_small")),
        ap_medium=_number(metrics.get("ap_medium")),
        images=int(_number(metrics.get("images")) or 1),
        objects=_counts(metrics.get("objects")),
        sizes=_counts(metrics.get("sizes")),
        per_class={k: _number(v) for k, v in _mapping(metrics.get("per_class")).items()},
        gains=_numbers(_mapping(metrics.get("errors")).get("gains")),
        reliability=_reliability(metrics),
        duplicates=_duplicates(metrics),
    )


def _reliability(metrics: Mapping[str, Any]) -> tuple[tuple[int, float, float], ...]:
    """Return the tenths of scores as an evaluation keeps them, () for anything else.

    An older fdet kept them among the errors.
    """
    of_scores = _mapping(_mapping(metrics.get("scores")).get("calibration")).get("bins")
    value = of_scores or _mapping(metrics.get("errors")).get("reliability")
    rows = value if isinstance(value, list | tuple) else ()
    found = []
    for row in rows:
        numbers = [_number(v) for v in row] if isinstance(row, list | tuple) else []
        if len(numbers) != 3 or None in numbers:
            return ()
        count, score, share = (v or 0.0 for v in numbers)
        found.append((int(count), score, share))
    return tuple(found)


def _duplicates(metrics: Mapping[str, Any]) -> tuple[int, int, int] | None:
    """Return the finds, and those that NMS over all classes would drop; None where they were not counted."""
    counts = _counts(metrics.get("duplicates"))
    try:
        return counts["finds"], counts["wrong"], counts["right"]
    except KeyError:
        return None


def _of_best_weights(run: Path) -> list[KeptEvaluation]:
    """Return the kept evaluations that name the best weights as theirs, the newest first."""
    kept = [each for each in kept_evaluations(run) if each.of and not each.nms]
    weights = run / BEST
    if not kept or not weights.is_file():
        return []
    return [each for each in kept if each.may_be_of_weights(weights)]


def _losses(steps: Iterable[Steps]) -> Iterable[tuple[int, float]]:
    """Yield the mean loss of each epoch."""
    by_epoch: dict[int, list[float]] = defaultdict(list)
    for entry in steps:
        if entry.loss is not None and math.isfinite(entry.loss):
            by_epoch[entry.epoch].append(entry.loss)
    yield from ((epoch, fmean(losses)) for epoch, losses in sorted(by_epoch.items()))


def _of_data(info: RunInfo) -> dict[str, Any]:
    key, neck = info.key, info.config.neck
    often = zip(info.class_names, info.frequencies, strict=True)
    return {
        "classes": len(info.class_names),
        "rare": tuple(name for name, group in often if group == "r"),
        "views": info.config.train.views or len(key.views),
        "cached_views": len(key.views),
        "size": {"size": key.long} if key.square else {"short": key.short, "long": key.long},
        "finer": min(level.stride for level in key.levels.levels) < 2**neck.min_level,
    }


def _validation_words(run: Path, info: RunInfo) -> str:
    """Return the options that name the validation data of a run, as far as its own are kept."""
    kept = read_options(run)
    val = kept.get("val")
    images = kept.get("val_images") or (kept.get("images") if info.own_backbone else None)
    if not isinstance(val, str):
        return Facts().val
    return _val_words(located(val), Path(images) if isinstance(images, str) else None)


def _val_words(cache: Path, images: Path | None) -> str:
    """Return the options that name a validation cache, and its images where they are known."""
    words = f"--val {shell_word(cache)}"
    return words if images is None else f"{words} --images {shell_word(images)}"


def _of_settings(config: RunConfig) -> dict[str, Any]:
    train, schedule = config.train, config.schedule
    return {
        "epochs": _settled(train.epochs),
        "head": config.head.name,
        "min_level": config.neck.min_level,
        "nms_iou": config.head.nms_iou if isinstance(config.head, NMSSettings) else None,
        "eval_every": _settled(train.eval_every),
        "repeat_factor": train.repeat_factor,
        "lr": _settled(config.optim.lr),
        "clip_norm": train.clip_norm,
        "warmup_steps": schedule.warmup_steps,
        "warms_up": schedule.name != "onecycle",
    }


def _settled(value: Any) -> Any:
    """Return a setting, or 1 where a run.json that was altered has "auto"."""
    return 1 if value == "auto" else value


def _number(value: object) -> float | None:
    """Return a finite number, or None for anything else that a file may have in its place."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:  # an integer beyond a float
        return None
    return number if math.isfinite(number) else None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _numbers(value: object) -> dict[str, float]:
    found = {name: _number(number) for name, number in _mapping(value).items()}
    return {name: number for name, number in found.items() if number is not None}


def _counts(value: object) -> dict[str, int]:
    return {name: int(number) for name, number in _numbers(value).items()}
