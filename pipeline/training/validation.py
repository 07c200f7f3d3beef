"""The evaluation of a run's weights, which all of its processes share."""

from __future__ import annotations

from collections.abc import Sequence

from ...cache.sampler import plain_batches
from ...heads.types import Detections
from ..evaluation.coco import Metrics, coco_metrics
from ..evaluation.detecting import detect
from ..evaluation.merging import in_whole_images
from ..machines.world import World
from ..runs.config import TrainSettings
from ..sources.data import Data
from .step import Stepper


def evaluated(
    stepper: Stepper, val: Data, settings: TrainSettings, groups: Sequence[str]
) -> tuple[Metrics, dict[int, Detections]]:
    """Evaluate the weights of a stepper as they are; return their metrics and what they find.

    groups: how often the training data show each class, from "r" (rare) to "f" (frequent).
    """
    processes = stepper.processes
    agnostic = stepper.config.head.suppression == "agnostic"
    found = in_whole_images(val, _detected(stepper, val, settings), agnostic=agnostic)
    metrics = coco_metrics(val.truth, found, groups=groups) if processes.first else None
    shared = processes.of_first(metrics)
    assert shared is not None
    return shared, found


def evaluated_at_once(settings: TrainSettings, world: World) -> int:
    """Return the number of images in a batch of an evaluation, which needs no more memory than a step."""
    return max(1, settings.batch_size // (settings.accumulate * world.size))


def _detected(stepper: Stepper, val: Data, settings: TrainSettings) -> dict[int, Detections]:
    """Detect in this process's share of the images; return what all processes found."""
    processes, model = stepper.processes, stepper.model
    world = processes.world
    processes.share_first(model.buffers())
    size = evaluated_at_once(settings, world)
    batches = plain_batches(val.header.layout, val.image_ids, size)[world.rank :: world.size]
    model.eval()
    mine = detect(model.detector, val.source, batches, settings.precision, processes.first)
    found = {k: d for part in processes.gather(mine) for k, d in part.items()}
    return {image_id: found[image_id] for image_id in val.image_ids}
