"""What a run detects on a cache, with the annotations that it is scored by."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ...cache.errors import InputError
from ...cache.format.header import CacheHeader
from ...cache.sampler import plain_batches
from ...heads.detector import Detector
from ...heads.types import Detections
from ..dataset.annotations import Annotations
from ..dataset.classes.embeddings import read_embeddings
from ..dataset.images.decoding import ImageError, load_image
from ..exported.detector import open_detector
from ..exported.runtimes import is_exported
from ..machines.devices import pick_device, use_threads
from ..machines.progress import progress_line
from ..runs.info import RunInfo
from ..runs.loading import exchange_classes, load_model
from ..runs.pairing import check_features, labelled, with_classes
from ..sources.data import Data, open_cached, open_images, open_live
from .checks import check_evaluation
from .coco import sizes_of, to_coco_results
from .detecting import detect
from .digests import content_of
from .merging import in_whole_images
from .options import EvaluateOptions

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Detected:
    """The detections of a run.

    info: the run with the classes that were looked for, which `annotations` has too. found: the detections
    by image id, in image px. results: the same in COCO's result format. digest: the sha256 of the
    annotations.
    """

    info: RunInfo
    annotations: Annotations
    found: dict[int, Detections]
    results: list[dict[str, Any]]
    digest: str


def detected(run: Path, cache: Path, options: EvaluateOptions) -> Detected:
    """Return what a run detects in the plain views of a cache.

    Raises InputError, KeyMismatch (the cache holds other features), IncompleteCache, CorruptCache.
    """
    info = check_evaluation(run, cache, options)
    device = pick_device(options.device)
    use_threads(options.threads)
    if is_exported(run):
        return _by_file(run, info, cache, options)
    _warn_of_differences(info, cache, options.second)
    if options.images is None:
        detector, data = _on_cached_maps(run, info, device, cache, options)
    else:
        detector, data = _on_images(run, info, device, cache, options.images, options)
    if options.class_embeddings is None:
        data = data.with_annotations(lambda a: labelled(info, a, f"annotations of {cache}"))
    else:
        given = read_embeddings(options.class_embeddings)
        info = with_classes(info, given, data.truth)
        exchange_classes(info, detector, given)
    settings = info.config.train
    batches = plain_batches(data.header.layout, data.image_ids, settings.batch_size)
    found = detect(detector, data.source, batches, settings.precision)
    return _detected(info, data, found)


def _detected(info: RunInfo, data: Data, found: dict[int, Detections]) -> Detected:
    truth = data.truth
    agnostic = info.config.head.suppression == "agnostic"
    whole = in_whole_images(data, found, agnostic=agnostic)
    results = to_coco_results(whole, truth.class_ids, sizes_of(truth, whole))
    return Detected(info, truth, whole, results, data.fingerprint.split()[-1])


def _by_file(path: Path, info: RunInfo, cache: Path, options: EvaluateOptions) -> Detected:
    """Return what an exported file detects in the images of a cache."""
    assert options.images is not None
    data = open_images(cache, options.data, options.images, masks=info.config.masks)
    data = data.with_annotations(lambda a: labelled(info, a, f"annotations of {cache}"))
    detector = open_detector(path, options.threads)
    found = {}
    with progress_line("evaluate", len(data.image_ids)) as progress:
        for image_id in data.image_ids:
            entry = data.header.layout.image(image_id)
            file = options.images / entry.file_name
            try:
                image, _ = load_image(file, entry.hw, info.key.bits)
            except ImageError as error:
                raise InputError(f"image {entry.file_name}: {error}") from error
            found[image_id] = detector.find(image)
            progress.advance(unit="images/s")
    return _detected(info, data, found)


def _warn_of_differences(info: RunInfo, cache: Path, second: Path | None) -> None:
    """Warn of harmless differences between the run's caches and these."""
    header = CacheHeader.read(cache)
    second_key = None if second is None else CacheHeader.read(second).key
    for difference in check_features(info, header.key, cache, second_key, second):
        log.warning("the caches of the run and these differ in %s", difference)
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
    workers, masks = info.config.train.workers, info.config.masks
    data = open_live(cache, options.data, images, model.live, workers, masks=masks)
    return model.detector, data


def _warn_of_other_images(info: RunInfo, header: CacheHeader, cache: Path) -> None:
    """Warn where a cache has the id of one that training read, but was made from other pixels."""
    for part in ("training", "validation"):
        ids, files = (info.data.get(f"{part} {what}", "").split() for what in ("data", "images"))
        # Just an id and a digest of annotations stand for one cache, rather than several read as one.
        if len(ids) != 2 or ids[0] != header.id or not files:
            continue
        if content_of(cache) not in ("", files[0]):
            log.warning(
                "%s has the names and sizes of the run's %s images, but other files: figures on it are not "
                "those of training",
                cache,
                part,
            )
