"""The models of a run, loaded once, that find objects in one image after another."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from ....cache.codecs.codec import Codec
from ....cache.pairs import PairedCodec
from ....heads.detector import Detector
from ....heads.types import Detections
from ...backbones.paired import PairedBackbone
from ...dataset.classes.embeddings import ClassEmbeddings
from ...evaluation.detecting import Stopwatch, detect_image, load_trained
from ...exported.detector import ExportedDetector, open_detector
from ...exported.runtimes import is_exported
from ...machines.devices import pick_device
from ...runs.info import RunInfo
from ...runs.loading import codec_of_run, exchange_classes
from ...sources.live import Backbone


@dataclass(frozen=True, slots=True)
class Finder:
    """The backbone, codec and detector of a run. known: the run with the classes that are looked for."""

    known: RunInfo
    device: torch.device
    backbone: Backbone | PairedBackbone
    codec: Codec | PairedCodec | None
    detector: Detector

    def find(self, image: Image.Image, timed: Stopwatch = lambda _: nullcontext()) -> Detections:
        """Return what is found in an upright RGB image, in image px. Raises FeatureError."""
        return detect_image(image, self.known, self.backbone, self.detector, self.codec, timed)

    @property
    def stages(self) -> tuple[str, ...]:
        """The names of the stages that `find` times, besides decoding."""
        return "backbone", "head"

    @property
    def wait(self) -> Callable[[], None]:
        """The function that waits until the device has done what it was given."""
        if self.device.type != "cuda":
            return lambda: None
        return lambda: torch.cuda.synchronize(self.device)


def load_finder(
    run: Path,
    info: RunInfo,
    *,
    checkpoint: str = "best",
    device: str = "auto",
    weights: str | None = None,
    second_weights: str | None = None,
    known: RunInfo | None = None,
    embeddings: ClassEmbeddings | None = None,
) -> Finder | ExportedDetector:
    """Load the models of a run, or an exported file.

    known: the run with other classes. embeddings: the vectors of these. Raises InputError, CorruptCache,
    KeyMismatch.
    """
    if is_exported(run):
        return open_detector(run, torch.get_num_threads())
    known = known or info
    chosen = pick_device(device)
    detector, backbone = load_trained(run, info, checkpoint, chosen, weights, second_weights)
    if embeddings is not None:
        exchange_classes(known, detector, embeddings)
    return Finder(known, chosen, backbone, codec_of_run(run, info, chosen), detector)
