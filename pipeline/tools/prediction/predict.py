"""`fdet predict`: backbone, neck and head applied to image files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
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
    run: Path,
    paths: Sequence[Path],
    out: Path,
    *,
    annotations: DataName | Path | None = None,
    weights: str | None = None,
    second_weights: str | None = None,
    class_embeddings: Path | None = None,
    checkpoint: str = "best",
    draw_above: float = 0.3,
    device: str = "auto",
    threads: int | None = None,
) -> PredictSummary:
    """Detect objects in files, and in all images of folders (recursively).

    Writes detections.json (COCO results, with the file name next to the id) and pictures/*.png. The maps
    pass through the codec of the training cache where the run used one, so the detections are those of
    `fdet evaluate` on the same image. With annotations, the ids come from them and the pictures show the
    ground truth next to the detections. class_embeddings: vectors of other classes, for a run that was
    trained with class embeddings. The classes are then those of the annotations, found by name in the file,
    or without annotations all in the file, numbered from 1 on. Raises InputError, KeyMismatch.
    """
    info = check_prediction(
        run,
        paths,
        out,
        annotations=annotations,
        weights=weights,
        second_weights=second_weights,
        class_embeddings=class_embeddings,
        checkpoint=checkpoint,
        draw_above=draw_above,
        device=device,
        threads=threads,
    )
    on = pick_device(device)
    # On a CPU the last bits of a feature depend on the number of threads, so use the cache's.
    use_threads(threads if threads is not None else info.key.threads or None)
    given = None if class_embeddings is None else read_embeddings(class_embeddings)
    known = info if given is None else _of_classes(info, given, annotations)
    jobs = find_jobs(find_images(paths), known, annotations)
    detector, backbone = load_trained(run, info, checkpoint, on, weights, second_weights)
    if given is not None:
        exchange_classes(known, detector, given)
    codec = codec_of_run(run, info, on)
    names = legible_names(tuple(known.class_names), tuple(known.class_ids))
    with new_folder(out):
        found: dict[int, Detections] = {}
        sizes: dict[int, tuple[int, int]] = {}
        failed: dict[str, str] = {}
        with progress_line("predict", len(jobs)) as progress:
            for job in jobs:
                try:
                    image, _ = load_image(job.path, job.hw, info.key.bits)
                    found[job.image_id] = detect_image(image, info, backbone, detector, codec)
                    sizes[job.image_id] = (image.height, image.width)
                except (ImageError, FeatureError) as error:
                    failed[str(job.path)] = str(error)
                else:
                    shown, title = sure(found[job.image_id], draw_above)
                    picture = draw_sheet(image, shown, title, names, job.objects)
                    _save_picture(picture, out / "pictures" / job.picture)
                progress.note(f"{progress.rate:.1f} images/s")
                progress.advance()
        if not found:
            raise InputError(
                f"none of {len(jobs)} images could be read: {next(iter(failed.values()))}"
            )
        results = _results(jobs, found, known, sizes)
        publish_bytes(out / "detections.json", json.dumps(results).encode())
    return PredictSummary(out, len(found), len(results), failed)


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


def _of_classes(
    info: RunInfo, given: ClassEmbeddings, annotations: DataName | Path | None
) -> RunInfo:
    if annotations is None:
        return info.of_classes(given, None)
    return info.of_classes(given, load_annotations(annotations)[0])


def _save_picture(picture: Image.Image, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
    except OSError as error:
        raise storage_error(path, error) from error
