"""`fdet retrain-classifier`: the training of the last classifier layer of a finished run."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from ....cache.disk.publish import publish_bytes
from ....cache.format.header import CacheHeader
from ....heads.roi.last_layer import class_losses
from ....heads.roi.settings import RoISettings
from ...machines.processes import Processes, join_processes
from ...runs import metrics_log
from ...runs.config import RunConfig
from ...runs.history import evaluations_of, read_history
from ...runs.info import STAGE_2, RunInfo
from ...runs.loading import tail_of_run
from ...sources.batches import Batch
from ...sources.data import Data
from ...training.data import chosen, open_data
from ...training.loop import Loop, TrainSummary
from ...training.options import TrainOptions
from ...training.start import load_same
from ...training.step import Stepper
from ...training.threads import check_threads, take_threads, threads_now
from ...training.train import (
    begin,
    check_validation,
    held_run,
    run_info,
    saved_state,
)
from .checks import check_retraining
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
    """The result of stage 2.

    before, after: the figures of the evaluation with stage 1's weights and with the weights that are kept,
    None without a validation cache.
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
    """Train only the last classifier layer of a finished run, starting from its best weights.

    options: the options of a training on cached maps. assignments: settings, each 'section.name=value'.
    Raises InputError, ConfigError, KeyMismatch (the caches hold other features than the run's), and what
    `training.train.train` raises.
    """
    settings = settings or RetrainSettings()
    before = check_retraining(run, options, settings, assignments)
    of_rois = isinstance(before.config.head, RoISettings)
    # Box heads read each map only once, so no map needs to stay resident.
    resident = "none" if of_rois else options.resident
    options = replace(options, start=run, source=before.cached_source, resident=resident)
    processes = join_processes(options.device)
    config = stage_2_config(before.config, settings, assignments)
    take_threads(options, processes)
    check_threads(options, processes)
    info, model, data, val = _open(config, options, before, settings, processes)
    with held_run(config, options, processes, info, val) as (stored, hooks):
        stepper, position = begin(config, model, processes, saved_state(options, stored))
        metrics_log.cut_back(options.out, position.step, not position.to_evaluate)
        loop = Loop(config, options.out, stored.digest, data, val, stepper, position, hooks)
        figures = _figures_before(loop)
        if not of_rois:
            stepper.losses = partial(_map_losses, stepper)
        elif not position.finished:
            loop = _pooled_loop(loop, settings.samplings)
        summary = loop.run()
    return Retrained(summary, figures, _figures_after(summary))


def _open(
    config: RunConfig,
    options: TrainOptions,
    before: RunInfo,
    settings: RetrainSettings,
    processes: Processes,
) -> tuple[RunInfo, FrozenModel, Data, Data | None]:
    """Open the data and the model; whatever can be refused is refused before a folder is made."""
    header = CacheHeader.read(options.caches[0])
    backbone = tail_of_run(before, processes.device, options.weights)
    data, val = open_data(config, options, header, backbone, processes)
    data = chosen(config, data)
    more = {
        STAGE_2: f"last layer, samplings {settings.samplings}",
        "class embeddings": before.data.get("class embeddings", "none"),
        **threads_now(processes),
    }
    info = run_info(
        config, options, data, val, embedding=before.embedding, tail=backbone, more=more
    )
    model = FrozenModel(info.fresh_detector(), backbone).to(processes.device)
    assert options.start is not None
    load_same(options.start, info, model)
    if val is not None:
        val = check_validation(info, options, val)
    model.freeze()
    trained = model.detector.trained_parameters
    log.info(
        "%s + %s: %d parameters of the last classifier layer are trained, all else is frozen",
        config.neck.name,
        config.head.name,
        trained,
    )
    _warn_of_other_data(options.start, before, info)
    return info, model, data, val


def _warn_of_other_data(run: Path, before: RunInfo, info: RunInfo) -> None:
    """Warn where the data are not those of the run, which may be intended if there are more by now."""
    for name in ("training data", "second training cache"):
        if before.data.get(name) != info.data[name]:
            log.warning(
                "the %s are not those of %s: other images, annotations or codec; the last layer now learns "
                "from these instead",
                name,
                run,
            )


def _map_losses(stepper: Stepper, batch: Batch, seeds: Sequence[int]) -> Mapping[str, Tensor]:
    """Return the classification loss alone, as the losses of frozen layers have no effect."""
    return {"classification": stepper.through_detector(batch, seeds)["classification"]}


def _pool_losses(
    stepper: Stepper, batch: PooledBatch, seeds: Sequence[int]
) -> Mapping[str, Tensor]:
    detector = stepper.model.detector
    return {"classification": class_losses(detector, batch.seen, batch.targets, seeds)}


def _pooled_loop(loop: Loop, samplings: int) -> PooledLoop:
    stepper = loop.stepper
    device = stepper.processes.device
    pool = pooled(loop.config, stepper.model, loop.data, samplings, device, loop.out)
    stepper.losses = partial(_pool_losses, stepper)
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


def _figures_before(loop: Loop) -> Figures | None:
    """Return the figures of stage 1, which are evaluated once, before the first step."""
    path = loop.out / BEFORE
    if loop.val is not None and loop.position.step == 0 and not path.is_file():
        metrics, _ = loop.evaluated(loop.val)
        publish_bytes(path, json.dumps(metrics.to_json(), indent=2).encode())
    if not path.is_file():
        return None
    figures: Figures = json.loads(path.read_bytes())
    return figures


def _figures_after(summary: TrainSummary) -> Figures | None:
    """Return the figures of the weights that are kept."""
    evaluations = evaluations_of(read_history(summary.out))
    return next((of.metrics for of in evaluations if of.epoch == summary.best_epoch), None)
