"""`fdet predict`: backbone, neck and head applied to image files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from ....cache.disk.publish import publish_bytes, storage_error
from ....cache.errors import FeatureError, InputError
from ....heads.types import Detections
from ...dataset.data_name import DataName
from ...dataset.data_set import load_annotations
from ...dataset.embeddings import ClassEmbeddings, read_embeddings
from ...dataset.image_files import find_images
from ...dataset.images import ImageError, load_image
from ...evaluation.coco import to_coco_results
from ...evaluation.detecting import detect_image, load_trained
from ...machines.devices import pick_device, use_threads
from ...machines.progress import progress_line
from ...pictures.sheet import draw_sheet, sure
from ...pictures.text import legible_names
from ...runs.folder import new_folder
from ...runs.info import RunInfo
from ...runs.loading import codec_of_run, exchange_classes
from .checks import check_prediction
from .jobs import Job, find_jobs
from .options import PredictOptions

DEFAULTS = PredictOptions()


@dataclass(frozen=True, slots=True)
class PredictSummary:
    """The result of a prediction.

    out: the folder with its files. images: the number of images read. detections: the number of
    detections. failed: why an image could not be predicted, by path.
    """

    out: Path
    images: int
    detections: int
    failed: dict[str, str] = field(default_factory=dict)


def predict(
    run: Path, paths: Sequence[Path], out: Path, options: PredictOptions = DEFAULTS
) -> PredictSummary:
    """Detect objects in files, and in all images of folders (recursively).

    Writes detections.json (COCO results, with the file name next to the id) and pictures/*.png. The maps
    pass through the codec of the training cache where the run used one, so the detections are those of
    `fdet evaluate` on a cache whose codec has the same scales. With annotations, the ids come from them and
    the pictures show the ground truth next to the detections. Raises InputError, KeyMismatch.
    """
    info = check_prediction(run, paths, out, options)
    device = pick_device(options.device)
    # On a CPU the last bits of a feature depend on the number of threads, so use the cache's.
    use_threads(options.threads if options.threads is not None else info.key.threads or None)
    embeddings = options.class_embeddings
    given = None if embeddings is None else read_embeddings(embeddings)
    known = info if given is None else _of_classes(info, given, options.data)
    jobs = find_jobs(find_images(paths), known, options.data)
    detector, backbone = load_trained(
        run, info, options.checkpoint, device, options.weights, options.second_weights
    )
    if given is not None:
        exchange_classes(known, detector, given)
    codec = codec_of_run(run, info, device)
    names = legible_names(tuple(known.class_names), tuple(known.class_ids))
    found: dict[int, Detections] = {}
    sizes: dict[int, tuple[int, int]] = {}
    failed: dict[str, str] = {}
    with new_folder(out):
        for job, image in _loaded(jobs, info.key.bits, failed):
            try:
                detections = detect_image(image, info, backbone, detector, codec)
            except FeatureError as error:
                failed[str(job.path)] = str(error)
                continue
            found[job.image_id], sizes[job.image_id] = detections, (image.height, image.width)
            shown, title = sure(detections, options.draw_above)
            _save_picture(draw_sheet(image, shown, title, names, job.objects), out, job)
        if not found:
            raise InputError(
                f"none of {len(jobs)} images could be read: {next(iter(failed.values()))}"
            )
        results = _results(jobs, found, known, sizes)
        publish_bytes(out / "detections.json", json.dumps(results).encode())
    return PredictSummary(out, len(found), len(results), failed)


def _loaded(
    jobs: Sequence[Job], bits: int, failed: dict[str, str]
) -> Iterator[tuple[Job, Image.Image]]:
    """Yield each job with its image, under a progress line, and put into `failed` what cannot be read."""
    with progress_line("predict", len(jobs)) as progress:
        for job in jobs:
            try:
                image, _ = load_image(job.path, job.hw, bits)
            except ImageError as error:
                failed[str(job.path)] = str(error)
            else:
                yield job, image
            progress.note(f"{progress.rate:.1f} images/s")
            progress.advance()


def _results(
    jobs: Sequence[Job],
    found: Mapping[int, Detections],
    known: RunInfo,
    sizes: Mapping[int, tuple[int, int]],
) -> list[dict[str, Any]]:
    """Return COCO results, with the name of the file next to its id."""
    names = {job.image_id: job.shown for job in jobs}
    return [
        {**result, "file_name": names[result["image_id"]]}
        for result in to_coco_results(found, known.class_ids, sizes)
    ]


def _of_classes(info: RunInfo, given: ClassEmbeddings, annotations: DataName | None) -> RunInfo:
    if annotations is None:
        return info.of_classes(given, None)
    return info.of_classes(given, load_annotations(annotations)[0])


def _save_picture(picture: Image.Image, out: Path, job: Job) -> None:
    path = out / "pictures" / job.picture
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
    except OSError as error:
        raise storage_error(path, error) from error
