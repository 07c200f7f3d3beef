"""fdet predict: backbone + neck + head on image files."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from ..cache.codecs import get_codec
from ..cache.errors import InputError
from ..cache.placement import Placement
from ..cache.publish import publish_bytes, storage_error
from ..cache.pyramid import FeaturePyramid
from ..heads.detector import Detector
from ..heads.types import Detections
from .annotations import Annotations, ImageBoxes, load_annotations
from .backbones import FrozenBackbone, load_backbone_of
from .devices import pick_device
from .draw import draw_boxes, side_by_side
from .evaluate import to_coco_results
from .images import ImageError, draw_canvas, load_image
from .progress import progress_line
from .run import RunInfo, load_run
from .views import ResizeRule, place, view_from_name

log = logging.getLogger(__name__)

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm"}
)


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
    checkpoint: str = "best",
    draw_above: float = 0.3,
    device: str = "auto",
    threads: int | None = None,
) -> PredictSummary:
    """Detect objects in files, and in all images of folders (recursively).

    Writes detections.json (COCO results, with the file name beside the id) and pictures/. The maps
    pass through the codec of the training cache, so what is found is what `fdet evaluate` finds on
    the same image. With annotations, ids come from there and the pictures show the ground truth
    beside the detections. Raises InputError, KeyMismatch.
    """
    on = pick_device(device)
    info, detector = load_run(run, checkpoint, on)
    # On a CPU the number of threads moves the last bits of a feature: take the cache's.
    if on.type == "cpu" and (threads or info.key.threads):
        torch.set_num_threads(threads or info.key.threads)
    files = _find_images(paths)
    known = _Known(info, annotations)
    backbone = load_backbone_of(info.key, on, weights)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"--out {out}: it exists and is not an empty folder; choose another")
    found: dict[int, Detections] = {}
    names: dict[int, str] = {}
    failed: dict[str, str] = {}
    with progress_line("predict", len(files)) as progress:
        for number, (path, shown) in enumerate(files, start=1):
            image_id, objects = known.look_up(shown, path, number)
            try:
                image, _ = load_image(path)
            except ImageError as error:
                failed[str(path)] = str(error)
            else:
                detections = detect_image(image, info, backbone, detector)
                found[image_id], names[image_id] = detections, shown
                picture = _picture(image, detections, objects, info, draw_above)
                _save_picture(picture, out / "pictures" / shown)
            progress.note(f"{progress.rate:.1f} images/s")
            progress.advance()
    if not found:
        raise InputError(
            f"none of {len(files)} images could be read: {next(iter(failed.values()))}"
        )
    results: list[dict[str, Any]] = [
        {**result, "file_name": names[result["image_id"]]}
        for result in to_coco_results(found, info.class_ids)
    ]
    publish_bytes(out / "detections.json", json.dumps(results).encode())
    return PredictSummary(out, len(found), len(results), failed)


def detect_image(
    image: Image.Image, info: RunInfo, backbone: FrozenBackbone, detector: Detector
) -> Detections:
    """What a trained detector finds in one upright RGB image; image px, on the CPU."""
    device = next(detector.parameters()).device
    key = info.key
    rule = ResizeRule(key.short, key.long, key.square, key.divisor)
    hw = (image.height, image.width)
    placement: Placement = place(
        hw, rule, view_from_name("plain"), seed=key.seed, image_id=0, view_index=0
    )
    canvas = torch.from_numpy(draw_canvas(image, placement))[None].to(device)
    pyramid = backbone(canvas, [placement.content_hw])
    codec = get_codec(key.codec)
    maps = tuple(codec.decode(codec.encode(x)) for x in pyramid.maps)
    with torch.no_grad():
        decoded = FeaturePyramid(pyramid.spec, maps, pyramid.canvas_hw)
        d = detector.detections(decoded, [placement])[0]
    return Detections(d.boxes.cpu(), d.scores.cpu(), d.labels.cpu())


class _Known:
    """Ids and ground truth by file name, where annotations are given."""

    def __init__(self, info: RunInfo, path: Path | None) -> None:
        self._annotations: Annotations | None = None
        self._ids: dict[str, int] = {}
        if path is not None:
            self._annotations, _ = load_annotations(path)
            info.check_classes(self._annotations, str(path))
            self._ids = {image.file_name: image.id for image in self._annotations.images}

    def look_up(self, shown: str, path: Path, number: int) -> tuple[int, ImageBoxes | None]:
        if self._annotations is None:
            return number, None
        image_id = self._ids.get(shown, self._ids.get(path.name))
        if image_id is None:
            raise InputError(f"{path}: the annotations name no such image; leave it out, or them")
        return image_id, self._annotations.of_image(image_id)


def _find_images(paths: Sequence[Path]) -> list[tuple[Path, str]]:
    """(path, name to show: below the folder that was given) of every image, each once."""
    files: dict[Path, str] = {}
    for path in paths:
        if path.is_file():
            files.setdefault(path, path.name)
        elif path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES)
            for p in inside:
                files.setdefault(p, p.relative_to(path).as_posix())
        else:
            raise InputError(f"{path}: no such file or folder")
    if not files:
        raise InputError(
            f"no images in {', '.join(map(str, paths))}; known: {', '.join(sorted(SUFFIXES))}"
        )
    return list(files.items())


def _picture(
    image: Image.Image,
    detections: Detections,
    objects: ImageBoxes | None,
    info: RunInfo,
    draw_above: float,
) -> Image.Image:
    kept = detections.scores >= draw_above
    labels = detections.labels[kept].tolist()
    scores = detections.scores[kept].tolist()
    one_class = len(info.class_names) == 1
    texts = [
        f"{score:.2f}" if one_class else f"{info.class_names[label]} {score:.2f}"
        for label, score in zip(labels, scores, strict=True)
    ]
    right = draw_boxes(image, detections.boxes[kept].double().numpy(), labels, texts)
    if objects is None:
        return right
    truth = objects.labels.tolist()
    names = ["" if one_class else info.class_names[label] for label in truth]
    left = draw_boxes(image, objects.boxes, truth, names)
    titles = (f"ground truth ({len(truth)})", f"detections >= {draw_above:g} ({len(labels)})")
    return side_by_side(left, right, titles)


def _save_picture(picture: Image.Image, shown: Path) -> None:
    """As JPEG, beside what another image of the same stem may have left."""
    path = shown.with_suffix(".jpg")
    path = shown.with_name(f"{shown.name}.jpg") if path.exists() else path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path, quality=90)
    except OSError as error:
        raise storage_error(path, error) from error
