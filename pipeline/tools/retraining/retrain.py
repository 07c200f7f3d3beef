"""fdet retrain-classifier: opens a finished run and its data, and trains its last classifier layer."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from ....cache.disk.publish import publish_bytes
from ....cache.errors import InputError
from ....cache.format.header import CacheHeader
from ....heads.roi.last_layer import class_losses
from ....heads.roi.settings import RoISettings
from ...machines.processes import Processes, join_processes
from ...machines.world import find_world
from ...runs import metrics_log
from ...runs.checkpoint import LAST, read_position
from ...runs.config import RunConfig
from ...runs.folder import refuse_taken
from ...runs.info import STAGE_2, RunInfo
from ...sources.batches import Batch
from ...sources.data import Data
from ...training.data import chosen, open_data
from ...training.loop import Loop, TrainSummary
from ...training.options import TrainOptions
from ...training.start import start_from
from ...training.step import Stepper
from ...training.threads import check_threads, take_threads, threads_now
from ...training.train import (
    begin,
    check_settings,
    check_validation,
    held_run,
    run_info,
    saved_state,
)
from .config import stage_2_config
from .frozen import FrozenModel
from .loop import PooledLoop
from .pool import PooledBatch, pooled
from .settings import RetrainSettings

log = logging.getLogger(__name__)

BEFORE = "before.json"

Figures = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Retrained:
    """before, after: the evaluation's figures with stage 1's weights and with those that are kept, None
    without a validation cache.
    """

    summary: TrainSummary
    before: Figures | None
    after: Figures | None


def retrain(
    run: Path,
    options: TrainOptions,
    settings: RetrainSettings | None = None,
    assignments: Sequence[str] = (),
) -> Retrained:
    """Train the last classifier layer of a finished run, from its best weights on, and nothing else.

    options: as for training, on cached maps; assignments: settings, each 'section.name=value'. Raises
    InputError, ConfigError, KeyMismatch (the caches hold other features than the run's), and as
    `training.train.train` does.
    """
    settings = settings or RetrainSettings()
    before = _finished(run)
    of_rois = isinstance(before.config.head, RoISettings)
    # Box heads read each map once.
    options = replace(options, start=run, resident="none" if of_rois else options.resident)
    options.check()
    if find_world(None, None, os.environ).size > 1:
        raise InputError("retrain-classifier is the work of one process; start it by itself")
    processes = join_processes(options.device)
    config = stage_2_config(before.config, settings, assignments)
    check_settings(config, options, processes)
    refuse_taken(options.out, resume=options.resume)
    take_threads([options], processes)
    check_threads(options, processes)
    info, model, data, val = _open(config, options, before, settings, processes)
    with held_run(config, options, processes, info, val) as (stands, hooks):
        stepper, position = begin(config, model, processes, saved_state(options, stands))
        metrics_log.cut_back(options.out, position.step, not position.to_evaluate)
        loop = Loop(config, options.out, stands.digest, data, val, stepper, position, hooks)
        figures = _before(loop)
        if not of_rois:
            stepper.losses = partial(_of_maps, stepper)
        elif not position.finished:
            loop = _pooled(loop, settings.samplings)
        summary = loop.run()
    return Retrained(summary, figures, _after(summary))


def _finished(run: Path) -> RunInfo:
    """Raises InputError for a run that cannot be trained on so."""
    info = RunInfo.read(run)
    if info.own_backbone:
        raise InputError(
            f"{run} was trained with --source {info.source}: its backbone, or the adapters in it, are its "
            "own, and cached features are of another; retrain-classifier takes runs on cached maps"
        )
    last = run / LAST
    if not last.is_file() or not read_position(last, info).finished:
        raise InputError(
            f"{run} is not finished; go on with it by `fdet train-heads ... --resume` first"
        )
    return info


def _open(
    config: RunConfig,
    options: TrainOptions,
    before: RunInfo,
    settings: RetrainSettings,
    processes: Processes,
) -> tuple[RunInfo, FrozenModel, Data, Data | None]:
    """Everything that can be refused before a folder is made."""
    header = CacheHeader.read(options.caches[0])
    data, val = open_data(config, options, header, None, processes)
    data = chosen(config, data)
    more = {
        STAGE_2: f"last layer, samplings {settings.samplings}",
        "class embeddings": before.data.get("class embeddings", "none"),
        **threads_now(processes),
    }
    info = run_info(config, options, data, val, embedding=before.embedding, more=more)
    model = FrozenModel(info.fresh_detector()).to(processes.device)
    assert options.start is not None
    start_from(options.start, info, model, given="run")
    if val is not None:
        check_validation(info, options, val)
    model.freeze()
    trained = model.detector.trained_parameters
    log.info(
        "%s + %s: %d parameters of the last classifier layer are trained, all else is frozen",
        config.neck.name,
        config.head.name,
        trained,
    )
    _tell_of_other_data(options.start, before, info)
    return info, model, data, val


def _tell_of_other_data(run: Path, before: RunInfo, info: RunInfo) -> None:
    """Which may be meant, where more of it is there by now."""
    for name in ("training data", "second training cache"):
        if before.data.get(name) != info.data[name]:
            log.warning(
                "the %s are not those of %s: other images, annotations or codec; what the last layer has "
                "learnt there it learns anew from these",
                name,
                run,
            )


def _of_maps(stepper: Stepper, batch: Batch, seeds: Sequence[int]) -> Mapping[str, Tensor]:
    """Of the frozen layers' losses none is of interest."""
    return {"classification": stepper.through_detector(batch, seeds)["classification"]}


def _of_pool(stepper: Stepper, batch: PooledBatch, seeds: Sequence[int]) -> Mapping[str, Tensor]:
    detector = stepper.model.detector
    return {"classification": class_losses(detector, batch.seen, batch.targets, seeds)}


def _pooled(loop: Loop, samplings: int) -> PooledLoop:
    stepper = loop.stepper
    device = stepper.processes.device
    pool = pooled(loop.config, stepper.model, loop.data, samplings, device, loop.out)
    stepper.losses = partial(_of_pool, stepper)
    own = (
        loop.config,
        loop.out,
        loop.digest,
        loop.data,
        loop.val,
        stepper,
        loop.position,
        loop.hooks,
    )
    return PooledLoop(*own, pool=pool)


def _before(loop: Loop) -> Figures | None:
    """Stage 1's figures, counted once, before the first step."""
    path = loop.out / BEFORE
    if loop.val is not None and loop.position.step == 0 and not path.is_file():
        metrics, _ = loop.evaluated(loop.val)
        publish_bytes(path, json.dumps(metrics.to_json(), indent=2).encode())
    if not path.is_file():
        return None
    figures: Figures = json.loads(path.read_bytes())
    return figures


def _after(summary: TrainSummary) -> Figures | None:
    """Of the weights that are kept."""
    for line in metrics_log.read(summary.out):
        if line["kind"] == "eval" and line["epoch"] == summary.best_epoch:
            figures: Figures = line["metrics"]
            return figures
    return None
