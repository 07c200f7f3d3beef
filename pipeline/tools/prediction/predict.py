"""fdet predict: backbone + neck + head on image files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from ....cache.codecs.codec import Codec
from ....cache.disk.publish import publish_bytes, storage_error
from ....cache.errors import FeatureError, InputError
from ....cache.layout import ImageEntry
from ....cache.pairs import PairedCodec
from ....heads.detector import Detector
from ....heads.types import Detections
from ...backbones.frozen import FrozenBackbone
from ...backbones.loading import load_backbone_of
from ...backbones.paired import PairedBackbone
from ...dataset.annotations import load_annotations
from ...dataset.canvases import recipe_of
from ...dataset.embeddings import ClassEmbeddings, read_embeddings
from ...dataset.images import ImageError, draw_canvas, load_image
from ...evaluation.coco import to_coco_results
from ...machines.devices import autocast, pick_device, use_threads
from ...machines.progress import progress_line
from ...pictures.sheet import draw_sheet, sure
from ...runs.folder import new_folder
from ...runs.info import RunInfo
from ...runs.loading import codec_of_run, exchange_classes, load_model
from ...sources.coded import through
from ...sources.live import Backbone
from .jobs import find_images, find_jobs


@dataclass(frozen=True, slots=True)
class PredictSummary:
    """images: how many were read; detections: how many were found; failed: why, by path."""

    out: Path
    images: int
    detections: int
    failed: dict[str, str] = field(default_factory=dict)


def predict(
    run: Path,
    paths: Sequence[Path],
    out: Path,
    *,
    annotations: Path | None = None,
    weights: str | None = None,
    second_weights: str | None = None,
    class_embeddings: Path | None = None,
    checkpoint: str = "best",
    draw_above: float = 0.3,
    device: str = "auto",
    threads: int | None = None,
) -> PredictSummary:
    """Detect objects in files, and in all images of folders (recursively).

    Writes detections.json (COCO results, with the file name beside the id) and pictures/*.png. The maps
    pass through the codec of the training cache where the run used one, so what is found is what
    `fdet evaluate` finds on the same image. With annotations, ids come from there and the pictures
    show the ground truth beside the detections. class_embeddings: vectors of other classes, for a run that
    was trained with such: those of the annotations, or all in the file, by name, numbered from 1 on. Raises
    InputError, KeyMismatch.
    """
    on = pick_device(device)
    info = RunInfo.read(run)
    # On a CPU the number of threads moves the last bits of a feature: take the cache's.
    use_threads(threads if threads is not None else info.key.threads or None)
    given = None if class_embeddings is None else read_embeddings(class_embeddings)
    known = info if given is None else _of_classes(info, given, annotations)
    jobs = find_jobs(find_images(paths), known, annotations)
    detector, backbone = load_trained(run, info, checkpoint, on, weights, second_weights)
    if given is not None:
        exchange_classes(known, detector, given)
    codec = codec_of_run(run, info, on)
    with new_folder(out):
        found: dict[int, Detections] = {}
        sizes: dict[int, tuple[int, int]] = {}
        failed: dict[str, str] = {}
        with progress_line("predict", len(jobs)) as progress:
            for job in jobs:
                try:
                    image, _ = load_image(job.path, job.hw)
                    found[job.image_id] = detect_image(image, info, backbone, detector, codec)
                    sizes[job.image_id] = (image.height, image.width)
                except (ImageError, FeatureError) as error:
                    failed[str(job.path)] = str(error)
                else:
                    shown, title = sure(found[job.image_id], draw_above)
                    picture = draw_sheet(image, shown, title, known.class_names, job.objects)
                    _save_picture(picture, out / "pictures" / job.picture)
                progress.note(f"{progress.rate:.1f} images/s")
                progress.advance()
        if not found:
            raise InputError(
                f"none of {len(jobs)} images could be read: {next(iter(failed.values()))}"
            )
        names = {job.image_id: job.shown for job in jobs}
        results: list[dict[str, Any]] = [
            {**result, "file_name": names[result["image_id"]]}
            for result in to_coco_results(found, known.class_ids, sizes)
        ]
        publish_bytes(out / "detections.json", json.dumps(results).encode())
    return PredictSummary(out, len(found), len(results), failed)


def _of_classes(info: RunInfo, given: ClassEmbeddings, annotations: Path | None) -> RunInfo:
    if annotations is None:
        return info.of_classes(given, None)
    return info.of_classes(given, load_annotations(annotations)[0])


def load_trained(
    run: Path,
    info: RunInfo,
    checkpoint: str,
    device: torch.device,
    weights: str | None,
    second_weights: str | None = None,
) -> tuple[Detector, Backbone | PairedBackbone]:
    """The run's detector, and the backbone below it: the cache's, both caches', or its own.

    weights, second_weights: as at extraction, where that took a file. Raises InputError, CorruptCache.
    """
    if second_weights is not None and info.second is None:
        raise InputError(f"--with-weights: {run} was trained on one cache alone; leave it out")
    if not info.own_backbone:
        backbone: Backbone | PairedBackbone = _frozen(info, device, weights, second_weights)
        return load_model(run, info, checkpoint, device).detector, backbone
    if weights is not None and info.trains_backbone:
        raise InputError(f"--weights: {run} has a backbone of its own and needs none")
    # A model that is fitted to its canvas was trained on a square one.
    canvas_hw = recipe_of(info.key, Path()).rule.canvas_hw((1, 1))
    model = load_model(run, info, checkpoint, device, [canvas_hw], weights)
    assert model.backbone is not None
    return model.detector, model.backbone


def _frozen(
    info: RunInfo, device: torch.device, weights: str | None, second_weights: str | None
) -> FrozenBackbone | PairedBackbone:
    backbone = load_backbone_of(info.key, device, weights)
    if info.second is None:
        return backbone
    second = load_backbone_of(info.second, device, second_weights, option="--with-weights")
    return PairedBackbone(backbone, second)


def detect_image(
    image: Image.Image,
    info: RunInfo,
    backbone: Backbone | PairedBackbone,
    detector: Detector,
    codec: Codec | PairedCodec | None,
) -> Detections:
    """What a trained detector finds in one upright RGB image; image px, on the CPU. codec: of the cache
    that it was trained on, if any.
    """
    device = next(detector.parameters()).device
    plain = recipe_of(info.key, Path())
    placement = plain.place(ImageEntry(0, "", (image.height, image.width)), 0)
    canvas = torch.from_numpy(draw_canvas(image, placement))[None].to(device)
    with torch.no_grad(), autocast(device, info.config.train.precision):
        pyramid = backbone(canvas, [placement.content_hw])
        if codec is not None:
            pyramid = through(codec, pyramid)
        return detector.detections(pyramid, [placement])[0].to("cpu")


def _save_picture(picture: Image.Image, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
    except OSError as error:
        raise storage_error(path, error) from error
