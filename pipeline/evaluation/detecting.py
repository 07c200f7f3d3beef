"""The detections of a detector in the samples of a source, or in a single image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from PIL import Image

from ...cache.codecs.codec import Codec
from ...cache.layout import ImageEntry
from ...cache.pairs import PairedCodec
from ...cache.placement import Placement
from ...cache.sampler import SampleId
from ...heads.checks import Auto
from ...heads.detector import Detector
from ...heads.types import Detections
from ..backbones.frozen import FrozenBackbone
from ..backbones.loading import load_backbone_of
from ..backbones.paired import PairedBackbone
from ..dataset.images.canvases import recipe_of
from ..dataset.images.decoding import draw_canvas
from ..machines.choices import Precision
from ..machines.devices import autocast
from ..machines.progress import progress_line
from ..runs.info import RunInfo
from ..runs.loading import load_model
from ..sources.coded import through
from ..sources.live import Backbone
from ..sources.source import PyramidSource

# Times a stage, by its name: decode, backbone or head.
Stopwatch = Callable[[str], AbstractContextManager[None]]


def detect(
    detector: Detector,
    source: PyramidSource,
    batches: Sequence[Sequence[SampleId]],
    precision: Precision | Auto = "fp32",
    shown: bool = True,
    title: str = "evaluate",
) -> dict[int, Detections]:
    """Return what the detector finds in each sample, by image id, in image px and on the CPU.

    The detector must be in eval mode, and so must the source's backbone. shown: whether a progress line is
    displayed, which begins with the title.
    """
    found: dict[int, Detections] = {}
    device = next(detector.parameters()).device
    total = sum(map(len, batches))
    with torch.no_grad(), progress_line(title, total, shown=shown) as progress:
        for samples, placements, pyramid in source.load(batches):
            with autocast(device, precision):
                detections = detector.detections(pyramid(), placements)
            for (image_id, _), d in zip(samples, detections, strict=True):
                found[image_id] = d.to("cpu")
            progress.advance(len(samples), "images/s")
    return found


def load_trained(
    run: Path,
    info: RunInfo,
    checkpoint: str,
    device: torch.device,
    weights: str | None,
    second_weights: str | None = None,
    canvas_hw: tuple[int, int] | None = None,
) -> tuple[Detector, Backbone | PairedBackbone]:
    """Load the run's detector and the backbone below it: the cache's, both caches', or the run's own.

    weights, second_weights: the backbones' weights as at extraction, where that took a file. canvas_hw: the
    canvas of all images to come, where it is known. Raises InputError, CorruptCache.
    """
    if not info.own_backbone:
        backbone: Backbone | PairedBackbone = _frozen(info, device, weights, second_weights)
        return load_model(run, info, checkpoint, device).detector, backbone
    # A model that is fitted to its canvas was trained on a square one, which any image size yields.
    canvas_hw = canvas_hw or recipe_of(info.key, Path()).rule.canvas_hw((1, 1))
    model = load_model(run, info, checkpoint, device, [canvas_hw], weights)
    return model.detector, model.live


def _frozen(
    info: RunInfo, device: torch.device, weights: str | None, second_weights: str | None
) -> FrozenBackbone | PairedBackbone:
    vector = info.key.image_vector
    tokens = info.tail is not None and vector is not None and vector.of_tokens
    backbone = load_backbone_of(info.key, device, weights, image_vectors=tokens)
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
    timed: Stopwatch = lambda _: nullcontext(),
    placement: Placement | None = None,
) -> Detections:
    """Return what a trained detector finds in one upright RGB image, in image px and on the CPU.

    codec: the codec of the cache that the detector was trained on, if any. timed: entered for each stage.
    placement: where the image lies on its canvas; None for the place that the cache gives it.
    """
    device = next(detector.parameters()).device
    if placement is None:
        plain = recipe_of(info.key, Path())
        placement = plain.place(ImageEntry(0, "", (image.height, image.width)), 0)
    with timed("decode"):
        canvas = torch.from_numpy(draw_canvas(image, placement))[None].to(device)
    with torch.no_grad(), autocast(device, info.config.train.precision):
        with timed("backbone"):
            pyramid = backbone(canvas, [placement.content_hw])
            if codec is not None:
                pyramid = through(codec, pyramid)
        with timed("head"):
            return detector.detections(pyramid, [placement])[0].to("cpu")
