"""The evaluation of a run on a cache, as `fdet evaluate` does it."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ...cache.disk.publish import PATIENCE_SECONDS, only_writer, publish_bytes
from ...cache.format.annotation_copy import read_annotations
from ...cache.format.header import CacheHeader
from ...cache.format.manifest import Manifest
from ...cache.reader import FeatureCache
from ...cache.sampler import plain_batches
from ...heads.detector import Detector
from ..dataset.classes.embeddings import read_embeddings
from ..machines.devices import pick_device, use_threads
from ..runs.evaluations import detections_path, evaluation_path, file_digest
from ..runs.info import RunInfo
from ..runs.loading import exchange_classes, load_model
from ..sources.data import Data, open_cached, open_live
from .checks import check_evaluation
from .coco import Metrics, coco_metrics, sizes_of, to_coco_results
from .detecting import detect
from .errors import error_breakdown
from .lvis import warn_of_few_detections
from .options import EvaluateOptions

log = logging.getLogger(__name__)

DEFAULTS = EvaluateOptions()


def evaluate_run(
    run: Path, cache: Path, options: EvaluateOptions = DEFAULTS
) -> tuple[Metrics, list[dict[str, Any]]]:
    """Score a run on the plain view of a cache; also return the detections in COCO's result format.

    Raises InputError, KeyMismatch (the cache holds other features), IncompleteCache, CorruptCache.
    """
    info = check_evaluation(run, cache, options)
    device = pick_device(options.device)
    use_threads(options.threads)
    _warn_of_differences(info, cache, options.second)
    if options.images is None:
        detector, data = _on_cached_maps(run, info, device, cache, options)
    else:
        detector, data = _on_images(run, info, device, cache, options.images, options)
    if options.class_embeddings is None:
        known = info.check_classes(data.annotations, f"annotations of {cache}")
        data = replace(data, annotations=known)
    else:
        given = read_embeddings(options.class_embeddings)
        info = info.of_classes(given, data.annotations)
        exchange_classes(info, detector, given)
    settings = info.config.train
    batches = plain_batches(data.header.layout, data.image_ids, settings.batch_size)
    found = detect(detector, data.source, batches, settings.precision)
    results = to_coco_results(found, data.annotations.class_ids, sizes_of(data.annotations, found))
    warn_of_few_detections(data.annotations, info.config.head.max_detections)
    metrics = coco_metrics(data.annotations, found, options.engine, results, info.frequencies)
    errors = error_breakdown(data.annotations, found)
    return replace(metrics, errors=errors, annotations=data.fingerprint.split()[-1]), results


def _warn_of_differences(info: RunInfo, cache: Path, second: Path | None) -> None:
    """Warn of harmless differences between the run's caches and these."""
    header = CacheHeader.read(cache)
    second_key = None if second is None else CacheHeader.read(second).key
    for difference in info.check_pairs(header.key, cache):
        log.warning("the run and %s differ in %s", cache, difference)
    for difference in info.check_second(second_key, second):
        log.warning("the run and %s differ in %s", second, difference)
    _warn_of_other_images(info, header, cache)


def _on_cached_maps(
    run: Path, info: RunInfo, device: torch.device, cache: Path, options: EvaluateOptions
) -> tuple[Detector, Data]:
    detector = load_model(run, info, options.checkpoint, device).detector
    data = open_cached(
        [cache],
        options.data,
        device,
        second=() if options.second is None else [options.second],
        workers=info.config.train.workers,
        prefetch=info.config.train.prefetch,
        masks=info.config.masks,
    )
    return detector, data


def _on_images(
    run: Path,
    info: RunInfo,
    device: torch.device,
    cache: Path,
    images: Path,
    options: EvaluateOptions,
) -> tuple[Detector, Data]:
    """Return the detector, and data whose maps come from the run's own backbone."""
    canvases = [bucket.canvas_hw for bucket in CacheHeader.read(cache).layout.buckets]
    model = load_model(run, info, options.checkpoint, device, canvases, options.weights)
    assert model.backbone is not None
    workers, masks = info.config.train.workers, info.config.masks
    data = open_live(cache, options.data, images, model.backbone, workers, masks=masks)
    return model.detector, data


def _warn_of_other_images(info: RunInfo, header: CacheHeader, cache: Path) -> None:
    """Warn where a cache has the id of one that training read, but was made from other pixels."""
    for part in ("training", "validation"):
        ids, files = (info.data.get(f"{part} {what}", "").split() for what in ("data", "images"))
        # Just an id and a digest of annotations stand for one cache, rather than several read as one.
        if len(ids) != 2 or ids[0] != header.id or not files:
            continue
        if digests_of(cache)["images"] not in ("", files[0]):
            log.warning(
                "%s has the names and sizes of the run's %s images, but other files: figures on it are not "
                "those of training",
                cache,
                part,
            )


def write_evaluation(
    folder: Path,
    run: Path,
    checkpoint: str,
    cache: Path,
    metrics: Metrics,
    results: Sequence[dict[str, Any]],
    second: Path | None = None,
) -> Path:
    """Write evaluation-<cache>.json and detections-<cache>.json, and return the path of the former.

    It states what it belongs to, by digests: the weights, the cache, its images, the annotations and the
    detections. Older files of the same data are replaced; those of other data, such as another cache of
    that name, are kept, and this evaluation gets another name. If two evaluations end at once, both files
    are those of the later one. second: the second backbone's cache, where there is one.
    """
    name = cache.resolve().name.removesuffix(".fdet")
    found = json.dumps(list(results)).encode()
    of = {
        "weights": weights_digest(run, checkpoint),
        **digests_of(cache),
        **({"annotations": metrics.annotations} if metrics.annotations else {}),
        **({} if second is None else {"second": CacheHeader.read(second).id}),
        "detections": hashlib.sha256(found).hexdigest(),
    }
    evaluation = json.dumps({**metrics.to_json(), "of": of}, indent=2).encode()
    with only_writer(folder, "evaluation", patience=PATIENCE_SECONDS):
        path = evaluation_path(folder, name, of)
        publish_bytes(detections_path(path), found, existing="replace")
        publish_bytes(path, evaluation, existing="replace")
    return path


def weights_digest(run: Path, checkpoint: str) -> str:
    """Return the sha256 of the file with the weights."""
    return file_digest(run / f"{checkpoint}.safetensors")


def digests_of(cache: Path) -> dict[str, str]:
    """Return the id of a cache as "cache", and the digest of its image files as "images".

    The digest is "" where the cache is not finished.

    Raises InputError, CorruptCache.
    """
    header = CacheHeader.read(cache)
    whole = Manifest.read(cache, header) is not None
    return {"cache": header.id, "images": FeatureCache.open(cache).content if whole else ""}


def own_annotations_digest(cache: Path) -> str:
    """Return the sha256 of the annotations that a cache carries. Raises InputError, CorruptCache."""
    return hashlib.sha256(read_annotations(cache, CacheHeader.read(cache))).hexdigest()
